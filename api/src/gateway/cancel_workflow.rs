//! `POST /v1/workflows/{id}/cancel`

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use btrust_schemas::core::CancelRequest;

use super::{
    Gateway,
    get_workflow::{WorkflowResponse, opened},
};
use crate::{
    access::{Caller, WorkflowsWrite},
    refusal::Refused,
    refusals,
};

pub struct CancelWorkflow(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Cancellation {
    /// For the history; nothing personal
    #[oai(validator(max_length = 256))]
    reason: Option<String>,
    /// How long what is under way may still end; then what was done is undone, and only then the workflow
    /// ends. Without it the workflow ends at once and nothing is undone.
    #[oai(validator(maximum(value = "3600")))]
    grace_seconds: Option<u32>,
}

refusals! {
    CancelWorkflowRefusals {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_CLOSED = 409 "workflow_closed" "it has ended already";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl CancelWorkflow {
    /// Ends a workflow without a decision: at once, or with time for what is under way.
    #[oai(
        path = "/v1/workflows/:id/cancel",
        method = "post",
        operation_id = "cancelWorkflow"
    )]
    async fn cancel_workflow(
        &self,
        caller: Caller<WorkflowsWrite>,
        id: Path<String>,
        cancellation: Json<Cancellation>,
    ) -> Result<WorkflowResponse, Refused<CancelWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let request = CancelRequest {
            tenant: caller.tenant().to_owned(),
            reason: cancellation.0.reason,
            grace_seconds: cancellation.0.grace_seconds.unwrap_or_default(),
            actor: caller.claims.sub,
        };
        let workflow = self.0.core.cancel(id, &request).await?;
        Ok(WorkflowResponse::Found(Json(workflow.into())))
    }
}
