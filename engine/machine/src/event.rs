//! What has happened to a workflow.

mod projection;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::command::{Annotation, Submitter};
use crate::effect::CloseReason;
use crate::origin::Origin;
use crate::payload::Payload;

/// One row of history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Counts the events of the workflow, from 1 and without gaps.
    pub id: u64,
    /// The event before it in the same branch; 0 for the first.
    pub previous: u64,
    pub at_ms: i64,
    /// The item of a distributed `Map` that it belongs to, such as `Check/3`: AWS keeps it in a
    /// history of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The type of a state, as ASL spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateType {
    Task,
    Choice,
    Pass,
    Wait,
    Succeed,
    Fail,
    Parallel,
    Map,
}

/// The types of AWS Step Functions, then ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum EventKind {
    ExecutionStarted {
        definition: String,
        version: u32,
        input: Payload,
        #[serde(default, skip_serializing_if = "Origin::is_caller")]
        origin: Origin,
    },
    StateEntered {
        state_type: StateType,
        name: String,
        input: Payload,
    },
    StateExited {
        state_type: StateType,
        name: String,
        output: Payload,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        assigned: Vec<(String, Payload)>,
    },
    /// An attempt was scheduled with its first turn.
    TaskScheduled {
        task: u32,
        attempt: u32,
        name: String,
        resource: String,
        arguments: Payload,
        timeout_seconds: Option<i64>,
        heartbeat_seconds: Option<i64>,
    },
    /// A worker took the attempt; written with its first result.
    TaskStarted {
        task: u32,
        attempt: u32,
        resource: String,
    },
    TaskSucceeded {
        task: u32,
        attempt: u32,
        turn: u32,
        name: String,
        resource: String,
        /// The outcome of a step; `None` where `output` is the whole result.
        outcome: Option<String>,
        output: Payload,
        /// Since the attempt was scheduled.
        duration_ms: i64,
    },
    /// The work of a `.waitForTaskToken` task was handed on; the attempt waits for its token.
    TaskSubmitted {
        task: u32,
        attempt: u32,
        name: String,
        resource: String,
        output: Payload,
    },
    /// A rework found an earlier result of the state still valid.
    TaskKept {
        name: String,
        outcome: String,
        output: Payload,
    },
    TaskFailed {
        task: u32,
        attempt: u32,
        turn: u32,
        name: String,
        resource: String,
        error: String,
        cause: String,
        duration_ms: i64,
    },
    TaskTimedOut {
        task: u32,
        attempt: u32,
        turn: u32,
        name: String,
        resource: String,
        /// `States.Timeout` or `States.HeartbeatTimeout`.
        #[serde(default = "timeout")]
        error: String,
        duration_ms: i64,
    },
    EvaluationFailed {
        name: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        location: String,
        error: String,
        cause: String,
    },
    ParallelStateStarted {
        name: String,
    },
    ParallelStateSucceeded {
        name: String,
    },
    ParallelStateFailed {
        name: String,
        error: String,
        cause: String,
    },
    MapStateStarted {
        name: String,
        /// How many runs of the processor there will be.
        length: usize,
    },
    MapStateSucceeded {
        name: String,
    },
    MapStateFailed {
        name: String,
        error: String,
        cause: String,
    },
    MapIterationStarted {
        name: String,
        index: usize,
    },
    MapIterationSucceeded {
        name: String,
        index: usize,
    },
    MapIterationFailed {
        name: String,
        index: usize,
        error: String,
        cause: String,
    },
    MapIterationAborted {
        name: String,
        index: usize,
    },
    /// The runs of a distributed `Map` begin.
    MapRunStarted {
        name: String,
        length: usize,
    },
    MapRunSucceeded {
        name: String,
        failed: usize,
    },
    MapRunFailed {
        name: String,
        error: String,
        cause: String,
    },
    /// What undoes a state was noted; it runs when the workflow fails.
    CompensationRegistered {
        name: String,
        resource: String,
        arguments: Payload,
    },
    /// What was done is undone, the latest first.
    CompensationStarted {
        /// How many tasks there are to undo.
        count: usize,
        error: String,
    },
    /// A state could not be undone; the others are.
    CompensationFailed {
        name: String,
        error: String,
        cause: String,
    },
    CompensationFinished {
        failed: usize,
    },
    /// The workflow goes on with another version of its definition.
    WorkflowMigrated {
        from: u32,
        to: u32,
    },
    /// A turn stands still until somebody has looked.
    IncidentRaised {
        task: u32,
        attempt: u32,
        turn: u32,
        name: String,
        resource: String,
        code: String,
    },
    /// Somebody has said how to go on.
    IncidentResolved {
        task: Option<u32>,
        action: String,
        by: String,
    },
    /// Something was done about the workflow that does not change its course.
    WorkflowAnnotated {
        annotation: Annotation,
        /// Subject of the token that did it.
        by: String,
    },
    ExecutionSucceeded {
        output: Payload,
        decision: Option<String>,
    },
    ExecutionFailed {
        error: String,
        cause: String,
    },
    ExecutionAborted {
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Ended at once by an operator.
    ExecutionTerminated {
        reason: Option<String>,
        by: Option<String>,
    },
    /// The workflow goes on from where it did not end well.
    ExecutionRedriven {
        /// Counts the redrives of the workflow, from 1.
        redrive: u32,
        reason: Option<String>,
        by: Option<String>,
    },
    /// What is under way has time to end; then the workflow is cancelled.
    CancellationRequested {
        reason: Option<String>,
        grace_seconds: i64,
        by: Option<String>,
    },
    /// A new workflow was started with the input of this one.
    WorkflowRestarted {
        workflow: String,
        by: Option<String>,
    },
    WorkflowPaused {
        reason: Option<String>,
        by: Option<String>,
    },
    WorkflowResumed {
        by: Option<String>,
    },
    /// A signal came; a state that waits for it ends with its payload.
    SignalReceived {
        name: String,
        payload: Payload,
        by: Option<String>,
    },
    ExecutionTimedOut {},
    /// Another workflow goes on from here.
    ExecutionContinued {
        next: String,
        version: u32,
    },
    /// Turn 2 or later was scheduled; turn 1 comes with `TaskScheduled`.
    TurnScheduled {
        task: u32,
        attempt: u32,
        turn: u32,
        reason: String,
    },
    TaskCheckpointed {
        task: u32,
        attempt: u32,
        turn: u32,
        state: Payload,
    },
    PromptOpened {
        prompt: u32,
        task: u32,
        name: String,
        audience: String,
        kind: String,
        body: Payload,
        expires_ms: i64,
    },
    /// The step asked the same again; only the time changed.
    PromptExtended {
        prompt: u32,
        task: u32,
        expires_ms: i64,
    },
    /// What was answered is in the turn that it leads to, and nowhere once that has ended.
    PromptAnswered {
        prompt: u32,
        task: u32,
        submitter: Submitter,
    },
    PromptClosed {
        prompt: u32,
        task: u32,
        reason: CloseReason,
    },
    EvidenceGained {
        evidence: String,
        name: String,
    },
    EvidenceRetracted {
        evidence: String,
        name: String,
    },
}

/// Formats milliseconds since the epoch as RFC 3339 in UTC.
pub(crate) fn rfc3339(at_ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(at_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// What events before `HeartbeatSeconds` meant.
fn timeout() -> String {
    "States.Timeout".to_owned()
}
