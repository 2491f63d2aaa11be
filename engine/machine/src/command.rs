//! What may be asked of a workflow, and how it answers.

use serde::{Deserialize, Serialize};

use crate::message::ChildEnd;
use crate::origin::{OnParentClose, Origin};
use crate::payload::{Excess, Payload};

/// Something that somebody wants of one workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Command {
    /// Begins the workflow; the only command for a workflow that has no state.
    Start {
        /// The workflow's id, `wf_<32 hex>`.
        workflow: String,
        /// Name of the definition.
        definition: String,
        /// Published version of the definition.
        version: u32,
        input: Payload,
        /// Who starts it, when that is no caller.
        #[serde(default, skip_serializing_if = "Origin::is_caller")]
        origin: Origin,
    },
    /// A worker has finished a turn.
    TurnResult {
        task: u32,
        attempt: u32,
        turn: u32,
        /// SHA-256 of the result as the worker sent it, in hex.
        digest: String,
        result: TurnResult,
    },
    /// A worker is about to cause an external effect that must not happen twice.
    Checkpoint {
        task: u32,
        attempt: u32,
        turn: u32,
        state: Payload,
    },
    /// A person answers a prompt.
    Submit {
        prompt: u32,
        /// SHA-256 of the submission, in hex.
        digest: String,
        body: Payload,
        submitter: Submitter,
    },
    /// Judges every deadline that is due; every other command does so too, before itself.
    Tick,
    /// Somebody sends the token of a `.waitForTaskToken` task back with its result.
    TokenSuccess {
        token: String,
        /// For a step of ours `{outcome, output}`, otherwise the result itself.
        result: Payload,
    },
    /// Somebody sends the token back with an error.
    TokenFailure {
        token: String,
        error: String,
        cause: String,
    },
    /// Whoever has the token is still at it.
    TokenHeartbeat { token: String },
    /// The worker that leased this turn has been silent for longer than `HeartbeatSeconds`.
    HeartbeatMissed { task: u32, attempt: u32, turn: u32 },
    /// A worker has lost its lease of this turn, or crashed, without a result.
    LeaseLost { task: u32, attempt: u32, turn: u32 },
    /// Somebody has looked at an incident and says how to go on.
    ResolveIncident {
        /// The task that stands still; `None` when the whole workflow does.
        task: Option<u32>,
        action: IncidentAction,
        /// Who says so.
        by: String,
    },
    /// Another workflow has taken a message of this one.
    Delivered { number: u32 },
    /// The workflow that a message should start cannot be started.
    NotStarted {
        number: u32,
        error: String,
        cause: String,
    },
    /// A child has ended.
    ChildEnded {
        task: u32,
        attempt: u32,
        end: ChildEnd,
    },
    /// A child goes on as another workflow.
    ChildContinued {
        task: u32,
        attempt: u32,
        next: String,
        /// How many runs have gone before that one; 0 where nobody knows.
        #[serde(default)]
        run: u32,
        on_close: OnParentClose,
    },
    /// Ends the workflow on request: at once, or when what is under way has had time to end.
    Cancel {
        reason: Option<String>,
        /// How long tasks that are under way may still end; what has been done is undone then.
        /// 0 ends the workflow at once and undoes nothing.
        #[serde(default)]
        grace_seconds: i64,
        /// Who asks for it.
        #[serde(default)]
        by: Option<String>,
    },
    /// Nobody is at these turns of a workflow that is being cancelled: they need not be waited for.
    TurnsUnheld {
        /// Task, attempt and turn.
        turns: Vec<(u32, u32, u32)>,
    },
    /// Ends the workflow at once and undoes nothing.
    Terminate {
        reason: Option<String>,
        by: Option<String>,
    },
    /// Nothing new begins and no time is judged until [`Command::Resume`].
    Pause {
        reason: Option<String>,
        by: Option<String>,
    },
    /// Goes on after a [`Command::Pause`]; what was due meanwhile is judged now.
    Resume { by: Option<String> },
    /// Somebody sends what a state with the resource `btrust:signal` waits for, or will.
    Signal {
        name: String,
        payload: Payload,
        /// SHA-256 of the idempotency key, in hex.
        key: String,
        /// SHA-256 of name and payload, in hex.
        digest: String,
        by: Option<String>,
    },
    /// Notes that a workflow that has ended was started again, as another one.
    NoteRestart {
        workflow: String,
        by: Option<String>,
    },
    /// A workflow that did not end well goes on from where it failed.
    Redrive {
        /// SHA-256 of the idempotency key, in hex.
        key: String,
        reason: Option<String>,
        by: Option<String>,
    },
    /// Notes what was done about the workflow and not to it; taken whether it is open or closed.
    Annotate {
        annotation: Annotation,
        /// Subject of the token that did it.
        by: String,
    },
}

/// Something done about a workflow: its history tells of it, its course does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Annotation {
    /// Search attributes have other values now. Named only: values are no history.
    SearchAttributesChanged {
        names: Vec<String>,
    },
    LegalHoldPlaced,
    LegalHoldReleased,
}

impl Annotation {
    /// The code of the act.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::SearchAttributesChanged { .. } => "searchAttributesChanged",
            Self::LegalHoldPlaced => "legalHoldPlaced",
            Self::LegalHoldReleased => "legalHoldReleased",
        }
    }
}

/// How to go on after an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum IncidentAction {
    /// The same turn again.
    Retry,
    /// The attempt has failed; `Retry` and `Catch` of the state see this error.
    Fail { error: String, cause: String },
}

impl IncidentAction {
    /// The word for this action in events.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Fail { .. } => "fail",
        }
    }
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum TurnResult {
    /// The task is done; `outcome` is one of its contract's words.
    Complete { outcome: String, output: Payload },
    /// The task is done; `output` is the whole result. For resources that are no steps of ours.
    Output { output: Payload },
    /// The step needs a person; the task is parked with `state` until the answer, the expiry or the wake-up.
    Ask {
        /// `applicant`, `portal` or `reviewer`.
        audience: String,
        kind: String,
        body: Payload,
        /// The step's own small memory for its next turn.
        state: Payload,
        expires_in_ms: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wake_in_ms: Option<i64>,
    },
    /// The attempt has failed; only `Retry` starts another one.
    Fail { error: String, cause: String },
}

/// Who answered a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Submitter {
    /// `applicant`, `portal` or `reviewer`; it must be the prompt's audience.
    pub kind: String,
    pub id: String,
    /// The device that an applicant's token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Network address as the gateway saw it; for rate limits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A word for the kind of device that an applicant uses, for analytics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_class: Option<String>,
}

/// How a command that was not refused has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command was carried out.
    Done,
    /// The same command (same digest) had been carried out before: nothing changed.
    Duplicate,
}

/// Why a command was not carried out; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such workflow")]
    WorkflowUnknown,
    #[error("the workflow has already been started")]
    WorkflowStarted,
    #[error("the workflow is closed")]
    WorkflowClosed,
    #[error("prompt {prompt} is closed")]
    PromptClosed { prompt: u32 },
    #[error("there is no prompt {prompt}")]
    PromptUnknown { prompt: u32 },
    #[error("prompt {prompt} is for the audience `{audience}`")]
    AudienceMismatch { prompt: u32, audience: String },
    #[error("turn {turn} of attempt {attempt} of task {task} is closed")]
    TurnClosed { task: u32, attempt: u32, turn: u32 },
    #[error("there is no turn {turn} of attempt {attempt} of task {task}")]
    TurnUnknown { task: u32, attempt: u32, turn: u32 },
    #[error(
        "the document has {size_bytes} bytes, more than {}",
        crate::limits::PAYLOAD_BYTES_MAX
    )]
    PayloadTooLarge { size_bytes: usize },
    #[error(
        "the document is nested deeper than {} levels",
        crate::limits::PAYLOAD_DEPTH_MAX
    )]
    PayloadTooDeep,
    #[error("no task waits for this token")]
    TokenUnknown,
    #[error("task {task} does not stand still")]
    IncidentClosed { task: u32 },
    #[error("the whole workflow stands still, not one of its tasks, so that none can fail")]
    IncidentWithoutTask,
    #[error("the workflow is being cancelled")]
    WorkflowCancelling,
    #[error("the workflow is running")]
    WorkflowRunning,
    #[error(
        "the name of a signal has 1 to {} characters",
        crate::limits::SIGNAL_NAME_CHARS_MAX
    )]
    SignalNameInvalid,
    #[error("the workflow has not taken the signals that it already has")]
    SignalsFull,
    /// The idempotency key came before, with something else.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("the workflow cannot go on from where it failed: {detail}")]
    RedriveImpossible { detail: &'static str },
    #[error("the workflow's history is full")]
    HistoryFull,
    /// The wall-clock guard ended an expression: abort uncommitted and raise an incident.
    #[error(
        "an expression of state `{state}` ran longer than {} ms",
        crate::limits::EXPRESSION_TIMEOUT_MS
    )]
    EvaluationLimit { state: String },
    /// The state was made by a definition or a program that this one does not fit.
    #[error("the state does not fit the definition: {detail}")]
    StateMismatch { detail: String },
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Bytes(size_bytes) => Self::PayloadTooLarge { size_bytes },
            Excess::Levels => Self::PayloadTooDeep,
        }
    }
}

impl Refusal {
    /// The stable code, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WorkflowUnknown => "workflow_unknown",
            Self::WorkflowStarted => "workflow_started",
            Self::WorkflowClosed => "workflow_closed",
            Self::PromptClosed { .. } => "prompt_closed",
            Self::PromptUnknown { .. } => "prompt_unknown",
            Self::AudienceMismatch { .. } => "audience_mismatch",
            Self::TurnClosed { .. } => "turn_closed",
            Self::TurnUnknown { .. } => "turn_unknown",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::PayloadTooDeep => "payload_too_deep",
            Self::TokenUnknown => "token_unknown",
            Self::IncidentClosed { .. } => "incident_closed",
            Self::IncidentWithoutTask => "incident_without_task",
            Self::WorkflowCancelling => "workflow_cancelling",
            Self::WorkflowRunning => "workflow_running",
            Self::SignalNameInvalid => "signal_name_invalid",
            Self::SignalsFull => "signals_full",
            Self::KeyReused => "idempotency_key_reused",
            Self::RedriveImpossible { .. } => "redrive_impossible",
            Self::HistoryFull => "history_full",
            Self::EvaluationLimit { .. } => "evaluation_limit",
            Self::StateMismatch { .. } => "state_mismatch",
        }
    }
}
