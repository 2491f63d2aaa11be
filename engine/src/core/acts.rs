//! `POST /internal/v1/workflow-acts`

use std::sync::Arc;

use async_trait::async_trait;
use poem::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use poem::web::{Data, Json};
use poem::{Response, handler};
use serde::Serialize;
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
    let others = OtherNodes::of(core, headers);
    answer(
        core.engine
            .act_on_many_anywhere(request, Some(&others))
            .await,
    )
}

/// The other nodes, called with the caller's own token.
pub struct OtherNodes<'c> {
    client: &'c reqwest::Client,
    authorization: Option<&'c HeaderValue>,
    calls: Semaphore,
}

impl<'c> OtherNodes<'c> {
    /// The other nodes, for whoever has sent `headers`.
    pub fn of(core: &'c Core, headers: &'c HeaderMap) -> Self {
        Self {
            client: &core.client,
            authorization: headers.get(AUTHORIZATION),
            calls: Semaphore::new(CALLS_MAX),
        }
    }

    /// Posts to a path below [`BASE`] of another node.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`] whatever goes wrong on the way: the same page again does what is left.
    pub async fn post<T: Serialize + Sync>(
        &self,
        url: &str,
        path: &str,
        body: &T,
    ) -> Result<reqwest::Response, EngineError> {
        let _call = self.calls.acquire().await.expect("it is never closed");
        let url = url.trim_end_matches('/');
        let body = serde_json::to_vec(body).expect("a request is JSON");
        let mut call = self
            .client
            .post(format!("{url}{BASE}{path}"))
            .header(FORWARDED, "1")
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(authorization) = self.authorization {
            call = call.header(AUTHORIZATION, authorization);
        }
        call.send().await.map_err(|_| EngineError::Unavailable)
    }
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
        let verb = match act {
            Act::Pause => "pause",
            Act::Resume => "resume",
        };
        let path = format!("/workflows/{workflow}/{verb}");
        let response = self.post(url, &path, request).await?;
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
