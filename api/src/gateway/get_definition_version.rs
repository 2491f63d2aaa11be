//! `GET /v1/definitions/{name}/versions/{version}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use super::{Gateway, views::DefinitionDocument};
use crate::{
    access::{Caller, DefinitionsRead},
    refusal::Refused,
    refusals,
};

pub struct GetDefinitionVersion(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum GetDefinitionVersionResponse {
    /// The version with its document.
    #[oai(status = 200)]
    Found(Json<DefinitionDocument>),
}

refusals! {
    GetDefinitionVersionRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl GetDefinitionVersion {
    /// Shows one version of a definition; its content never changes.
    #[oai(
        path = "/v1/definitions/:name/versions/:version",
        method = "get",
        operation_id = "getDefinitionVersion"
    )]
    async fn get_definition_version(
        &self,
        caller: Caller<DefinitionsRead>,
        name: Path<String>,
        version: Path<u32>,
    ) -> Result<GetDefinitionVersionResponse, Refused<GetDefinitionVersionRefusals>> {
        let version = Some(version.0);
        let definition = self
            .0
            .core
            .definition(caller.tenant(), &name, version)
            .await?;
        Ok(GetDefinitionVersionResponse::Found(Json(definition.into())))
    }
}
