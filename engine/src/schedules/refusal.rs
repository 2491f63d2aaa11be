//! Why nothing was done to a schedule.

use btrust_schemas::schedules::{JITTER_SECONDS_MAX, SCHEDULES_MAX};

use super::NAME_BYTES_MAX;
use crate::calendar::CalendarError;

/// Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleRefusal {
    #[error("there is no such schedule")]
    Unknown,
    #[error("there is a schedule of this name")]
    Exists,
    #[error("the schedule has changed since the caller looked")]
    Changed,
    #[error("a tenant has at most {SCHEDULES_MAX} schedules")]
    TooMany,
    #[error(
        "a schedule's name has 1 to {NAME_BYTES_MAX} letters, digits, hyphens, dots and underscores of ASCII"
    )]
    Name,
    #[error("`jitterSeconds` is at most {JITTER_SECONDS_MAX}")]
    Jitter,
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    #[error("nothing can be started: {error}: {cause}")]
    NotStarted { error: String, cause: String },
}

impl ScheduleRefusal {
    /// The stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "schedule_unknown",
            Self::Exists => "schedule_exists",
            Self::Changed => "schedule_changed",
            Self::TooMany => "schedules_too_many",
            Self::Name => "schedule_name_invalid",
            Self::Jitter => "jitter_invalid",
            Self::Calendar(CalendarError::Cron) => "cron_invalid",
            Self::Calendar(CalendarError::TimeZone) => "time_zone_invalid",
            Self::Calendar(CalendarError::Never) => "cron_never",
            Self::NotStarted { .. } => "schedule_not_started",
        }
    }

    /// The HTTP status that says the same.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unknown => 404,
            Self::Exists | Self::TooMany | Self::NotStarted { .. } => 409,
            Self::Changed => 412,
            Self::Name | Self::Jitter | Self::Calendar(_) => 422,
        }
    }
}
