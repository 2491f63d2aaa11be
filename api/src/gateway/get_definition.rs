//! `GET /v1/definitions/{name}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use super::{Gateway, views::DefinitionDocument};
use crate::{
    access::{Caller, DefinitionsRead},
    refusal::Refused,
    refusals,
};

pub struct GetDefinition(pub Arc<Gateway>);

#[derive(ApiResponse)]
pub enum GetDefinitionResponse {
    /// The definition with its document.
    #[oai(status = 200)]
    Found(Json<DefinitionDocument>),
}

refusals! {
    GetDefinitionRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl GetDefinition {
    /// Shows the version of a definition that new workflows get.
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
        let definition = self.0.core.definition(caller.tenant(), &name, None).await?;
        Ok(GetDefinitionResponse::Found(Json(definition.into())))
    }
}
