//! `POST /v1/workflows/pause` and `POST /v1/workflows/resume`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};
use serde_json::json;

use btrust_platform::clock::parse_rfc3339;
use btrust_schemas::{
    commands::{Act, ManyRequest, ManyView},
    core::ListQuery,
};

use super::{Gateway, cursor, views::AudienceWord};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::{self, Refused},
    refusals,
};

pub struct ActOnWorkflows(pub Arc<Gateway>);

/// Which running workflows; every filter that is given must hold.
#[derive(Object)]
#[oai(
    rename = "ManyWorkflows",
    rename_all = "camelCase",
    deny_unknown_fields
)]
struct Many {
    definition: Option<String>,
    /// Whom an open prompt asks
    open_prompt: Option<AudienceWord>,
    /// RFC 3339
    started_after: Option<String>,
    /// RFC 3339
    started_before: Option<String>,
    /// For the histories; nothing personal
    #[oai(validator(max_length = 256))]
    reason: Option<String>,
    /// `true` changes nothing and counts
    dry_run: bool,
    /// Workflows that this call looks at; 200 when absent
    #[oai(validator(minimum(value = "1"), maximum(value = "500")))]
    limit: Option<u32>,
    /// `next` of the call before
    cursor: Option<String>,
}

/// What one call has looked at.
#[derive(Object)]
#[oai(rename = "ManyDone", rename_all = "camelCase")]
struct ManyDocument {
    /// Workflows that were changed, or would be
    done: u64,
    /// Workflows that were so already, or have ended meanwhile
    unchanged: u64,
    refused: u64,
    /// Why the first of those was refused
    refused_code: Option<String>,
    /// A few of those that were refused
    examples: Vec<String>,
    /// Send it back as `cursor` for the rest; null when there is none
    next: Option<String>,
}

#[derive(ApiResponse)]
enum ActOnWorkflowsResponse {
    /// How many were changed.
    #[oai(status = 200)]
    Done(Json<ManyDocument>),
}

refusals! {
    ActOnWorkflowsRefusals {
        CURSOR_INVALID = 400 "cursor_invalid" "the cursor is not one of a call with these filters";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ActOnWorkflows {
    /// Pauses the running workflows that a filter finds, a page for each call.
    #[oai(
        path = "/v1/workflows/pause",
        method = "post",
        operation_id = "pauseWorkflows"
    )]
    async fn pause_workflows(
        &self,
        caller: Caller<WorkflowsOperate>,
        many: Json<Many>,
    ) -> Result<ActOnWorkflowsResponse, Refused<ActOnWorkflowsRefusals>> {
        self.act(&caller, Act::Pause, many.0).await
    }

    /// Resumes the paused workflows that a filter finds, a page for each call.
    #[oai(
        path = "/v1/workflows/resume",
        method = "post",
        operation_id = "resumeWorkflows"
    )]
    async fn resume_workflows(
        &self,
        caller: Caller<WorkflowsOperate>,
        many: Json<Many>,
    ) -> Result<ActOnWorkflowsResponse, Refused<ActOnWorkflowsRefusals>> {
        self.act(&caller, Act::Resume, many.0).await
    }
}

impl ActOnWorkflows {
    async fn act(
        &self,
        caller: &Caller<WorkflowsOperate>,
        act: Act,
        many: Many,
    ) -> Result<ActOnWorkflowsResponse, Refused<ActOnWorkflowsRefusals>> {
        let times = [&many.started_after, &many.started_before];
        if times
            .into_iter()
            .flatten()
            .any(|it| parse_rfc3339(it).is_none())
        {
            let detail = "startedAfter and startedBefore are RFC 3339 times";
            return Err(refusal::MALFORMED_REQUEST.detail(detail));
        }
        let mut filter = ListQuery {
            tenant: caller.tenant().to_owned(),
            definition: many.definition,
            open_prompt: many.open_prompt.map(Into::into),
            started_after: many.started_after,
            started_before: many.started_before,
            ..ListQuery::default()
        };
        let of = json!([act, filter]);
        let invalid = || CURSOR_INVALID.detail("take `next` of a call with the same filters");
        filter.limit = many.limit;
        filter.cursor = match &many.cursor {
            None => None,
            Some(text) => Some(cursor::unwrap(text, &of).ok_or_else(invalid)?),
        };
        let request = ManyRequest {
            act,
            filter,
            dry_run: many.dry_run,
            reason: many.reason,
            actor: caller.claims.sub.clone(),
        };
        let ManyView {
            done,
            unchanged,
            refused,
            refused_code,
            examples,
            next,
        } = self.0.core.act_on_many(&request).await?;
        Ok(ActOnWorkflowsResponse::Done(Json(ManyDocument {
            done,
            unchanged,
            refused,
            refused_code,
            examples: examples.iter().map(ToString::to_string).collect(),
            next: next.map(|at| cursor::wrap(at, &of)),
        })))
    }
}
