//! `DELETE /v1/workflows/{id}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path};

use btrust_schemas::search::DeletionRequest;

use super::{Gateway, get_workflow::opened};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct DeleteWorkflow(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum DeleteWorkflowResponse {
    /// The workflow is gone; the audit stream tells of it.
    #[oai(status = 204)]
    Deleted,
}

refusals! {
    DeleteWorkflowRefusals {
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_OPEN = 409 "workflow_open" "it has not ended";
        LEGAL_HOLD = 409 "legal_hold" "it lies under a legal hold";
        RETENTION_NOT_OVER = 409 "retention_not_over" "its definition's retention still keeps it";
        RETENTION_UNKNOWN = 409 "retention_unknown"
            "nobody knows how long its definition's retention keeps it";
        NOT_PUBLISHED_YET = 409 "not_published_yet"
            "the streams have not heard everything of it; try again";
        WORKFLOW_CHANGED = 409 "workflow_changed" "something has happened to it just now; try again";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl DeleteWorkflow {
    /// Deletes a closed workflow for good: its history, its data and the key to both.
    #[oai(
        path = "/v1/workflows/:id",
        method = "delete",
        operation_id = "deleteWorkflow"
    )]
    async fn delete_workflow(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: Path<String>,
    ) -> Result<DeleteWorkflowResponse, Refused<DeleteWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let request = DeletionRequest {
            tenant: caller.tenant().to_owned(),
            actor: caller.claims.sub,
        };
        self.0.core.delete(id, &request).await?;
        Ok(DeleteWorkflowResponse::Deleted)
    }
}
