//! How a commit changes the number of workflows: one pure function from what was to what is.
//!
//! Three families of counters, by *basis*:
//! - [`Basis::Started`]: every workflow under the day of its start and under day [`ALL_DAYS`], as it
//!   stands now. "Of those started on Monday, how many are approved, how many still run?"
//! - [`Basis::Closed`]: every closed workflow under the day of its end. "What was decided on Monday?"
//! - [`Basis::Deleted`]: what has been deleted, all days.
//!
//! Days are statistics and outlive the workflows: a deletion takes a workflow out of [`ALL_DAYS`], which
//! says what is stored now, and counts it as deleted; the days keep it. So always, for every cell:
//! sum over days of `Started` = `Started` of all days + `Deleted`.

use std::collections::BTreeMap;

use super::{WorkflowColumns, Write};

/// A day in milliseconds; days are those of UTC.
pub const DAY_MS: i64 = 86_400_000;
/// The day under which all days are counted together.
pub const ALL_DAYS: i64 = -1;

/// What a counter counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    Started,
    Closed,
    Deleted,
}

impl Basis {
    /// The text of the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "S",
            Self::Closed => "C",
            Self::Deleted => "D",
        }
    }
}

/// The row of a counter, but for its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell<'c> {
    pub tenant: &'c str,
    pub basis: Basis,
    /// Days since the epoch, UTC, or [`ALL_DAYS`].
    pub day: i64,
    pub definition: &'c str,
    pub version: i64,
    pub status: &'c str,
    /// Empty where there is none.
    pub decision: &'c str,
}

/// What a batch adds to each counter, in the order of their keys; nothing is in it that stays as it was.
pub type Deltas<'c> = BTreeMap<Cell<'c>, i64>;

/// What these writes add to the counters, summed up.
#[must_use]
pub fn deltas<'c>(writes: impl IntoIterator<Item = &'c Write>) -> Deltas<'c> {
    let mut deltas = Deltas::new();
    for write in writes {
        let before = write.before.as_ref();
        match (&write.columns, write.deletion.is_some()) {
            (_, true) => add_change(&mut deltas, before, None),
            (Some(now), false) => add_change(&mut deltas, before, Some(now)),
            (None, false) => {}
        }
    }
    deltas.retain(|_, it| *it != 0);
    deltas
}

/// Adds what one workflow's change from `before` to `now` changes: `None` is a workflow that is not
/// there, so a start has no `before` and a deletion no `now`.
fn add_change<'c>(
    deltas: &mut Deltas<'c>,
    before: Option<&'c WorkflowColumns>,
    now: Option<&'c WorkflowColumns>,
) {
    for (columns, sign) in [(before, -1), (now, 1)] {
        let Some(columns) = columns else { continue };
        add(deltas, columns, Basis::Started, ALL_DAYS, sign);
        // The days of what is deleted stay as they are.
        if now.is_some() {
            add(
                deltas,
                columns,
                Basis::Started,
                day(columns.started_ms),
                sign,
            );
            if let Some(closed_ms) = columns.closed_ms {
                add(deltas, columns, Basis::Closed, day(closed_ms), sign);
            }
        }
    }
    if let (Some(deleted), None) = (before, now) {
        add(deltas, deleted, Basis::Deleted, ALL_DAYS, 1);
    }
}

fn add<'c>(
    deltas: &mut Deltas<'c>,
    columns: &'c WorkflowColumns,
    basis: Basis,
    day: i64,
    sign: i64,
) {
    let cell = Cell {
        tenant: &columns.tenant,
        basis,
        day,
        definition: &columns.definition,
        version: columns.version,
        status: &columns.status,
        decision: columns.decision.as_deref().unwrap_or_default(),
    };
    *deltas.entry(cell).or_default() += sign;
}

/// The day of a time, in days since the epoch.
#[must_use]
pub fn day(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(status: &str, decision: Option<&str>, closed_day: Option<i64>) -> WorkflowColumns {
        WorkflowColumns {
            tenant: "acme".to_owned(),
            definition: "flow".to_owned(),
            version: 1,
            status: status.to_owned(),
            decision: decision.map(str::to_owned),
            started_ms: 7 * DAY_MS + 1,
            closed_ms: closed_day.map(|it| it * DAY_MS),
            ..WorkflowColumns::default()
        }
    }

    fn shown(
        before: Option<&WorkflowColumns>,
        now: Option<&WorkflowColumns>,
    ) -> Vec<(&'static str, i64, String, i64)> {
        let mut deltas = Deltas::new();
        add_change(&mut deltas, before, now);
        deltas.retain(|_, it| *it != 0);
        let row = |(cell, n): (Cell<'_>, i64)| {
            let stands = format!("{} {}{}", cell.version, cell.status, cell.decision);
            (cell.basis.as_str(), cell.day, stands, n)
        };
        deltas.into_iter().map(row).collect()
    }

    #[test]
    fn every_change_moves_a_workflow_from_where_it_was_counted_to_where_it_is() {
        let running = columns("running", None, None);
        let approved = columns("succeeded", Some("approved"), Some(8));
        let running_s = || "1 running".to_owned();
        let approved_s = || "1 succeededapproved".to_owned();
        assert_eq!(
            shown(None, Some(&running)),
            [("S", -1, running_s(), 1), ("S", 7, running_s(), 1)]
        );
        assert_eq!(
            shown(Some(&running), Some(&approved)),
            [
                ("S", -1, running_s(), -1),
                ("S", -1, approved_s(), 1),
                ("S", 7, running_s(), -1),
                ("S", 7, approved_s(), 1),
                ("C", 8, approved_s(), 1),
            ]
        );
        // A redrive: it is not closed on that day any more.
        let redriven = shown(Some(&approved), Some(&running));
        assert_eq!(redriven.last(), Some(&("C", 8, approved_s(), -1)));
        assert_eq!(redriven.iter().map(|it| it.3).sum::<i64>(), -1);
        // A migration.
        let moved = WorkflowColumns {
            version: 2,
            ..running.clone()
        };
        assert_eq!(shown(Some(&running), Some(&moved)).len(), 4);
        // A deletion leaves the days alone.
        assert_eq!(
            shown(Some(&approved), None),
            [("S", -1, approved_s(), -1), ("D", -1, approved_s(), 1)]
        );
        assert_eq!(shown(Some(&approved), Some(&approved)), []);
    }

    #[test]
    fn a_day_begins_at_midnight_utc_before_the_epoch_too() {
        assert_eq!(
            (day(0), day(DAY_MS - 1), day(DAY_MS), day(-1)),
            (0, 0, 1, -1)
        );
    }
}
