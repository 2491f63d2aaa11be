//! Why the engine did not do what was asked, as the choices of the caller.

use btrust_machine::{Finding, Refusal};
use btrust_platform::telemetry::causes;
use btrust_schemas::problem::Problem;
use serde_json::Value;

use crate::deletion::Kept;
use crate::retention::RETENTION_UNKNOWN;
use crate::schedules::ScheduleRefusal;
use crate::search::SEARCH_ATTRIBUTE_INVALID;
use crate::storage::is_full;
use crate::store::StoreError;

/// How long a caller should stay away when the engine has too much to do, s.
pub const RETRY_AFTER_S: u64 = 1;

/// The code of a turn, or a queue, that is not the caller's to touch.
pub const QUEUE_FORBIDDEN: &str = "queue_forbidden";
/// The code of an incident in which the state machine itself has failed.
pub const MACHINE_FAULT: &str = "machine_fault";

/// Codes of requests that are well formed and still cannot be.
const UNPROCESSABLE: [&str; 2] = [SEARCH_ATTRIBUTE_INVALID, RETENTION_UNKNOWN];

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// There is none, or it is another tenant's: the caller must not see the difference.
    #[error("there is no such workflow")]
    Unknown,
    #[error("there is no definition `{name}`{}", .version.map(|it| format!(" in version {it}")).unwrap_or_default())]
    DefinitionUnknown { name: String, version: Option<u32> },
    /// The version does not stand as the act needs it; nothing has changed.
    #[error(transparent)]
    Version(#[from] VersionRefusal),
    /// Nothing has been done to a schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleRefusal),
    /// The workflow cannot go on from where it stands on the other version.
    #[error("the workflow cannot move to the other version")]
    CannotMigrate { findings: Vec<Finding> },
    /// Something else has happened to the workflow between the judgement and the commit; nothing has changed.
    #[error("the workflow changes too often to be moved now")]
    Changed,
    #[error("the input does not fit the definition's inputSchema")]
    InputInvalid { findings: Vec<Value> },
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The state machine says no; nothing has changed.
    #[error("{0}")]
    Refused(Refusal),
    /// The workflow is stopped by a fault that an operator has to look at.
    #[error("the workflow is stopped by a fault: {code}")]
    Incident { code: String },
    /// Its keys are destroyed; only codes are left of it.
    #[error("the workflow's data has been erased")]
    Erased,
    /// The workflow is not deleted.
    #[error(transparent)]
    Kept(#[from] Kept),
    /// The request itself is wrong.
    #[error("{detail}")]
    Invalid { code: &'static str, detail: String },
    /// The turn belongs to a step that the worker does not serve.
    #[error("the turn is of a step that this worker does not serve")]
    QueueForbidden,
    /// Too much to do: nothing has changed, come back after `RETRY_AFTER_S`.
    #[error("the engine has too much to do")]
    Overloaded,
    /// This tenant asks for more than its share: nothing has changed, come back after `retry_after_s`.
    #[error("the tenant asks for too much at once")]
    TooManyRequests { retry_after_s: u64 },
    #[error("there is no such incident")]
    IncidentUnknown,
    /// It has been resolved, or has gone on by itself.
    #[error("the incident is closed")]
    IncidentClosed,
    #[error("the limits have changed since the caller looked")]
    LimitsChanged,
    /// The disk has no room: reading goes on, and nothing has changed.
    #[error("the disk of the engine is full: reading goes on, writing needs room")]
    StorageFull,
    /// Another node owns the workflow's partition, or will in a moment; nothing has changed.
    #[error("the workflow is with another node")]
    Elsewhere,
    /// Nothing has changed as far as anybody knows; the same call may succeed later.
    #[error("the engine cannot store anything now")]
    Unavailable,
}

/// Why nothing can be done with a version as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionRefusal {
    #[error("version {version} is a draft")]
    NotPublished { version: u32 },
    #[error("version {version} is retired")]
    Retired { version: u32 },
    #[error("version {version} is live: make another one live first")]
    Live { version: u32 },
    #[error("no version of the definition is live")]
    NoneLive,
    #[error("the alias has moved since the caller looked")]
    LiveMoved,
    #[error("somebody else than the author has to publish it")]
    SecondPerson,
}

impl VersionRefusal {
    fn code(self) -> &'static str {
        match self {
            Self::NotPublished { .. } => "version_not_published",
            Self::Retired { .. } => "version_retired",
            Self::Live { .. } => "version_live",
            Self::NoneLive => "definition_not_live",
            Self::LiveMoved => "live_moved",
            Self::SecondPerson => "second_person_required",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::NotPublished { .. } | Self::Retired { .. } | Self::Live { .. } => 409,
            Self::NoneLive => 404,
            Self::LiveMoved => 412,
            Self::SecondPerson => 403,
        }
    }
}

impl EngineError {
    /// Whether the same call may succeed later without anything else changing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Overloaded
                | Self::TooManyRequests { .. }
                | Self::StorageFull
                | Self::Unavailable
                | Self::Elsewhere
        )
    }

    /// How long the caller should stay away before it tries again, s.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::TooManyRequests { retry_after_s } => Some(*retry_after_s),
            _ => self.is_transient().then_some(RETRY_AFTER_S),
        }
    }

    /// The stable code, for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Unknown => "workflow_unknown",
            Self::DefinitionUnknown { .. } => "definition_unknown",
            Self::Version(refusal) => refusal.code(),
            Self::Schedule(refusal) => refusal.code(),
            Self::CannotMigrate { .. } => "cannot_migrate",
            Self::Changed => "workflow_changed",
            Self::InputInvalid { .. } => "input_invalid",
            Self::KeyReused => "idempotency_key_reused",
            Self::Refused(refusal) => refusal.code(),
            Self::Incident { .. } => "workflow_incident",
            Self::Erased => "workflow_erased",
            Self::Kept(kept) => kept.code(),
            Self::Invalid { code, .. } => code,
            Self::QueueForbidden => QUEUE_FORBIDDEN,
            Self::Overloaded => "overloaded",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::IncidentUnknown => "incident_unknown",
            Self::IncidentClosed => "incident_closed",
            Self::LimitsChanged => "task_limits_changed",
            Self::StorageFull => "storage_full",
            Self::Unavailable | Self::Elsewhere => "unavailable",
        }
    }

    /// The HTTP status that says the same.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Unknown | Self::DefinitionUnknown { .. } => 404,
            Self::Version(refusal) => refusal.status(),
            Self::Schedule(refusal) => refusal.status(),
            Self::CannotMigrate { .. } | Self::InputInvalid { .. } => 422,
            Self::Changed | Self::KeyReused => 409,
            Self::Refused(refusal) => match refusal {
                Refusal::WorkflowUnknown
                | Refusal::PromptUnknown { .. }
                | Refusal::TokenUnknown => 404,
                Refusal::SignalNameInvalid => 400,
                Refusal::AudienceMismatch { .. } => 403,
                Refusal::PayloadTooLarge { .. } | Refusal::PayloadTooDeep => 413,
                _ => 409,
            },
            Self::Incident { .. } => 409,
            Self::Erased => 410,
            Self::Kept(_) => 409,
            Self::Invalid { code, .. } if UNPROCESSABLE.contains(code) => 422,
            Self::Invalid { .. } => 400,
            Self::QueueForbidden => 403,
            Self::IncidentUnknown => 404,
            Self::IncidentClosed => 409,
            Self::LimitsChanged => 412,
            Self::TooManyRequests { .. } => 429,
            Self::Overloaded | Self::StorageFull | Self::Unavailable | Self::Elsewhere => 503,
        }
    }

    /// The error as a body.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(self.status(), self.code(), self.to_string());
        match self {
            Self::InputInvalid { findings } => problem.with_errors(findings.clone()),
            _ => problem,
        }
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            causes = causes(&error),
            "the store did not answer"
        );
        if is_full(&error) {
            return Self::StorageFull;
        }
        Self::Unavailable
    }
}
