//! `GET /v1/workflows/{id}/result`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{
    Gateway,
    get_workflow::{OneWorkflow, opened},
    views::ResultDocument,
};
use crate::{
    access::{Caller, WorkflowsRead},
    refusal::Refused,
};

pub struct GetResult(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum GetResultResponse {
    /// The result; `running` when the workflow was not closed in time.
    #[oai(status = 200)]
    Found(Json<ResultDocument>),
}

#[OpenApi]
impl GetResult {
    /// Shows how a workflow ended, and waits for it if asked to.
    #[oai(
        path = "/v1/workflows/:id/result",
        method = "get",
        operation_id = "getResult"
    )]
    async fn get_result(
        &self,
        caller: Caller<WorkflowsRead>,
        id: Path<String>,
        /// Seconds to wait for the end
        #[oai(validator(maximum(value = "25")))]
        wait: Query<Option<u32>>,
    ) -> Result<GetResultResponse, Refused<OneWorkflow>> {
        let id = opened(&caller, &id)?;
        let wait_ms = u64::from(wait.0.unwrap_or(0)) * 1_000;
        let result = self.0.core.result(caller.tenant(), id, wait_ms).await?;
        Ok(GetResultResponse::Found(Json(result.into())))
    }
}
