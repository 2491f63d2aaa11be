//! `POST /v1/workflows/{id}/pause`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path, payload::Json};

use super::{
    Gateway,
    act::{self, ReasonBody},
    get_workflow::{WorkflowResponse, opened},
};
use crate::{
    access::{Caller, WorkflowsWrite},
    refusal::Refused,
    refusals,
};

pub struct PauseWorkflow(pub Arc<Gateway>);

refusals! {
    PauseWorkflowRefusals {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_CLOSED = 409 "workflow_closed" "it has ended already";
        WORKFLOW_CANCELLING = 409 "workflow_cancelling" "it is being cancelled";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl PauseWorkflow {
    /// Pauses a workflow: nothing new begins until it is resumed.
    ///
    /// What is under way may end, and people may answer; no time is judged. What
    /// was due meanwhile is judged when it is resumed.
    #[oai(
        path = "/v1/workflows/:id/pause",
        method = "post",
        operation_id = "pauseWorkflow"
    )]
    async fn pause_workflow(
        &self,
        caller: Caller<WorkflowsWrite>,
        id: Path<String>,
        reason: Json<ReasonBody>,
    ) -> Result<WorkflowResponse, Refused<PauseWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let request = act::request(&caller, reason.0);
        let workflow = self.0.core.pause(id, &request).await?;
        Ok(WorkflowResponse::Found(Json(workflow.into())))
    }
}
