//! `PUT` and `DELETE /v1/workflows/{id}/legal-hold`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path, payload::Json};

use btrust_schemas::search::HoldRequest;

use super::{
    Gateway,
    get_workflow::{WorkflowResponse, opened},
};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct HoldWorkflow(pub Arc<Gateway>);

refusals! {
    HoldWorkflowRefusals {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_ERASED = 410 "workflow_erased" "its data was erased";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl HoldWorkflow {
    /// Places a legal hold: nothing of the workflow is deleted until it is released.
    #[oai(
        path = "/v1/workflows/:id/legal-hold",
        method = "put",
        operation_id = "placeLegalHold"
    )]
    async fn place_legal_hold(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: Path<String>,
    ) -> Result<WorkflowResponse, Refused<HoldWorkflowRefusals>> {
        self.hold(caller, &id, true).await
    }

    /// Releases the legal hold of a workflow.
    #[oai(
        path = "/v1/workflows/:id/legal-hold",
        method = "delete",
        operation_id = "releaseLegalHold"
    )]
    async fn release_legal_hold(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: Path<String>,
    ) -> Result<WorkflowResponse, Refused<HoldWorkflowRefusals>> {
        self.hold(caller, &id, false).await
    }
}

impl HoldWorkflow {
    async fn hold(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: &str,
        hold: bool,
    ) -> Result<WorkflowResponse, Refused<HoldWorkflowRefusals>> {
        let id = opened(&caller, id)?;
        let request = HoldRequest {
            tenant: caller.tenant().to_owned(),
            hold,
            actor: caller.claims.sub,
        };
        let workflow = self.0.core.hold(id, &request).await?;
        Ok(WorkflowResponse::Found(Json(workflow.into())))
    }
}
