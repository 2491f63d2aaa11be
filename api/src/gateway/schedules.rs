//! What the endpoints of schedules have in common: their documents.

use poem_openapi::{Enum, Object, types::Any};
use serde_json::Value;

use btrust_schemas::schedules::{CatchUp, LastRun, Overlap, ScheduleSpec, ScheduleView};

use crate::refusal::{self, Refused};

/// What happens when the workflow before still runs.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[oai(rename = "Overlap", rename_all = "lowercase")]
pub enum OverlapWord {
    /// Nothing starts.
    #[default]
    Skip,
    /// Both run.
    Allow,
    /// The one before is cancelled.
    Cancel,
}

/// What happens to times at which nothing could be started.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[oai(rename = "CatchUp", rename_all = "lowercase")]
pub enum CatchUpWord {
    /// They are left out.
    None,
    /// The latest of them is made up for.
    #[default]
    Last,
    /// All of them are, up to 100.
    All,
}

/// What a schedule starts, and when.
#[derive(Object)]
#[oai(rename = "ScheduleSpec", rename_all = "camelCase", deny_unknown_fields)]
pub struct SpecDocument {
    /// Name of a published definition
    #[oai(validator(min_length = 1, max_length = 128))]
    pub definition: String,
    /// The version that is live at the time when absent
    pub version: Option<u32>,
    /// Checked against the definition's `inputSchema`
    pub input: Any<Value>,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    /// A time that the clock leaves out is made up for at the first moment after
    /// it when hour and minute are both written out, else not; a time that comes
    /// twice counts once when they are, else twice.
    #[oai(validator(min_length = 9, max_length = 128))]
    pub cron: String,
    /// Name in the tz database, such as `Asia/Jerusalem`
    #[oai(validator(min_length = 1, max_length = 64))]
    pub time_zone: String,
    #[oai(default)]
    pub overlap: OverlapWord,
    #[oai(default)]
    pub catch_up: CatchUpWord,
    /// Every time is put off by a part of so many seconds, always the same part for one schedule
    #[oai(default, validator(maximum(value = "3600")))]
    pub jitter_seconds: u32,
}

/// The latest time of a schedule that came.
#[derive(Object)]
#[oai(rename = "LastRun")]
pub struct LastRunDocument {
    /// The time that the schedule named, RFC 3339
    pub at: String,
    /// What was started; absent where nothing was
    pub workflow: Option<String>,
    /// Why nothing was started: `skipped`, `missed`, or the name of an error
    pub error: Option<String>,
}

/// A schedule as it stands.
#[derive(Object)]
#[oai(rename = "Schedule", rename_all = "camelCase")]
pub struct ScheduleDocument {
    pub name: String,
    pub definition: String,
    pub version: Option<u32>,
    pub input: Any<Value>,
    pub cron: String,
    pub time_zone: String,
    pub overlap: OverlapWord,
    pub catch_up: CatchUpWord,
    pub jitter_seconds: u32,
    pub paused: bool,
    /// The times to come, RFC 3339; none while it is paused
    pub next: Vec<String>,
    pub last: Option<LastRunDocument>,
    pub created_by: String,
    /// RFC 3339
    pub created_at: String,
    pub changed_by: String,
    /// RFC 3339
    pub changed_at: String,
}

/// The entity tag of a schedule.
pub fn etag(view: &ScheduleView) -> String {
    format!("\"{}\"", view.tag)
}

/// The tag in `If-Match`; none when absent or `*`.
pub fn if_match<R>(header: Option<&str>) -> Result<Option<String>, Refused<R>> {
    match header.map(str::trim) {
        None | Some("*") => Ok(None),
        Some(etag) => {
            let tag = etag
                .strip_prefix('"')
                .and_then(|it| it.strip_suffix('"'))
                .filter(|it| !it.contains('"'));
            let malformed = "`If-Match` is one `ETag` of this resource";
            tag.map(|it| Some(it.to_owned()))
                .ok_or_else(|| refusal::MALFORMED_REQUEST.detail(malformed))
        }
    }
}

impl From<ScheduleView> for ScheduleDocument {
    fn from(view: ScheduleView) -> Self {
        let spec = view.spec;
        Self {
            name: view.name,
            definition: spec.definition,
            version: spec.version,
            input: Any(spec.input),
            cron: spec.cron,
            time_zone: spec.time_zone,
            overlap: spec.overlap.into(),
            catch_up: spec.catch_up.into(),
            jitter_seconds: spec.jitter_seconds,
            paused: view.paused,
            next: view.next,
            last: view.last.map(Into::into),
            created_by: view.created_by,
            created_at: view.created_at,
            changed_by: view.changed_by,
            changed_at: view.changed_at,
        }
    }
}

impl From<LastRun> for LastRunDocument {
    fn from(last: LastRun) -> Self {
        Self {
            at: last.at,
            workflow: last.workflow.map(|it| it.to_string()),
            error: last.error,
        }
    }
}

impl From<Overlap> for OverlapWord {
    fn from(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Skip => Self::Skip,
            Overlap::Allow => Self::Allow,
            Overlap::Cancel => Self::Cancel,
        }
    }
}

impl From<OverlapWord> for Overlap {
    fn from(overlap: OverlapWord) -> Self {
        match overlap {
            OverlapWord::Skip => Self::Skip,
            OverlapWord::Allow => Self::Allow,
            OverlapWord::Cancel => Self::Cancel,
        }
    }
}

impl From<CatchUp> for CatchUpWord {
    fn from(catch_up: CatchUp) -> Self {
        match catch_up {
            CatchUp::None => Self::None,
            CatchUp::Last => Self::Last,
            CatchUp::All => Self::All,
        }
    }
}

impl From<CatchUpWord> for CatchUp {
    fn from(catch_up: CatchUpWord) -> Self {
        match catch_up {
            CatchUpWord::None => Self::None,
            CatchUpWord::Last => Self::Last,
            CatchUpWord::All => Self::All,
        }
    }
}

impl From<SpecDocument> for ScheduleSpec {
    fn from(spec: SpecDocument) -> Self {
        Self {
            definition: spec.definition,
            version: spec.version,
            input: spec.input.0,
            cron: spec.cron,
            time_zone: spec.time_zone,
            overlap: spec.overlap.into(),
            catch_up: spec.catch_up.into(),
            jitter_seconds: spec.jitter_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_is_taken_apart_or_refused() {
        let tag = |header| if_match::<refusal::NoOthers>(header).ok();
        assert_eq!(tag(None), Some(None));
        assert_eq!(tag(Some(" * ")), Some(None));
        assert_eq!(tag(Some("\"1a-2\"")), Some(Some("1a-2".to_owned())));
        assert_eq!(tag(Some("1a-2")), None);
        assert_eq!(tag(Some("\"1\", \"2\"")), None);
    }
}
