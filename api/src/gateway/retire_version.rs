//! `POST /v1/definitions/{name}/versions/{version}/retirement`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use btrust_schemas::definition::RetirementRequest;

use super::{Gateway, views::DefinitionDocument};
use crate::{
    access::{Caller, DefinitionsPublish},
    refusal::Refused,
    refusals,
};

pub struct RetireVersion(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum RetireVersionResponse {
    /// The version, retired now or before; without its document.
    #[oai(status = 200)]
    Retired(Json<DefinitionDocument>),
}

refusals! {
    RetireVersionRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        VERSION_LIVE = 409 "version_live" "new workflows get it; make another version live first";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version is a draft";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl RetireVersion {
    /// Lets nothing start on a version any more; what runs goes on to its end.
    #[oai(
        path = "/v1/definitions/:name/versions/:version/retirement",
        method = "post",
        operation_id = "retireVersion"
    )]
    async fn retire_version(
        &self,
        caller: Caller<DefinitionsPublish>,
        name: Path<String>,
        version: Path<u32>,
    ) -> Result<RetireVersionResponse, Refused<RetireVersionRefusals>> {
        let request = RetirementRequest {
            tenant: caller.tenant().to_owned(),
            actor: caller.claims.sub,
        };
        let retired = self.0.core.retire(&name, version.0, &request).await?;
        Ok(RetireVersionResponse::Retired(Json(retired.into())))
    }
}
