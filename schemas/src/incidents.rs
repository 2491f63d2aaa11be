//! What stands still until an operator has looked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{IncidentId, TaskId, WorkflowId};

/// Most incidents on one page.
pub const INCIDENTS_LIMIT_MAX: u32 = 200;
/// Incidents on a page when the caller does not say.
pub const INCIDENTS_LIMIT_DEFAULT: u32 = 50;
/// Longest note of an operator, in bytes.
pub const INCIDENT_NOTE_BYTES_MAX: usize = 1_024;

/// An incident of one task, or of a whole workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentView {
    pub id: IncidentId,
    pub workflow: WorkflowId,
    pub definition: String,
    pub version: u32,
    /// `turn_poisoned`, `machine_fault`, `commit_refused`, `row_unreadable`, `evaluation_limit`, ...
    pub code: String,
    /// Absent when the whole workflow stands still; so are the next four.
    pub task: Option<TaskId>,
    pub state: Option<String>,
    pub step: Option<String>,
    pub attempt: Option<u32>,
    pub turn: Option<u32>,
    /// RFC 3339.
    pub raised_at: String,
    pub resolution: Option<ResolutionView>,
}

/// How an incident has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolutionView {
    /// `retry`, `fail`, `terminate`; `overtaken` when it went on by itself.
    pub action: String,
    pub by: String,
    pub note: Option<String>,
    /// RFC 3339.
    pub at: String,
}

/// Filters of a list; all must hold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentQuery {
    pub tenant: String,
    /// Those that are resolved instead of those that stand still.
    #[serde(default)]
    pub resolved: bool,
    pub code: Option<String>,
    pub step: Option<String>,
    pub definition: Option<String>,
    /// 1 to [`INCIDENTS_LIMIT_MAX`].
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentPage {
    pub incidents: Vec<IncidentView>,
    pub next: Option<String>,
}

/// How to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ResolutionAction {
    /// The same turn again; for a whole workflow, everything that is open.
    Retry,
    /// The attempt has failed; `Retry` and `Catch` of its state see the error.
    Fail,
    /// The workflow ends.
    Terminate,
}

impl ResolutionAction {
    /// The wire form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Fail => "fail",
            Self::Terminate => "terminate",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolutionRequest {
    pub tenant: String,
    pub action: ResolutionAction,
    /// For `fail`; `BTrust.Incident` when absent.
    pub error: Option<String>,
    pub cause: Option<String>,
    pub note: Option<String>,
    pub actor: String,
}
