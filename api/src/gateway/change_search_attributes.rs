//! `PATCH /v1/workflows/{id}/search-attributes`

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Path, payload::Json, types::Any};
use serde_json::Value;

use btrust_schemas::search::AttributesRequest;

use super::{
    Gateway,
    get_workflow::{WorkflowResponse, opened},
};
use crate::{
    access::{Caller, WorkflowsWrite},
    refusal::Refused,
    refusals,
};

pub struct ChangeSearchAttributes(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
struct SearchAttributeChanges {
    /// Values by name; null takes one away, and what is not named stays
    search_attributes: BTreeMap<String, Any<Value>>,
}

refusals! {
    ChangeSearchAttributesRefusals {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        HISTORY_FULL = 409 "history_full" "its history takes no further event";
        WORKFLOW_ERASED = 410 "workflow_erased" "its data was erased";
        SEARCH_ATTRIBUTE_INVALID = 422 "search_attribute_invalid"
            "an attribute is not declared by the definition, or its value is of another type";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ChangeSearchAttributes {
    /// Gives search attributes of a workflow other values, whether it is open or closed.
    ///
    /// The audit stream is told the names of what has changed, and never a value.
    #[oai(
        path = "/v1/workflows/:id/search-attributes",
        method = "patch",
        operation_id = "changeSearchAttributes"
    )]
    async fn change_search_attributes(
        &self,
        caller: Caller<WorkflowsWrite>,
        id: Path<String>,
        changes: Json<SearchAttributeChanges>,
    ) -> Result<WorkflowResponse, Refused<ChangeSearchAttributesRefusals>> {
        let id = opened(&caller, &id)?;
        let changes = changes.0.search_attributes.into_iter();
        let request = AttributesRequest {
            tenant: caller.tenant().to_owned(),
            changes: changes.map(|(name, it)| (name, it.0)).collect(),
            actor: caller.claims.sub,
        };
        let workflow = self.0.core.change_attributes(id, &request).await?;
        Ok(WorkflowResponse::Found(Json(workflow.into())))
    }
}
