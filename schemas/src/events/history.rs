//! One event of a history as the audit stream shows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Basis;

/// An event of a workflow's history as codes, ids and durations: nothing that a person said or is.
///
/// Which members there are follows from the type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HistorySummary {
    /// Number of the event in the history, from 1.
    pub id: u64,
    /// As Step Functions spells it, or one of our own: `TaskSucceeded`, `PromptOpened`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the state in the definition.
    pub state: Option<String>,
    /// The step with its major version.
    pub resource: Option<String>,
    /// Numbers of the task, of its attempt and of the attempt's turn, as far as the event has them.
    pub task: Option<TaskNumbers>,
    pub outcome: Option<String>,
    /// A name of an error that is the platform's, the language's or the definition's; `BTrust.OtherError` for
    /// any other.
    pub error: Option<String>,
    pub code: Option<String>,
    pub duration_ms: Option<i64>,
    /// Models and thresholds that the result rests on.
    pub basis: Option<Basis>,
    pub prompt: Option<u32>,
    pub audience: Option<String>,
    /// Of a prompt.
    #[serde(rename = "kind")]
    pub prompt_kind: Option<String>,
    /// Subject of a token, or who answered a prompt.
    pub by: Option<String>,
    /// Subject of the token of somebody of the bank who answered a prompt.
    pub submitter: Option<String>,
    /// A word of ours: why a turn was scheduled or a prompt closed.
    pub reason: Option<String>,
    pub evidence: Option<String>,
    pub decision: Option<String>,
    /// Index of an item, from 0.
    pub item: Option<u64>,
    pub failed: Option<u64>,
    pub count: Option<u64>,
    pub action: Option<String>,
    /// What was noted about the workflow.
    pub annotation: Option<Annotation>,
    /// Versions.
    pub from: Option<u32>,
    pub to: Option<u32>,
    pub version: Option<u32>,
    /// Ids of workflows.
    pub next: Option<String>,
    #[serde(rename = "as")]
    pub restarted_as: Option<String>,
    pub parent: Option<String>,
    pub continued_from: Option<String>,
    pub schedule: Option<String>,
    pub redrive: Option<u32>,
    pub grace_seconds: Option<i64>,
}

/// Of a task: its number, or its number with those of the attempt and of the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TaskNumbers {
    Task(u32),
    Parts(Vec<u32>),
}

/// What was noted about a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Annotation {
    /// `searchAttributesChanged`, `legalHoldPlaced` or `legalHoldReleased`.
    pub act: String,
    /// Names of search attributes, as the definition declares them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}
