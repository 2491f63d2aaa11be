//! `POST /v1/workflows/{id}/resume`

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

pub struct ResumeWorkflow(pub Arc<Gateway>);

refusals! {
    ResumeWorkflowRefusals {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_CLOSED = 409 "workflow_closed" "it has ended already";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ResumeWorkflow {
    /// Lets a paused workflow go on.
    #[oai(
        path = "/v1/workflows/:id/resume",
        method = "post",
        operation_id = "resumeWorkflow"
    )]
    async fn resume_workflow(
        &self,
        caller: Caller<WorkflowsWrite>,
        id: Path<String>,
        reason: Json<ReasonBody>,
    ) -> Result<WorkflowResponse, Refused<ResumeWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let request = act::request(&caller, reason.0);
        let workflow = self.0.core.resume(id, &request).await?;
        Ok(WorkflowResponse::Found(Json(workflow.into())))
    }
}
