//! `GET /v1/definitions/{name}/live`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use btrust_schemas::definition::LiveView;

use super::{Gateway, views::LiveDocument};
use crate::{
    access::{Caller, DefinitionsRead},
    refusal::Refused,
    refusals,
};

pub struct GetLiveVersion(pub Arc<Gateway>);

#[derive(ApiResponse)]
pub enum LiveVersionResponse {
    /// The version that new workflows get.
    #[oai(status = 200)]
    Found(Json<LiveDocument>, #[oai(header = "ETag")] String),
}

impl From<LiveView> for LiveVersionResponse {
    fn from(live: LiveView) -> Self {
        let etag = format!("\"{}\"", live.revision);
        Self::Found(Json(live.into()), etag)
    }
}

refusals! {
    GetLiveVersionRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown" "the tenant has no definition of this name";
        DEFINITION_NOT_LIVE = 404 "definition_not_live" "none of its versions is live";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl GetLiveVersion {
    /// Shows which version new workflows get, and who has made it so.
    #[oai(
        path = "/v1/definitions/:name/live",
        method = "get",
        operation_id = "getLiveVersion"
    )]
    async fn get_live_version(
        &self,
        caller: Caller<DefinitionsRead>,
        name: Path<String>,
    ) -> Result<LiveVersionResponse, Refused<GetLiveVersionRefusals>> {
        Ok(self.0.core.live(caller.tenant(), &name).await?.into())
    }
}
