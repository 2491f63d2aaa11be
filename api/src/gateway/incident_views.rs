//! The public wire forms of incidents.

use poem_openapi::{Enum, Object};

use btrust_schemas::incidents::{IncidentView, ResolutionAction, ResolutionView};

/// What stands still until somebody has looked: a task, or a whole workflow.
#[derive(Object)]
#[oai(rename = "Incident", rename_all = "camelCase")]
pub struct IncidentDocument {
    pub id: String,
    pub workflow: String,
    pub definition: String,
    pub version: u32,
    /// `turn_poisoned` for a turn that its workers did not survive; `machine_fault`,
    /// `commit_refused`, `row_unreadable`, `evaluation_limit` and others for a whole workflow
    pub code: String,
    /// Absent when the whole workflow stands still
    pub task: Option<String>,
    pub state: Option<String>,
    pub step: Option<String>,
    pub attempt: Option<u32>,
    pub turn: Option<u32>,
    /// RFC 3339
    pub raised_at: String,
    pub resolution: Option<ResolutionDocument>,
}

/// How an incident has ended.
#[derive(Object)]
#[oai(rename = "Resolution", rename_all = "camelCase")]
pub struct ResolutionDocument {
    /// `retry`, `fail` or `terminate`; `overtaken` when it went on by itself
    pub action: String,
    pub by: String,
    pub note: Option<String>,
    /// RFC 3339
    pub at: String,
}

/// How to go on.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[oai(rename = "ResolutionAction", rename_all = "lowercase")]
pub enum ResolutionWord {
    /// The same turn again; for a whole workflow, everything that is open
    Retry,
    /// The attempt has failed; `Retry` and `Catch` of its state see the error
    Fail,
    /// The workflow ends
    Terminate,
}

impl From<ResolutionWord> for ResolutionAction {
    fn from(word: ResolutionWord) -> Self {
        match word {
            ResolutionWord::Retry => Self::Retry,
            ResolutionWord::Fail => Self::Fail,
            ResolutionWord::Terminate => Self::Terminate,
        }
    }
}

impl From<IncidentView> for IncidentDocument {
    fn from(view: IncidentView) -> Self {
        Self {
            id: view.id.to_string(),
            workflow: view.workflow.to_string(),
            definition: view.definition,
            version: view.version,
            code: view.code,
            task: view.task.map(|it| it.to_string()),
            state: view.state,
            step: view.step,
            attempt: view.attempt,
            turn: view.turn,
            raised_at: view.raised_at,
            resolution: view.resolution.map(Into::into),
        }
    }
}

impl From<ResolutionView> for ResolutionDocument {
    fn from(view: ResolutionView) -> Self {
        Self {
            action: view.action,
            by: view.by,
            note: view.note,
            at: view.at,
        }
    }
}
