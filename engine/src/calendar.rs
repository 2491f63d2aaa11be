//! When a schedule's time comes: five fields of cron in a time zone.
//!
//! The fields are matched against the clock on the wall. Where a clock is put forward or back:
//!
//! - A time that does not exist is made up for at the first moment after the gap, when hour and minute
//!   are both written out (`30 2 * * *`); with `*`, `/` or a range in one of them the clock just goes on.
//! - A time that exists twice counts once, the first time, when both are written out; otherwise twice.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// Longest text of a cron expression, in bytes.
pub const CRON_BYTES_MAX: usize = 128;
/// How far a wall clock is put forward or back at most, in hours, when times are put in order.
///
/// Source: the tz database; what is larger is a change of the date line, of which none is foreseen.
const SHIFT_HOURS_MAX: i64 = 3;
/// Longest gap of a wall clock, in minutes. Source: Samoa left out a day in 2011.
const GAP_MINUTES_MAX: i64 = 25 * 60;
/// Matches that are looked at before a search is given up: a minute each for more than a month.
const MATCHES_MAX: usize = 50_000;
/// How far ahead a time has to be, in days, for the expression to count as one that has any.
///
/// Source: 29 February comes every eight years at the latest.
const AHEAD_DAYS_MAX: i64 = 9 * 366;

/// When a schedule fires.
pub struct Calendar {
    cron: Cron,
    zone: Tz,
    /// Whether hour and minute are both written out.
    is_fixed: bool,
}

/// Why there is no such calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    #[error(
        "`cron` has five fields: minute, hour, day of the month, month, day of the week; at most {CRON_BYTES_MAX} bytes"
    )]
    Cron,
    #[error("`timeZone` is a name of the tz database, such as `Asia/Jerusalem`")]
    TimeZone,
    #[error("the times of `cron` never come")]
    Never,
}

impl Calendar {
    /// Reads an expression and the name of a time zone.
    ///
    /// # Errors
    ///
    /// [`CalendarError::Cron`] and [`CalendarError::TimeZone`].
    pub fn parse(cron: &str, time_zone: &str) -> Result<Self, CalendarError> {
        let zone: Tz = time_zone.parse().map_err(|_| CalendarError::TimeZone)?;
        let fields: Vec<&str> = cron.split_whitespace().collect();
        if fields.len() != 5 || CRON_BYTES_MAX < cron.len() {
            return Err(CalendarError::Cron);
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let parsed = parser.parse(&fields.join(" "));
        let is_written_out = |it: &&str| it.bytes().all(|it| it.is_ascii_digit() || it == b',');
        Ok(Self {
            cron: parsed.map_err(|_| CalendarError::Cron)?,
            zone,
            is_fixed: fields[..2].iter().all(is_written_out),
        })
    }

    /// Up to `limit` times after `after_ms`, and not after `until_ms`.
    pub fn times(&self, after_ms: i64, until_ms: i64, limit: usize) -> Vec<i64> {
        let mut times = Vec::new();
        let Some(after) = self.wall(after_ms) else {
            return times;
        };
        let shift = Duration::hours(SHIFT_HOURS_MAX);
        // What is found but might still be preceded by what follows on the wall.
        let mut waiting: BTreeSet<(DateTime<Utc>, NaiveDateTime)> = BTreeSet::new();
        let mut wall = after - shift;
        for _ in 0..MATCHES_MAX {
            let Ok(next) = self.cron.find_next_occurrence(&wall.and_utc(), false) else {
                break;
            };
            wall = next.naive_utc();
            while let Some((at, of)) = waiting.first().copied()
                && of + shift < wall
            {
                waiting.pop_first();
                push(&mut times, at.timestamp_millis());
                if times.len() == limit {
                    return times;
                }
            }
            for at in self.moments(wall) {
                let at_ms = at.timestamp_millis();
                if after_ms < at_ms && at_ms <= until_ms {
                    waiting.insert((at, wall));
                }
            }
            if self.wall(until_ms).is_some_and(|it| it + shift < wall) {
                break;
            }
        }
        for (at, _) in waiting {
            if times.len() < limit {
                push(&mut times, at.timestamp_millis());
            }
        }
        times
    }

    /// The next time after `after_ms`.
    ///
    /// # Errors
    ///
    /// [`CalendarError::Never`] when none comes within [`AHEAD_DAYS_MAX`].
    pub fn next(&self, after_ms: i64) -> Result<i64, CalendarError> {
        let until_ms = after_ms.saturating_add(AHEAD_DAYS_MAX * 86_400_000);
        let times = self.times(after_ms, until_ms, 1);
        times.first().copied().ok_or(CalendarError::Never)
    }

    /// The latest `limit` times after `after_ms` and not after `until_ms`, in their order.
    pub fn latest(&self, after_ms: i64, until_ms: i64, limit: usize) -> Vec<i64> {
        /// The first look back; the later ones are longer by [`FACTOR`].
        const LOOK_MS: i64 = 3_600_000;
        const FACTOR: i64 = 24;
        let mut look_ms = LOOK_MS;
        loop {
            let from_ms = after_ms.max(until_ms.saturating_sub(look_ms));
            let mut times = self.times(from_ms, until_ms, MATCHES_MAX);
            if from_ms == after_ms || limit <= times.len() {
                let n_left_out = times.len().saturating_sub(limit);
                return times.split_off(n_left_out);
            }
            look_ms = look_ms.saturating_mul(FACTOR);
        }
    }

    /// What the clock on the wall shows.
    fn wall(&self, at_ms: i64) -> Option<NaiveDateTime> {
        let at = DateTime::<Utc>::from_timestamp_millis(at_ms)?;
        Some(at.with_timezone(&self.zone).naive_local())
    }

    /// The moments at which the clock on the wall shows `wall`, or that stand for it.
    fn moments(&self, wall: NaiveDateTime) -> Vec<DateTime<Utc>> {
        match self.zone.from_local_datetime(&wall) {
            LocalResult::Single(at) => vec![at.to_utc()],
            LocalResult::Ambiguous(first, _) if self.is_fixed => vec![first.to_utc()],
            LocalResult::Ambiguous(first, second) => vec![first.to_utc(), second.to_utc()],
            LocalResult::None if self.is_fixed => self.after_gap(wall).into_iter().collect(),
            LocalResult::None => Vec::new(),
        }
    }

    /// The first moment after the gap that `wall` falls into.
    fn after_gap(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        let mut minutes = 1..=GAP_MINUTES_MAX;
        minutes.find_map(|it| {
            let later = wall + Duration::minutes(it);
            let at = self.zone.from_local_datetime(&later).earliest()?;
            Some(at.to_utc())
        })
    }
}

/// Adds a time that is later than all before; two on the wall may stand for one moment.
fn push(times: &mut Vec<i64>, at_ms: i64) {
    if times.last().is_none_or(|it| *it < at_ms) {
        times.push(at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text)
            .unwrap()
            .timestamp_millis()
    }

    #[track_caller]
    fn check(cron: &str, zone: &str, after: &str, expected: &[&str]) {
        let calendar = Calendar::parse(cron, zone).unwrap();
        let zone: Tz = zone.parse().unwrap();
        let times = calendar.times(ms(after), i64::MAX / 4, expected.len());
        let shown: Vec<String> = times
            .iter()
            .map(|it| DateTime::from_timestamp_millis(*it).unwrap())
            .map(|it| it.with_timezone(&zone).to_rfc3339())
            .collect();
        assert_eq!(shown, expected, "{cron}");
        // One at a time, from each time to the next, it is the same.
        let mut at_ms = ms(after);
        for expected in &times {
            at_ms = calendar.next(at_ms).unwrap();
            assert_eq!(at_ms, *expected, "{cron}");
        }
    }

    const ZONE: &str = "Asia/Jerusalem";

    #[test]
    fn times_come_by_the_clock_on_the_wall() {
        check(
            "0 9 * * 0",
            ZONE,
            "2026-01-01T00:00:00+02:00",
            &["2026-01-04T09:00:00+02:00", "2026-01-11T09:00:00+02:00"],
        );
        check(
            "*/20 * * * *",
            "UTC",
            "2026-01-01T00:20:00Z",
            &["2026-01-01T00:40:00+00:00", "2026-01-01T01:00:00+00:00"],
        );
        // Nine in the morning stays nine in the morning.
        check(
            "0 9 * * *",
            ZONE,
            "2026-03-26T10:00:00+02:00",
            &["2026-03-27T09:00:00+03:00", "2026-03-28T09:00:00+03:00"],
        );
    }

    /// In Jerusalem, 2026-03-27 02:00 is 03:00.
    #[test]
    fn a_time_that_does_not_exist_is_made_up_for_or_left_out() {
        check(
            "30 2 * * *",
            ZONE,
            "2026-03-26T02:30:00+02:00",
            &["2026-03-27T03:00:00+03:00", "2026-03-28T02:30:00+03:00"],
        );
        check(
            "*/30 2 * * *",
            ZONE,
            "2026-03-26T02:30:00+02:00",
            &["2026-03-28T02:00:00+03:00", "2026-03-28T02:30:00+03:00"],
        );
        // Both stand for the same moment, which comes once.
        check(
            "0,30 2 * * *",
            ZONE,
            "2026-03-26T12:00:00+02:00",
            &["2026-03-27T03:00:00+03:00", "2026-03-28T02:00:00+03:00"],
        );
        check(
            "0 2,3 * * *",
            ZONE,
            "2026-03-26T12:00:00+02:00",
            &["2026-03-27T03:00:00+03:00", "2026-03-28T02:00:00+03:00"],
        );
        check(
            "0 * * * *",
            ZONE,
            "2026-03-27T00:30:00+02:00",
            &["2026-03-27T01:00:00+02:00", "2026-03-27T03:00:00+03:00"],
        );
    }

    /// In Jerusalem, 2026-10-25 02:00 is 01:00 again.
    #[test]
    fn a_time_that_exists_twice_counts_once_or_twice() {
        check(
            "30 1 * * *",
            ZONE,
            "2026-10-24T12:00:00+03:00",
            &["2026-10-25T01:30:00+03:00", "2026-10-26T01:30:00+02:00"],
        );
        check(
            "*/30 1 * * *",
            ZONE,
            "2026-10-24T12:00:00+03:00",
            &[
                "2026-10-25T01:00:00+03:00",
                "2026-10-25T01:30:00+03:00",
                "2026-10-25T01:00:00+02:00",
                "2026-10-25T01:30:00+02:00",
                "2026-10-26T01:00:00+02:00",
            ],
        );
        // Time never goes back, wherever one begins to look.
        check(
            "*/30 * * * *",
            ZONE,
            "2026-10-25T01:10:00+02:00",
            &["2026-10-25T01:30:00+02:00", "2026-10-25T02:00:00+02:00"],
        );
    }

    #[test]
    fn the_latest_times_are_found_however_long_ago() {
        let calendar = Calendar::parse("* * * * *", "UTC").unwrap();
        let now_ms = ms("2026-06-01T00:00:00Z");
        let latest = calendar.latest(ms("2020-01-01T00:00:00Z"), now_ms, 3);
        assert_eq!(latest, [now_ms - 120_000, now_ms - 60_000, now_ms]);
        let yearly = Calendar::parse("0 0 1 1 *", "UTC").unwrap();
        let latest = yearly.latest(ms("2020-06-01T00:00:00Z"), now_ms, 100);
        assert_eq!(latest.len(), 6);
        assert_eq!(latest.last(), Some(&ms("2026-01-01T00:00:00Z")));
        assert!(calendar.latest(now_ms, now_ms, 3).is_empty());
    }

    #[test]
    fn what_is_no_calendar_is_refused() {
        for cron in [
            "",
            "* * * *",
            "* * * * * *",
            "@daily",
            "61 * * * *",
            "a b c d e",
        ] {
            assert_eq!(
                Calendar::parse(cron, "UTC").err(),
                Some(CalendarError::Cron),
                "{cron}"
            );
        }
        assert_eq!(
            Calendar::parse("* * * * *", "Atlantis").err(),
            Some(CalendarError::TimeZone)
        );
        let leap = Calendar::parse("0 0 29 2 *", "UTC").unwrap();
        assert_eq!(
            leap.next(ms("2096-03-01T00:00:00Z")),
            Ok(ms("2104-02-29T00:00:00Z"))
        );
        let never = Calendar::parse("0 0 31 2 *", "UTC").unwrap();
        assert_eq!(never.next(0), Err(CalendarError::Never));
    }
}
