//! Schedules: workflows that start by the clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::WorkflowView;
use crate::ids::WorkflowId;

/// What happens when the workflow before still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Overlap {
    /// Nothing starts.
    #[default]
    Skip,
    /// Both run.
    Allow,
    /// The one before is cancelled.
    Cancel,
}

/// What happens to times at which nothing could be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CatchUp {
    /// They are left out.
    None,
    /// The latest of them is made up for.
    #[default]
    Last,
    /// All of them are, up to [`CATCH_UP_MAX`].
    All,
}

/// Most times that a schedule makes up for; the latest ones.
///
/// Source: about four days of an hourly schedule; more would be a flood, not a catching-up.
pub const CATCH_UP_MAX: usize = 100;
/// Longest jitter of a schedule, in seconds.
pub const JITTER_SECONDS_MAX: u32 = 3_600;
/// Schedules of one tenant.
pub const SCHEDULES_MAX: usize = 1_000;

/// What a schedule starts, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    pub definition: String,
    /// The version that is live at the time when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    pub input: Value,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// Name of the time zone, such as `Asia/Jerusalem`.
    pub time_zone: String,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Every time is put off by a part of so many seconds, always the same part for one schedule.
    #[serde(default)]
    pub jitter_seconds: u32,
}

/// Creates a schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewScheduleRequest {
    pub tenant: String,
    pub spec: ScheduleSpec,
    pub actor: String,
}

/// Replaces what a schedule starts and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleRequest {
    pub tenant: String,
    pub spec: ScheduleSpec,
    /// The tag that the caller has seen; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    pub actor: String,
}

/// Pauses, resumes or deletes a schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleAct {
    pub tenant: String,
    /// The tag that the caller has seen; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    pub actor: String,
}

/// Starts what a schedule starts, now; once for each key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TriggerRequest {
    pub tenant: String,
    pub idempotency_key: String,
    pub actor: String,
}

/// What a trigger has started, now or before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Triggered {
    pub workflow: WorkflowView,
}

/// The latest time of a schedule that came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The time that the schedule named, RFC 3339.
    pub at: String,
    /// What was started; absent where nothing was.
    pub workflow: Option<WorkflowId>,
    /// Why nothing was started: `skipped`, or the code of an error.
    pub error: Option<String>,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleView {
    pub name: String,
    #[serde(flatten)]
    pub spec: ScheduleSpec,
    pub paused: bool,
    /// The times to come, RFC 3339; none while it is paused.
    pub next: Vec<String>,
    pub last: Option<LastRun>,
    /// Changes with every change of the schedule; opaque.
    pub tag: String,
    pub created_by: String,
    /// RFC 3339.
    pub created_at: String,
    pub changed_by: String,
    /// RFC 3339.
    pub changed_at: String,
}

/// A page of schedules in the order of their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePage {
    pub schedules: Vec<ScheduleView>,
    /// Send back as `after` for the next page.
    pub next: Option<String>,
}
