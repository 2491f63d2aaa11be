//! `GET /v1/workflows/{id}/prompts`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use btrust_platform::token::{Claims, Kind};
use btrust_schemas::turn::Audience;

use super::{
    Gateway,
    get_workflow::{OneWorkflow, opened},
    views::PromptsDocument,
};
use crate::{
    access::{Caller, PromptsRead, scope},
    refusal::Refused,
};

pub struct ListPrompts(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum ListPromptsResponse {
    /// The prompts that the caller may answer.
    #[oai(status = 200)]
    Found(Json<PromptsDocument>),
}

#[OpenApi]
impl ListPrompts {
    /// Lists what a workflow asks the caller, and waits for news if asked to.
    ///
    /// An applicant sees what is asked of applicants, a reviewer what is asked of
    /// reviewers, and any other client what the portal asks on the bank's behalf.
    #[oai(
        path = "/v1/workflows/:id/prompts",
        method = "get",
        operation_id = "listPrompts"
    )]
    async fn list_prompts(
        &self,
        caller: Caller<PromptsRead>,
        id: Path<String>,
        /// `sequence` of the last answer: wait until the workflow is further than that
        after: Query<Option<u64>>,
        /// Seconds to wait
        #[oai(validator(maximum(value = "25")))]
        wait: Query<Option<u32>>,
    ) -> Result<ListPromptsResponse, Refused<OneWorkflow>> {
        let id = opened(&caller, &id)?;
        let wait_ms = u64::from(wait.0.unwrap_or(0)) * 1_000;
        let audience = audience(&caller.claims);
        let core = &self.0.core;
        let prompts = core
            .prompts(caller.tenant(), id, audience, after.0, wait_ms)
            .await?;
        Ok(ListPromptsResponse::Found(Json(prompts.into())))
    }
}

/// As whom a caller is asked and answers.
#[must_use]
pub fn audience(claims: &Claims) -> Audience {
    match claims.kind {
        Kind::Applicant => Audience::Applicant,
        _ if claims.has_scope(scope::REVIEWS_WRITE) => Audience::Reviewer,
        _ => Audience::Portal,
    }
}
