//! Schedules as they are shown, and the words that rows have for their choices.

use serde_json::Value;

use btrust_platform::clock::rfc3339;
use btrust_schemas::schedules::{CatchUp, LastRun, Overlap, ScheduleSpec, ScheduleView};

use crate::calendar::Calendar;
use crate::store::schedules::ScheduleRecord;

/// Times to come that are shown.
const SHOWN_MAX: usize = 5;
/// How far ahead they are looked for, ms.
///
/// Source: five leap days.
const AHEAD_MS: i64 = 41 * 366 * 86_400_000;

pub fn view(record: &ScheduleRecord, input: Value, now_ms: i64) -> ScheduleView {
    let whole = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    ScheduleView {
        name: record.name.clone(),
        spec: ScheduleSpec {
            definition: record.definition.clone(),
            version: record.version.map(whole),
            input,
            cron: record.cron.clone(),
            time_zone: record.time_zone.clone(),
            overlap: overlap(record),
            catch_up: catch_up(record),
            jitter_seconds: whole(record.jitter_s),
        },
        paused: record.is_paused,
        next: next(record, now_ms),
        last: record.last_ms.map(|at_ms| LastRun {
            at: rfc3339(at_ms),
            workflow: record.last_workflow.filter(|_| record.last_error.is_none()),
            error: record.last_error.clone(),
        }),
        tag: tag(record),
        created_by: record.created_by.clone(),
        created_at: rfc3339(record.created_ms),
        changed_by: record.changed_by.clone(),
        changed_at: rfc3339(record.changed_ms),
    }
}

/// Changes with every change; one of an earlier schedule of the name is another.
pub fn tag(record: &ScheduleRecord) -> String {
    format!("{:x}-{}", record.created_ms, record.revision)
}

fn next(record: &ScheduleRecord, now_ms: i64) -> Vec<String> {
    if record.is_paused {
        return Vec::new();
    }
    let Ok(calendar) = Calendar::parse(&record.cron, &record.time_zone) else {
        return Vec::new();
    };
    let after_ms = record.done_until_ms.max(now_ms);
    let times = calendar.times(after_ms, after_ms.saturating_add(AHEAD_MS), SHOWN_MAX);
    times.into_iter().map(rfc3339).collect()
}

pub fn overlap(record: &ScheduleRecord) -> Overlap {
    match record.overlap.as_str() {
        "allow" => Overlap::Allow,
        "cancel" => Overlap::Cancel,
        _ => Overlap::Skip,
    }
}

pub fn overlap_text(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Skip => "skip",
        Overlap::Allow => "allow",
        Overlap::Cancel => "cancel",
    }
}

pub fn catch_up(record: &ScheduleRecord) -> CatchUp {
    match record.catch_up.as_str() {
        "none" => CatchUp::None,
        "all" => CatchUp::All,
        _ => CatchUp::Last,
    }
}

pub fn catch_up_text(catch_up: CatchUp) -> &'static str {
    match catch_up {
        CatchUp::None => "none",
        CatchUp::Last => "last",
        CatchUp::All => "all",
    }
}
