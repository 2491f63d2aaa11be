//! What has happened to a workflow.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::command::Submitter;
use crate::effect::CloseReason;
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
}

/// The types of AWS Step Functions, then ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum EventKind {
    ExecutionStarted {
        definition: String,
        version: u32,
        input: Payload,
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
        outcome: String,
        output: Payload,
        /// Since the attempt was scheduled.
        duration_ms: i64,
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
        duration_ms: i64,
    },
    EvaluationFailed {
        name: String,
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
    },
    ExecutionTimedOut {},
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

impl Event {
    /// The type as the history spells it, such as `TaskStateEntered`.
    #[must_use]
    pub fn type_name(&self) -> String {
        match &self.kind {
            EventKind::StateEntered { state_type, .. } => format!("{state_type:?}StateEntered"),
            EventKind::StateExited { state_type, .. } => format!("{state_type:?}StateExited"),
            kind => kind.word().to_owned(),
        }
    }

    /// The event as AWS Step Functions would show it in a history.
    #[must_use]
    pub fn to_step_functions(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("id".to_owned(), json!(self.id));
        shown.insert("previousEventId".to_owned(), json!(self.previous));
        shown.insert("timestamp".to_owned(), json!(rfc3339(self.at_ms)));
        shown.insert("type".to_owned(), json!(self.type_name()));
        if let Some((key, details)) = self.kind.details() {
            shown.insert(format!("{key}EventDetails"), details);
        }
        Value::Object(shown)
    }
}

/// Formats milliseconds since the epoch as RFC 3339 in UTC.
pub(crate) fn rfc3339(at_ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(at_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl EventKind {
    fn word(&self) -> &'static str {
        match self {
            Self::ExecutionStarted { .. } => "ExecutionStarted",
            Self::StateEntered { .. } => "StateEntered",
            Self::StateExited { .. } => "StateExited",
            Self::TaskScheduled { .. } => "TaskScheduled",
            Self::TaskStarted { .. } => "TaskStarted",
            Self::TaskSucceeded { .. } => "TaskSucceeded",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::TaskTimedOut { .. } => "TaskTimedOut",
            Self::EvaluationFailed { .. } => "EvaluationFailed",
            Self::ParallelStateStarted { .. } => "ParallelStateStarted",
            Self::ParallelStateSucceeded { .. } => "ParallelStateSucceeded",
            Self::ParallelStateFailed { .. } => "ParallelStateFailed",
            Self::ExecutionSucceeded { .. } => "ExecutionSucceeded",
            Self::ExecutionFailed { .. } => "ExecutionFailed",
            Self::ExecutionAborted { .. } => "ExecutionAborted",
            Self::ExecutionTimedOut {} => "ExecutionTimedOut",
            Self::TurnScheduled { .. } => "TurnScheduled",
            Self::TaskCheckpointed { .. } => "TaskCheckpointed",
            Self::PromptOpened { .. } => "PromptOpened",
            Self::PromptExtended { .. } => "PromptExtended",
            Self::PromptAnswered { .. } => "PromptAnswered",
            Self::PromptClosed { .. } => "PromptClosed",
            Self::EvidenceGained { .. } => "EvidenceGained",
            Self::EvidenceRetracted { .. } => "EvidenceRetracted",
        }
    }

    /// The key (without `EventDetails`) and value of the details, where the type has any.
    fn details(&self) -> Option<(&'static str, Value)> {
        let whole = json!({"truncated": false});
        let shown = match self {
            Self::ExecutionStarted { input, .. } => (
                "executionStarted",
                json!({"input": input, "inputDetails": whole}),
            ),
            Self::StateEntered { name, input, .. } => (
                "stateEntered",
                json!({"name": name, "input": input, "inputDetails": whole}),
            ),
            Self::StateExited {
                name,
                output,
                assigned,
                ..
            } => {
                let mut details = json!({"name": name, "output": output, "outputDetails": whole});
                if !assigned.is_empty() {
                    let variables: Map<String, Value> = assigned
                        .iter()
                        .map(|(key, it)| (key.clone(), json!(it.to_string())))
                        .collect();
                    details["assignedVariables"] = Value::Object(variables);
                    details["assignedVariablesDetails"] = whole;
                }
                ("stateExited", details)
            }
            Self::ExecutionSucceeded { output, .. } => (
                "executionSucceeded",
                json!({"output": output, "outputDetails": whole}),
            ),
            Self::ExecutionFailed { error, cause } => {
                ("executionFailed", error_details(error, cause))
            }
            Self::ExecutionAborted { reason } => (
                "executionAborted",
                error_details("", reason.as_deref().unwrap_or("")),
            ),
            Self::ExecutionTimedOut {} => {
                ("executionTimedOut", error_details("States.Timeout", ""))
            }
            Self::EvaluationFailed {
                name,
                location,
                error,
                cause,
            } => (
                "evaluationFailed",
                json!({"state": name, "location": location, "error": error, "cause": cause}),
            ),
            Self::ParallelStateStarted { .. }
            | Self::ParallelStateSucceeded { .. }
            | Self::ParallelStateFailed { .. } => return None,
            _ => return self.task_details(),
        };
        Some(shown)
    }

    fn task_details(&self) -> Option<(&'static str, Value)> {
        let shown = match self {
            Self::TaskScheduled {
                resource,
                arguments,
                timeout_seconds,
                heartbeat_seconds,
                ..
            } => {
                let mut details = with_resource(resource, json!({"parameters": arguments}));
                if let Some(seconds) = timeout_seconds {
                    details["timeoutInSeconds"] = json!(seconds);
                }
                if let Some(seconds) = heartbeat_seconds {
                    details["heartbeatInSeconds"] = json!(seconds);
                }
                ("taskScheduled", details)
            }
            Self::TaskStarted { resource, .. } => {
                ("taskStarted", with_resource(resource, json!({})))
            }
            Self::TaskSucceeded {
                resource,
                outcome,
                output,
                ..
            } => {
                let result = json!({"outcome": outcome, "output": output});
                let details = json!({"output": result, "outputDetails": {"truncated": false}});
                ("taskSucceeded", with_resource(resource, details))
            }
            Self::TaskFailed {
                resource,
                error,
                cause,
                ..
            } => (
                "taskFailed",
                with_resource(resource, json!({"error": error, "cause": cause})),
            ),
            Self::TaskTimedOut { resource, .. } => (
                "taskTimedOut",
                with_resource(resource, json!({"error": "States.Timeout"})),
            ),
            // Ours have no counterpart: they are shown as they are stored.
            ours => {
                let mut stored = serde_json::to_value(ours).unwrap_or_default();
                let fields = stored.as_object_mut()?;
                fields.remove("type");
                (ours.own_key()?, stored)
            }
        };
        Some(shown)
    }

    fn own_key(&self) -> Option<&'static str> {
        match self {
            Self::TurnScheduled { .. } => Some("turnScheduled"),
            Self::TaskCheckpointed { .. } => Some("taskCheckpointed"),
            Self::PromptOpened { .. } => Some("promptOpened"),
            Self::PromptExtended { .. } => Some("promptExtended"),
            Self::PromptAnswered { .. } => Some("promptAnswered"),
            Self::PromptClosed { .. } => Some("promptClosed"),
            Self::EvidenceGained { .. } => Some("evidenceGained"),
            Self::EvidenceRetracted { .. } => Some("evidenceRetracted"),
            _ => None,
        }
    }
}

/// Adds the resource as AWS splits it: `kyc:otp@1` is resource `otp@1` of type `kyc`.
fn with_resource(resource: &str, mut details: Value) -> Value {
    let (kind, name) = resource.split_once(':').unwrap_or(("", resource));
    details["resourceType"] = json!(kind);
    details["resource"] = json!(name);
    details
}

/// Error and cause as AWS shows them: absent where empty.
fn error_details(error: &str, cause: &str) -> Value {
    let mut details = Map::new();
    for (key, text) in [("error", error), ("cause", cause)] {
        if !text.is_empty() {
            details.insert(key.to_owned(), json!(text));
        }
    }
    Value::Object(details)
}
