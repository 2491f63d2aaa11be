//! `GET /v1/definitions/{name}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use btrust_schemas::definition::VERSIONS_LISTED_MAX;

use super::{
    Gateway,
    views::{DefinitionDocument, LiveDocument},
};
use crate::{
    access::{Caller, DefinitionsRead},
    refusal::Refused,
    refusals,
};

pub struct GetDefinition(pub Arc<Gateway>);

/// A definition: the version that stands for it, and the life of all of them.
#[derive(Object)]
#[oai(rename = "DefinitionWithVersions")]
struct WholeDefinition {
    /// The live version, or the newest where none is live
    #[oai(flatten)]
    stands: DefinitionDocument,
    /// The newest 200, the newest first, without their documents
    versions: Vec<DefinitionDocument>,
    /// The latest 200 moves of the alias `live`, the latest first
    moves: Vec<LiveDocument>,
}

/// The descriptions above say the number.
const _: () = assert!(VERSIONS_LISTED_MAX == 200);

#[derive(ApiResponse)]
enum GetDefinitionResponse {
    /// The definition with its document.
    #[oai(status = 200)]
    Found(Json<WholeDefinition>),
}

refusals! {
    GetDefinitionRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown" "the tenant has no definition of this name";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl GetDefinition {
    /// Shows the version of a definition that new workflows get, and who did what to each version.
    #[oai(
        path = "/v1/definitions/:name",
        method = "get",
        operation_id = "getDefinition"
    )]
    async fn get_definition(
        &self,
        caller: Caller<DefinitionsRead>,
        name: Path<String>,
    ) -> Result<GetDefinitionResponse, Refused<GetDefinitionRefusals>> {
        let (core, tenant) = (&self.0.core, caller.tenant());
        let stands = core.definition(tenant, &name, None).await?;
        let lives = core.versions(tenant, &name).await?;
        Ok(GetDefinitionResponse::Found(Json(WholeDefinition {
            stands: stands.into(),
            versions: lives.versions.into_iter().map(Into::into).collect(),
            moves: lives.moves.into_iter().map(Into::into).collect(),
        })))
    }
}
