//! `POST /v1/workflows/{id}/terminate`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path, payload::Json};

use super::{
    Gateway,
    act::{self, ReasonBody},
    get_workflow::{WorkflowResponse, opened},
};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct TerminateWorkflow(pub Arc<Gateway>);

refusals! {
    TerminateWorkflowRefusals {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_CLOSED = 409 "workflow_closed" "it has ended already";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl TerminateWorkflow {
    /// Ends a workflow at once, whatever it does; nothing is undone.
    #[oai(
        path = "/v1/workflows/:id/terminate",
        method = "post",
        operation_id = "terminateWorkflow"
    )]
    async fn terminate_workflow(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: Path<String>,
        reason: Json<ReasonBody>,
    ) -> Result<WorkflowResponse, Refused<TerminateWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let request = act::request(&caller, reason.0);
        let workflow = self.0.core.terminate(id, &request).await?;
        Ok(WorkflowResponse::Found(Json(workflow.into())))
    }
}
