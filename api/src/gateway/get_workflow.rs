//! `GET /v1/workflows/{id}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use btrust_schemas::ids::WorkflowId;

use super::{Gateway, views::WorkflowDocument};
use crate::{
    access::{Access, Caller, WorkflowsReadOrOwn},
    refusal::Refused,
    refusals,
};

pub struct GetWorkflow(pub Arc<Gateway>);

#[derive(ApiResponse)]
pub enum WorkflowResponse {
    /// The workflow.
    #[oai(status = 200)]
    Found(Json<WorkflowDocument>),
}

refusals! {
    /// What every operation on one workflow can answer.
    OneWorkflow {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown"
            "the tenant has no such workflow, or the token does not open it";
        WORKFLOW_ERASED = 410 "workflow_erased" "its data was erased";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl GetWorkflow {
    /// Shows a workflow. Its own applicant sees how far it is, not what its checks said.
    #[oai(
        path = "/v1/workflows/:id",
        method = "get",
        operation_id = "getWorkflow"
    )]
    async fn get_workflow(
        &self,
        caller: Caller<WorkflowsReadOrOwn>,
        id: Path<String>,
    ) -> Result<WorkflowResponse, Refused<OneWorkflow>> {
        let id = opened(&caller, &id)?;
        let workflow = self.0.core.workflow(caller.tenant(), id).await?;
        let mut workflow = WorkflowDocument::from(workflow);
        if caller.own_workflow().is_some() {
            workflow = workflow.for_applicant();
        }
        Ok(WorkflowResponse::Found(Json(workflow)))
    }
}

/// The id in a path, if the token opens it. What is no id, what belongs to
/// somebody else and what is not there are one answer.
pub fn opened<A: Access, R>(caller: &Caller<A>, id: &str) -> Result<WorkflowId, Refused<R>> {
    match id.parse() {
        Ok(id) if caller.opens(id) => Ok(id),
        _ => Err(WORKFLOW_UNKNOWN.detail("there is no such workflow")),
    }
}
