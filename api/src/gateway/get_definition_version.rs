//! `GET /v1/definitions/{name}/versions/{version}`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path, payload::Json};

use super::{
    Gateway,
    get_definition::{GetDefinitionRefusals, GetDefinitionResponse},
};
use crate::{
    access::{Caller, DefinitionsRead},
    refusal::Refused,
};

pub struct GetDefinitionVersion(pub Arc<Gateway>);

#[OpenApi]
impl GetDefinitionVersion {
    /// Shows one version of a definition; it never changes.
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
    ) -> Result<GetDefinitionResponse, Refused<GetDefinitionRefusals>> {
        let version = Some(version.0);
        let definition = self
            .0
            .core
            .definition(caller.tenant(), &name, version)
            .await?;
        Ok(GetDefinitionResponse::Found(Json(definition.into())))
    }
}
