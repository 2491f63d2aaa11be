//! `GET /v1/definitions`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::{Gateway, core_client::ByCore, views::DefinitionDocument};
use crate::{
    access::{Caller, DefinitionsRead},
    refusal::Refused,
};

pub struct ListDefinitions(pub Arc<Gateway>);

#[derive(Object)]
struct Definitions {
    definitions: Vec<DefinitionDocument>,
}

#[derive(ApiResponse)]
enum ListDefinitionsResponse {
    /// The definitions of the tenant, without their documents.
    #[oai(status = 200)]
    Found(Json<Definitions>),
}

#[OpenApi]
impl ListDefinitions {
    /// Lists the definitions of the tenant.
    #[oai(
        path = "/v1/definitions",
        method = "get",
        operation_id = "listDefinitions"
    )]
    async fn list_definitions(
        &self,
        caller: Caller<DefinitionsRead>,
    ) -> Result<ListDefinitionsResponse, Refused<ByCore>> {
        let definitions = self.0.core.definitions(caller.tenant()).await?;
        let definitions = definitions.into_iter().map(Into::into).collect();
        Ok(ListDefinitionsResponse::Found(Json(Definitions {
            definitions,
        })))
    }
}
