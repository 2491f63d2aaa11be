//! The internal API of core (port 5002), spoken by the gateway.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::children::Lineage;
use crate::commands::{Conflict, Reuse};
use crate::ids::{PromptId, TaskId, WorkflowId};
use crate::turn::{Audience, Submitter};

/// How a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    /// Another workflow goes on from it.
    Continued,
    /// Ended at once by an operator.
    Terminated,
}

impl Status {
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Continued,
        Self::Terminated,
    ];

    /// The wire form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Continued => "continued",
            Self::Terminated => "terminated",
        }
    }

    /// Whether a workflow with this status goes on.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Running)
    }

    /// The status that `text` spells, if any.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// What anybody who may see a workflow sees of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowView {
    pub id: WorkflowId,
    pub definition: String,
    pub version: u32,
    pub status: Status,
    /// Whom the oldest open prompt asks.
    pub waiting_for: Option<Audience>,
    pub decision: Option<String>,
    /// Latest outcome of each step state that has one.
    pub outcomes: BTreeMap<String, String>,
    pub search_attributes: BTreeMap<String, Value>,
    pub legal_hold: bool,
    pub error: Option<String>,
    pub cause: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub closed_at: Option<String>,
    /// Number of the last event.
    pub sequence: u64,
    #[serde(default, flatten)]
    pub lineage: Lineage,
    /// Nothing new begins until somebody resumes it.
    #[serde(default)]
    pub paused: bool,
    /// It will be cancelled when what is under way has ended.
    #[serde(default)]
    pub cancelling: bool,
    /// How often it went on from where it had failed.
    #[serde(default)]
    pub redrives: u32,
    /// The workflow whose input it started with.
    #[serde(default)]
    pub restart_of: Option<WorkflowId>,
    /// The latest workflow that was started with its input.
    #[serde(default)]
    pub restarted_as: Option<WorkflowId>,
    /// Turns that workers hold now; known only when one workflow is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<RunningView>,
}

/// A turn that a worker holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningView {
    pub task: TaskId,
    pub state: String,
    /// The step with its version.
    pub resource: String,
    pub attempt: u32,
    pub turn: u32,
    /// The worker's session; opaque.
    pub worker: String,
    /// RFC 3339.
    pub since: String,
    /// What the step has told last.
    pub progress: Option<ProgressView>,
}

/// How far a turn is, as its step tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressView {
    /// 0 to 100.
    pub percent: Option<u8>,
    /// A code of the step.
    pub note: Option<String>,
    pub details: Option<Value>,
    /// RFC 3339.
    pub at: String,
}

/// Starts a workflow, at most once for a tenant and key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartRequest {
    pub tenant: String,
    pub definition: String,
    /// The version that the alias `live` names when absent.
    pub version: Option<u32>,
    pub input: Value,
    /// The bank's own name for the person; kept only as a keyed digest.
    pub subject_ref: Option<String>,
    /// BCP 47 tag.
    pub locale: Option<String>,
    /// 0 to 9, the higher the sooner; 5 when absent.
    #[serde(default)]
    pub priority: Option<u8>,
    /// First values of declared search attributes.
    #[serde(default)]
    pub search_attributes: BTreeMap<String, Value>,
    pub idempotency_key: String,
    /// SHA-256 hex of the public request body: the same key with another digest is refused.
    pub request_digest: String,
    /// Subject of the caller's token.
    pub actor: String,
    #[serde(default)]
    pub reuse: Reuse,
    #[serde(default)]
    pub conflict: Conflict,
    /// The caller's name of this very request: with another one, the same request is not a repetition.
    #[serde(default)]
    pub request_id: Option<String>,
    /// How long to wait for the end, ms; 0 answers as soon as the workflow is started.
    #[serde(default)]
    pub wait_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartResponse {
    /// False when the key had started this workflow before.
    pub created: bool,
    pub workflow: WorkflowView,
    /// How it ended, where the caller waited and it did.
    #[serde(default)]
    pub result: Option<ResultView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultView {
    pub status: Status,
    pub decision: Option<String>,
    pub output: Option<Value>,
    pub error: Option<String>,
    pub cause: Option<String>,
    /// The run that goes on from this one and will have the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_as: Option<WorkflowId>,
}

/// A page of history in the spelling of Step Functions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    pub events: Vec<Value>,
    /// Send back as `after` for the next page.
    pub next: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmissionRequest {
    pub tenant: String,
    pub submitter: Submitter,
    pub body: Value,
    /// SHA-256 hex of the body and, where given, the idempotency key.
    pub digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmissionResponse {
    pub prompt: PromptId,
    /// False when this very submission had been taken before.
    pub created: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelRequest {
    pub tenant: String,
    pub reason: Option<String>,
    /// How long tasks that are under way may still end, in seconds; what was done is undone then. With 0
    /// the workflow ends at once and nothing is undone.
    #[serde(default)]
    pub grace_seconds: u32,
    pub actor: String,
}

/// A task's token comes back with its result.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskSuccessRequest {
    pub tenant: String,
    /// For a step `{outcome, output}`.
    pub result: Value,
    pub actor: String,
}

/// A task's token comes back with an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskFailureRequest {
    pub tenant: String,
    pub error: String,
    pub cause: String,
    pub actor: String,
}

/// Whoever has the token of a task is still at it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskHeartbeatRequest {
    pub tenant: String,
}

/// Filters of a list; all must hold. Times are RFC 3339.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListQuery {
    pub tenant: String,
    pub status: Option<Status>,
    /// Open or closed ones only.
    pub is_open: Option<bool>,
    pub definition: Option<String>,
    pub decision: Option<String>,
    pub paused: Option<bool>,
    /// JSON of a list of [`AttributeQuery`](crate::search::AttributeQuery).
    pub attributes: Option<String>,
    /// Whom an open prompt asks.
    pub open_prompt: Option<Audience>,
    pub started_after: Option<String>,
    pub started_before: Option<String>,
    /// 1 to [`LIST_LIMIT_MAX`].
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Most workflows on one page of a list.
pub const LIST_LIMIT_MAX: u32 = 200;
/// Workflows on a page when the caller does not say.
pub const LIST_LIMIT_DEFAULT: u32 = 50;

/// A tenant's statement that it knows of a limit and accepts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// One of [`ACKNOWLEDGEMENT_KINDS`].
    pub kind: String,
    pub statement: String,
    /// Subject of the token that made it.
    pub by: String,
    /// RFC 3339.
    pub at: String,
}

/// Liveness models are uncertified; decisions may rest on them all the same.
pub const UNCERTIFIED_LIVENESS: &str = "uncertified_liveness";
/// Specimen documents (issuing state UTO) count as documents; for test tenants only.
pub const SPECIMEN_DOCUMENTS: &str = "specimen_documents";
/// Every kind that a tenant can acknowledge.
pub const ACKNOWLEDGEMENT_KINDS: &[&str] = &[UNCERTIFIED_LIVENESS, SPECIMEN_DOCUMENTS];
