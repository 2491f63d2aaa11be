//! `POST /internal/v1/workflow-acts`

use std::sync::Arc;

use async_trait::async_trait;
use poem::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use poem::web::{Data, Json};
use poem::{Response, handler};
use tokio::sync::Semaphore;

use btrust_machine::Refusal;
use btrust_schemas::commands::{Act, ActRequest, ManyRequest};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::problem::Problem;

use super::access::Gateway;
use super::forward::{BASE, FORWARDED};
use super::{Core, answer};
use crate::error::EngineError;
use crate::operations::{Acted, Neighbours};

/// Calls to other nodes at a time.
///
/// Source: as many as a lane of the other node commits together without a queue worth speaking of.
const CALLS_MAX: usize = 32;

/// Pauses or resumes a page of the running workflows that a filter finds, on whichever nodes they are.
#[handler]
pub async fn acts(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    headers: &HeaderMap,
    Json(request): Json<ManyRequest>,
) -> poem::Result<Response> {
    let others = OtherNodes {
        client: &core.client,
        authorization: headers.get(AUTHORIZATION),
        calls: Semaphore::new(CALLS_MAX),
    };
    answer(
        core.engine
            .act_on_many_anywhere(request, Some(&others))
            .await,
    )
}

/// The other nodes, called with the caller's own token.
struct OtherNodes<'c> {
    client: &'c reqwest::Client,
    authorization: Option<&'c HeaderValue>,
    calls: Semaphore,
}

#[async_trait]
impl Neighbours for OtherNodes<'_> {
    async fn act(
        &self,
        url: &str,
        workflow: WorkflowId,
        act: Act,
        request: &ActRequest,
    ) -> Result<Acted, EngineError> {
        let _call = self.calls.acquire().await.expect("it is never closed");
        let verb = match act {
            Act::Pause => "pause",
            Act::Resume => "resume",
        };
        let url = url.trim_end_matches('/');
        let body = serde_json::to_vec(request).expect("a request is JSON");
        let mut call = self
            .client
            .post(format!("{url}{BASE}/workflows/{workflow}/{verb}"))
            .header(FORWARDED, "1")
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(authorization) = self.authorization {
            call = call.header(AUTHORIZATION, authorization);
        }
        // Whatever goes wrong on the way: the same page again does what is left of it.
        let response = call.send().await.map_err(|_| EngineError::Unavailable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(Acted::Changed);
        }
        if !status.is_client_error() {
            return Err(EngineError::Unavailable);
        }
        let body = response.bytes().await;
        let body = body.map_err(|_| EngineError::Unavailable)?;
        let problem: Problem =
            serde_json::from_slice(&body).map_err(|_| EngineError::Unavailable)?;
        if problem.code == Refusal::WorkflowClosed.code() {
            return Ok(Acted::Unchanged);
        }
        Ok(Acted::Refused(problem.code))
    }
}
