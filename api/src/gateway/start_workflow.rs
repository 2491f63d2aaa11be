//! `POST /v1/workflows`

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::Header,
    payload::Json,
    types::{Any, ToJSON as _},
};
use serde_json::Value;

use btrust_schemas::{
    commands::{Conflict, Reuse},
    core::{StartRequest, StartResponse},
};

use super::{
    Gateway, canonical,
    views::{ResultDocument, WorkflowDocument},
};
use crate::{
    access::{Caller, WorkflowsWrite},
    idempotency::IdempotencyKey,
    refusal::Refused,
    refusals,
};

/// Longest wait for the end of a workflow that is started, in seconds; as long as core waits.
const WAIT_SECONDS_MAX: u64 = 25;

pub struct StartWorkflow(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
struct NewWorkflow {
    /// Name of a published definition
    #[oai(validator(min_length = 1, max_length = 128))]
    definition: String,
    /// The live one when absent
    version: Option<u32>,
    /// Checked against the definition's `inputSchema`
    input: Any<Value>,
    /// The bank's own name for the person; kept only as a keyed digest
    #[oai(validator(min_length = 1, max_length = 256))]
    subject_ref: Option<String>,
    /// BCP 47 tag of the language that the applicant reads
    #[oai(validator(min_length = 2, max_length = 35))]
    locale: Option<String>,
    /// How urgent it is, 0 to 9; the higher the sooner, 5 when absent
    #[oai(validator(maximum(value = "9")))]
    priority: Option<u8>,
    /// What the key means once the workflow that it has started has ended;
    /// `reject` when absent: that workflow for ever
    reuse: Option<ReuseWord>,
    /// What the key means while the workflow that it has started runs;
    /// `existing` when absent: that workflow, if it is the same request
    conflict: Option<ConflictWord>,
    /// Names this very request where its key may begin something new: the same request with another one
    /// is not a repetition
    #[oai(validator(min_length = 1, max_length = 128))]
    request_id: Option<String>,
    /// First values of search attributes that the definition declares; they win over its `from`
    search_attributes: Option<BTreeMap<String, Any<Value>>>,
}

/// `ifFailed` and `ifClosed` start a new workflow, the former unless the earlier one has succeeded.
#[derive(Enum, Clone, Copy)]
#[oai(rename = "Reuse", rename_all = "camelCase")]
enum ReuseWord {
    Reject,
    IfFailed,
    IfClosed,
}

/// `terminate` ends the earlier workflow and starts a new one, both or neither.
#[derive(Enum, Clone, Copy)]
#[oai(rename = "Conflict", rename_all = "camelCase")]
enum ConflictWord {
    Existing,
    Fail,
    Terminate,
}

/// A started workflow, with its result where the caller waited for it and it has ended.
#[derive(Object)]
#[oai(rename = "StartedWorkflow", rename_all = "camelCase")]
pub struct StartedDocument {
    #[oai(flatten)]
    workflow: WorkflowDocument,
    #[oai(skip_serializing_if_is_none)]
    result: Option<ResultDocument>,
}

#[derive(ApiResponse)]
pub enum StartWorkflowResponse {
    /// The new workflow; where the caller waited, with its result.
    #[oai(status = 201)]
    Created(
        Json<StartedDocument>,
        #[oai(header = "Location")] String,
        #[oai(header = "Preference-Applied")] Option<String>,
    ),
    /// The workflow that this key and this request have started before; where the caller waited, with
    /// its result.
    #[oai(status = 200)]
    Repeated(
        Json<StartedDocument>,
        #[oai(header = "Location")] String,
        #[oai(header = "Preference-Applied")] Option<String>,
    ),
    /// The workflow, which has not ended in the time that the caller waited.
    #[oai(status = 202)]
    Running(
        Json<StartedDocument>,
        #[oai(header = "Location")] String,
        #[oai(header = "Preference-Applied")] Option<String>,
    ),
}

impl StartWorkflowResponse {
    /// The answer to a start; `wait_s` is how long the caller wanted to wait.
    pub fn of(started: StartResponse, wait_s: Option<u64>) -> Self {
        let StartResponse {
            created,
            workflow,
            result,
        } = started;
        let location = format!("/v1/workflows/{}", workflow.id);
        let applied = wait_s.map(|it| format!("wait={it}"));
        let is_late = wait_s.is_some() && result.is_none();
        let body = Json(StartedDocument {
            workflow: workflow.into(),
            result: result.map(Into::into),
        });
        match (is_late, created) {
            (true, _) => Self::Running(body, location, applied),
            (false, true) => Self::Created(body, location, applied),
            (false, false) => Self::Repeated(body, location, applied),
        }
    }
}

/// What is started: the policies say what a key means, and are no part of that.
fn asked_for(workflow: &NewWorkflow) -> Value {
    let mut asked_for = workflow.to_json().unwrap_or_default();
    if let Some(fields) = asked_for.as_object_mut() {
        fields.remove("reuse");
        fields.remove("conflict");
        fields.remove("requestId");
    }
    asked_for
}

/// The seconds of `Prefer: wait=10`; other preferences are none of ours.
///
/// Source: RFC 7240. Longer waits than core has are shortened to what it has.
fn wait_of(prefer: &str) -> Option<u64> {
    let mut preferences = prefer.split(',').filter_map(|it| it.split(';').next());
    let seconds = preferences.find_map(|it| {
        let (name, value) = it.split_once('=')?;
        let is_wait = name.trim().eq_ignore_ascii_case("wait");
        is_wait.then(|| value.trim().trim_matches('"').parse().ok())?
    });
    seconds
        .filter(|it| 0 < *it)
        .map(|it: u64| it.min(WAIT_SECONDS_MAX))
}

refusals! {
    StartWorkflowRefusals {
        IDEMPOTENCY_KEY_MISSING = 400 "idempotency_key_missing"
            "there is no header `Idempotency-Key`";
        WORKFLOW_RUNNING = 409 "workflow_running"
            "the workflow that the key has started runs, and `conflict` is `fail`";
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        DEFINITION_NOT_LIVE = 404 "definition_not_live"
            "no version is named, and the definition has none that is live";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version is a draft";
        VERSION_RETIRED = 409 "version_retired" "nothing starts on the version any more";
        IDEMPOTENCY_KEY_REUSED = 409 "idempotency_key_reused"
            "the key has started a workflow with another request";
        INPUT_INVALID = 422 "input_invalid"
            "the input does not fit the definition's `inputSchema`; `errors` says where";
        SEARCH_ATTRIBUTE_INVALID = 422 "search_attribute_invalid"
            "a search attribute is not declared by the definition, or its value is of another type";
        PAYLOAD_TOO_LARGE = 413 "payload_too_large" "the input is larger than a state's data may be";
        PAYLOAD_TOO_DEEP = 413 "payload_too_deep" "the input is nested deeper than a state's data may be";
        TOO_MANY_REQUESTS = 429 "too_many_requests"
            "the tenant starts faster than its rate or its share; `Retry-After` says when to come back";
        OVERLOADED = 503 "overloaded" "too much waits; `Retry-After` says when to come back";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl StartWorkflow {
    /// Starts a workflow, once for each key.
    ///
    /// Repeat the call with the same `Idempotency-Key` whenever the answer was
    /// lost: it starts at most one workflow. `reuse` and `conflict` let a key
    /// mean a new one; the very same call again is answered with the workflow
    /// that it has started, unless its `requestId` is another one, eight later
    /// calls have begun something, or that workflow is deleted. With
    /// `conflict: fail` it is refused while the workflow runs.
    ///
    /// `Prefer: wait=10` waits up to ten seconds (at most 25) for the end.
    #[oai(
        path = "/v1/workflows",
        method = "post",
        operation_id = "startWorkflow"
    )]
    async fn start_workflow(
        &self,
        caller: Caller<WorkflowsWrite>,
        /// Chosen by the caller, one for each workflow that it wants
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: IdempotencyKey,
        /// `wait=<seconds>` (RFC 7240)
        #[oai(name = "Prefer", validator(max_length = 255))]
        prefer: Header<Option<String>>,
        workflow: Json<NewWorkflow>,
    ) -> Result<StartWorkflowResponse, Refused<StartWorkflowRefusals>> {
        let request_digest = canonical::digest(&[&asked_for(&workflow)]);
        let NewWorkflow {
            definition,
            version,
            input,
            subject_ref,
            locale,
            priority,
            reuse,
            conflict,
            request_id,
            search_attributes,
        } = workflow.0;
        let wait_s = prefer.0.as_deref().and_then(wait_of);
        let search_attributes = search_attributes.unwrap_or_default().into_iter();
        let request = StartRequest {
            tenant: caller.tenant().to_owned(),
            definition,
            version,
            input: input.0,
            subject_ref,
            locale,
            priority,
            search_attributes: search_attributes.map(|(name, it)| (name, it.0)).collect(),
            idempotency_key: idempotency_key.0,
            request_digest,
            actor: caller.claims.sub,
            reuse: match reuse {
                None | Some(ReuseWord::Reject) => Reuse::Reject,
                Some(ReuseWord::IfFailed) => Reuse::IfFailed,
                Some(ReuseWord::IfClosed) => Reuse::IfClosed,
            },
            conflict: match conflict {
                None | Some(ConflictWord::Existing) => Conflict::Existing,
                Some(ConflictWord::Fail) => Conflict::Fail,
                Some(ConflictWord::Terminate) => Conflict::Terminate,
            },
            request_id,
            wait_ms: wait_s.map_or(0, |it| it * 1_000),
        };
        let started = self.0.core.start(&request).await?;
        Ok(StartWorkflowResponse::of(started, wait_s))
    }
}
