//! The public wire forms of what core tells. Deliberately not core's own types:
//! either may change without the other.

use std::collections::BTreeMap;

use poem_openapi::{Enum, Object, types::Any};
use serde_json::Value;

use btrust_schemas::{
    core::{Acknowledgement, ResultView, RunningView, Status, WorkflowView},
    definition::{DefinitionView, LiveView, VersionStatus},
    ids::WorkflowId,
    prompt::{PromptView, PromptsView},
    search::ListedWorkflow,
    turn::Audience,
};

/// How a workflow stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[oai(rename = "Status", rename_all = "snake_case")]
pub enum StatusWord {
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    Continued,
    /// Ended at once by an operator
    Terminated,
}

impl From<Status> for StatusWord {
    fn from(status: Status) -> Self {
        match status {
            Status::Running => Self::Running,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::TimedOut => Self::TimedOut,
            Status::Cancelled => Self::Cancelled,
            Status::Continued => Self::Continued,
            Status::Terminated => Self::Terminated,
        }
    }
}

impl From<StatusWord> for Status {
    fn from(status: StatusWord) -> Self {
        match status {
            StatusWord::Running => Self::Running,
            StatusWord::Succeeded => Self::Succeeded,
            StatusWord::Failed => Self::Failed,
            StatusWord::TimedOut => Self::TimedOut,
            StatusWord::Cancelled => Self::Cancelled,
            StatusWord::Continued => Self::Continued,
            StatusWord::Terminated => Self::Terminated,
        }
    }
}

/// Whom a prompt asks.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[oai(rename = "Audience", rename_all = "lowercase")]
pub enum AudienceWord {
    Applicant,
    Portal,
    Reviewer,
}

impl From<Audience> for AudienceWord {
    fn from(audience: Audience) -> Self {
        match audience {
            Audience::Applicant => Self::Applicant,
            Audience::Portal => Self::Portal,
            Audience::Reviewer => Self::Reviewer,
        }
    }
}

impl From<AudienceWord> for Audience {
    fn from(audience: AudienceWord) -> Self {
        match audience {
            AudienceWord::Applicant => Self::Applicant,
            AudienceWord::Portal => Self::Portal,
            AudienceWord::Reviewer => Self::Reviewer,
        }
    }
}

/// A workflow, as anybody who may see it sees it.
#[derive(Object)]
#[oai(rename = "Workflow", rename_all = "camelCase")]
pub struct WorkflowDocument {
    pub id: String,
    pub definition: String,
    pub version: u32,
    pub status: StatusWord,
    /// Whom the oldest open prompt asks
    pub waiting_for: Option<AudienceWord>,
    pub decision: Option<String>,
    /// Latest outcome of each step that has one; an applicant sees none
    pub outcomes: BTreeMap<String, String>,
    /// By which it is found; an applicant sees none
    pub search_attributes: BTreeMap<String, Any<Value>>,
    /// Whether nothing of it may be deleted
    pub legal_hold: bool,
    pub error: Option<String>,
    pub cause: Option<String>,
    /// RFC 3339
    pub started_at: String,
    /// RFC 3339
    pub closed_at: Option<String>,
    /// Number of the last event
    pub sequence: u64,
    /// The workflow that waits for this one
    pub parent: Option<String>,
    /// The run that this one goes on from
    pub continued_from: Option<String>,
    /// The run that goes on from this one
    pub continued_as: Option<String>,
    /// The schedule that has started it
    pub schedule: Option<String>,
    /// Nothing new begins until somebody resumes it
    pub paused: bool,
    /// It is cancelled when what is under way has ended
    pub cancelling: bool,
    /// How often it went on from where it had failed
    pub redrives: u32,
    /// The workflow whose input it started with
    pub restart_of: Option<String>,
    /// The latest workflow that was started with its input
    pub restarted_as: Option<String>,
    /// Turns that workers hold now; only when one workflow is asked for, and never for an applicant
    #[oai(skip_serializing_if_is_empty)]
    pub running: Vec<RunningDocument>,
}

/// A turn that a worker holds.
#[derive(Object)]
#[oai(rename = "Running", rename_all = "camelCase")]
pub struct RunningDocument {
    pub task: String,
    pub state: String,
    /// The step with its version
    pub resource: String,
    pub attempt: u32,
    pub turn: u32,
    /// The worker's session; opaque
    pub worker: String,
    /// RFC 3339
    pub since: String,
    /// What the step has told last, if anything
    pub progress: Option<ProgressDocument>,
}

/// How far a turn is, as its step tells.
#[derive(Object)]
#[oai(rename = "Progress", rename_all = "camelCase")]
pub struct ProgressDocument {
    /// 0 to 100
    pub percent: Option<u8>,
    /// A code of the step
    pub note: Option<String>,
    pub details: Option<Any<Value>>,
    /// RFC 3339
    pub at: String,
}

impl From<RunningView> for RunningDocument {
    fn from(view: RunningView) -> Self {
        Self {
            task: view.task.to_string(),
            state: view.state,
            resource: view.resource,
            attempt: view.attempt,
            turn: view.turn,
            worker: view.worker,
            since: view.since,
            progress: view.progress.map(|it| ProgressDocument {
                percent: it.percent,
                note: it.note,
                details: it.details.map(Any),
                at: it.at,
            }),
        }
    }
}

impl From<WorkflowView> for WorkflowDocument {
    fn from(view: WorkflowView) -> Self {
        Self {
            id: view.id.to_string(),
            definition: view.definition,
            version: view.version,
            status: view.status.into(),
            waiting_for: view.waiting_for.map(Into::into),
            decision: view.decision,
            outcomes: view.outcomes,
            search_attributes: shown(view.search_attributes),
            legal_hold: view.legal_hold,
            error: view.error,
            cause: view.cause,
            started_at: view.started_at,
            closed_at: view.closed_at,
            sequence: view.sequence,
            running: view.running.into_iter().map(Into::into).collect(),
            parent: id(view.lineage.parent),
            continued_from: id(view.lineage.continued_from),
            continued_as: id(view.lineage.continued_as),
            schedule: view.lineage.schedule,
            paused: view.paused,
            cancelling: view.cancelling,
            redrives: view.redrives,
            restart_of: view.restart_of.map(|it| it.to_string()),
            restarted_as: view.restarted_as.map(|it| it.to_string()),
        }
    }
}

fn id(workflow: Option<WorkflowId>) -> Option<String> {
    workflow.map(|it| it.to_string())
}

/// A workflow as a list shows it: its outcomes and errors are in the workflow itself.
#[derive(Object)]
#[oai(rename = "ListedWorkflow", rename_all = "camelCase")]
pub struct ListedDocument {
    pub id: String,
    pub definition: String,
    pub version: u32,
    pub status: StatusWord,
    /// Whom the oldest open prompt asks
    pub waiting_for: Option<AudienceWord>,
    /// Whether it is paused; then it waits for nobody else
    pub paused: bool,
    pub decision: Option<String>,
    pub search_attributes: BTreeMap<String, Any<Value>>,
    /// Whether nothing of it may be deleted
    pub legal_hold: bool,
    /// RFC 3339
    pub started_at: String,
    /// RFC 3339
    pub closed_at: Option<String>,
}

impl From<ListedWorkflow> for ListedDocument {
    fn from(it: ListedWorkflow) -> Self {
        Self {
            id: it.id.to_string(),
            definition: it.definition,
            version: it.version,
            status: it.status.into(),
            waiting_for: it.waiting_for.map(Into::into),
            paused: it.paused,
            decision: it.decision,
            search_attributes: shown(it.search_attributes),
            legal_hold: it.legal_hold,
            started_at: it.started_at,
            closed_at: it.closed_at,
        }
    }
}

fn shown(values: BTreeMap<String, Value>) -> BTreeMap<String, Any<Value>> {
    values
        .into_iter()
        .map(|(name, it)| (name, Any(it)))
        .collect()
}

impl WorkflowDocument {
    /// What the applicant may know of it: how far it is, and not which check said
    /// what, which would teach how to pass it.
    #[must_use]
    pub fn for_applicant(mut self) -> Self {
        self.outcomes.clear();
        self.search_attributes.clear();
        self.legal_hold = false;
        self.error = None;
        self.cause = None;
        self.running.clear();
        self
    }
}

/// How a workflow ended, if it has.
#[derive(Object)]
#[oai(rename = "Result", rename_all = "camelCase")]
pub struct ResultDocument {
    /// `running` when it was not closed in time
    pub status: StatusWord,
    pub decision: Option<String>,
    pub output: Option<Any<Value>>,
    pub error: Option<String>,
    pub cause: Option<String>,
    /// The run that goes on from this one and will have the result
    pub continued_as: Option<String>,
}

impl From<ResultView> for ResultDocument {
    fn from(view: ResultView) -> Self {
        Self {
            status: view.status.into(),
            decision: view.decision,
            output: view.output.map(Any),
            error: view.error,
            cause: view.cause,
            continued_as: id(view.continued_as),
        }
    }
}

/// One open question to a person.
#[derive(Object)]
#[oai(rename = "Prompt", rename_all = "camelCase")]
pub struct PromptDocument {
    pub id: String,
    pub workflow: String,
    /// Name of the state in the definition
    pub state_name: String,
    /// The step with its major version: `kyc:otp@1`
    pub resource: String,
    pub audience: AudienceWord,
    pub kind: String,
    /// Typed by the step's prompt schema (`schemas/json/`)
    pub body: Any<Value>,
    pub locale: String,
    /// RFC 3339
    pub opened_at: String,
    /// RFC 3339
    pub expires_at: String,
}

impl From<PromptView> for PromptDocument {
    fn from(view: PromptView) -> Self {
        Self {
            id: view.id.to_string(),
            workflow: view.workflow.to_string(),
            state_name: view.state_name,
            resource: view.resource,
            audience: view.audience.into(),
            kind: view.kind,
            body: Any(view.body),
            locale: view.locale,
            opened_at: view.opened_at,
            expires_at: view.expires_at,
        }
    }
}

/// The prompts that the caller may answer, and how far the workflow is.
#[derive(Object)]
#[oai(rename = "Prompts", rename_all = "camelCase")]
pub struct PromptsDocument {
    pub prompts: Vec<PromptDocument>,
    /// Send it back as `after` to wait for something newer
    pub sequence: u64,
    pub status: StatusWord,
    pub decision: Option<String>,
}

impl From<PromptsView> for PromptsDocument {
    fn from(view: PromptsView) -> Self {
        Self {
            prompts: view.prompts.into_iter().map(Into::into).collect(),
            sequence: view.sequence,
            status: view.status.into(),
            decision: view.decision,
        }
    }
}

/// How a version of a definition stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
#[oai(rename = "VersionStatus", rename_all = "snake_case")]
pub enum VersionStatusWord {
    /// Stored and numbered; nothing starts on it
    Draft,
    /// Workflows may start on it
    Published,
    /// Nothing starts on it any more; what runs goes on
    Retired,
}

impl From<VersionStatus> for VersionStatusWord {
    fn from(status: VersionStatus) -> Self {
        match status {
            VersionStatus::Draft => Self::Draft,
            VersionStatus::Published => Self::Published,
            VersionStatus::Retired => Self::Retired,
        }
    }
}

/// One version of a definition. Its content never changes.
#[derive(Object)]
#[oai(rename = "Definition", rename_all = "camelCase")]
pub struct DefinitionDocument {
    pub name: String,
    pub version: u32,
    pub title: String,
    /// SHA-256 hex of the canonical JSON
    pub digest: String,
    pub status: VersionStatusWord,
    /// Who stored it; null for versions older than this record
    pub author: Option<String>,
    /// RFC 3339
    pub created_at: String,
    pub publisher: Option<String>,
    /// RFC 3339; null for a draft
    pub published_at: Option<String>,
    pub retired_by: Option<String>,
    /// RFC 3339
    pub retired_at: Option<String>,
    /// Whether new workflows get this version
    pub live: bool,
    /// The whole document; left out of lists
    #[oai(skip_serializing_if_is_none)]
    pub envelope: Option<Any<Value>>,
}

impl From<DefinitionView> for DefinitionDocument {
    fn from(view: DefinitionView) -> Self {
        Self {
            name: view.name,
            version: view.version,
            title: view.title,
            digest: view.digest,
            status: view.status.into(),
            author: view.author,
            created_at: view.created_at,
            publisher: view.publisher,
            published_at: view.published_at,
            retired_by: view.retired_by,
            retired_at: view.retired_at,
            live: view.live,
            envelope: view.envelope.map(Any),
        }
    }
}

/// One move of the alias `live`.
#[derive(Object)]
#[oai(rename = "LiveVersion", rename_all = "camelCase")]
pub struct LiveDocument {
    /// New workflows get it
    pub version: u32,
    /// Counts the moves of the alias, from 1; the `ETag` in quotes
    pub revision: u64,
    /// Null for moves older than this record
    pub moved_by: Option<String>,
    /// RFC 3339
    pub moved_at: String,
}

impl From<LiveView> for LiveDocument {
    fn from(view: LiveView) -> Self {
        Self {
            version: view.version,
            revision: view.revision,
            moved_by: view.moved_by,
            moved_at: view.moved_at,
        }
    }
}

/// A tenant's statement that it knows of a limit and accepts it.
#[derive(Object)]
#[oai(rename = "Acknowledgement", rename_all = "camelCase")]
pub struct AcknowledgementDocument {
    pub kind: String,
    pub statement: String,
    /// Who made it
    pub by: String,
    /// RFC 3339
    pub at: String,
}

impl From<Acknowledgement> for AcknowledgementDocument {
    fn from(it: Acknowledgement) -> Self {
        Self {
            kind: it.kind,
            statement: it.statement,
            by: it.by,
            at: it.at,
        }
    }
}
