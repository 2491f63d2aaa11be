//! `GET /v1/workflows/{id}/history`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
    types::Any,
};
use serde_json::Value;

use super::{
    Gateway,
    get_workflow::{OneWorkflow, opened},
};
use crate::{
    access::{Caller, WorkflowsRead},
    refusal::Refused,
};

pub struct GetHistory(pub Arc<Gateway>);

/// Events on a page when the caller does not say.
const HISTORY_LIMIT_DEFAULT: u32 = 100;

#[derive(Object)]
struct History {
    /// In the spelling of Step Functions, and our own types beside them
    events: Vec<Any<Value>>,
    /// Send it back as `after`; null on the last page
    next: Option<u64>,
}

#[derive(ApiResponse)]
enum GetHistoryResponse {
    /// The oldest events first.
    #[oai(status = 200)]
    Found(Json<History>),
}

#[OpenApi]
impl GetHistory {
    /// Shows everything that has happened in a workflow.
    #[oai(
        path = "/v1/workflows/:id/history",
        method = "get",
        operation_id = "getHistory"
    )]
    async fn get_history(
        &self,
        caller: Caller<WorkflowsRead>,
        id: Path<String>,
        /// Number of the last event that is known
        after: Query<Option<u64>>,
        /// Events on a page; 100 when absent
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u32>>,
    ) -> Result<GetHistoryResponse, Refused<OneWorkflow>> {
        let id = opened(&caller, &id)?;
        let after = after.0.unwrap_or(0);
        let limit = limit.0.unwrap_or(HISTORY_LIMIT_DEFAULT);
        let page = self
            .0
            .core
            .history(caller.tenant(), id, after, limit)
            .await?;
        let events = page.events.into_iter().map(Any).collect();
        Ok(GetHistoryResponse::Found(Json(History {
            events,
            next: page.next,
        })))
    }
}
