//! `POST /v1/workflows/{id}/redrive`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path, payload::Json};

use btrust_schemas::commands::RedriveRequest;

use super::{
    Gateway,
    act::ReasonBody,
    get_workflow::{WorkflowResponse, opened},
};
use crate::{
    access::{Caller, WorkflowsOperate},
    idempotency::IdempotencyKey,
    refusal::Refused,
    refusals,
};

pub struct RedriveWorkflow(pub Arc<Gateway>);

refusals! {
    RedriveWorkflowRefusals {
        IDEMPOTENCY_KEY_MISSING = 400 "idempotency_key_missing"
            "there is no header `Idempotency-Key`";
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_RUNNING = 409 "workflow_running" "it has not ended";
        REDRIVE_IMPOSSIBLE = 409 "redrive_impossible"
            "it has succeeded, what it had done is undone, or it was redriven too often";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl RedriveWorkflow {
    /// Lets a workflow that did not end well go on from where it failed.
    ///
    /// What had succeeded keeps its results, also in other branches; what had
    /// failed runs again, with retries and time limits of its own.
    #[oai(
        path = "/v1/workflows/:id/redrive",
        method = "post",
        operation_id = "redriveWorkflow"
    )]
    async fn redrive_workflow(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: Path<String>,
        /// Chosen by the caller, one for each redrive
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: IdempotencyKey,
        reason: Json<ReasonBody>,
    ) -> Result<WorkflowResponse, Refused<RedriveWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let request = RedriveRequest {
            tenant: caller.tenant().to_owned(),
            reason: reason.0.reason,
            idempotency_key: idempotency_key.0,
            actor: caller.claims.sub,
        };
        let workflow = self.0.core.redrive(id, &request).await?;
        Ok(WorkflowResponse::Found(Json(workflow.into())))
    }
}
