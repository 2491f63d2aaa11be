//! Forgets the marks of subjects of which nothing has come for years.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::config::{ConfigError, Settings};
use crate::http::Shutdown;
use crate::relational::{Relational, RelationalError, Value, places};

/// How long a mark is kept that does not move, in days, unless `CONSUMERS_MARK_DAYS` says otherwise.
///
/// Source: whatever comes again comes within days; two years leave room for a stream that is read anew.
const MARK_DAYS: i64 = 730;
/// The fewest and most days that may be said.
///
/// Source: Kinesis keeps records for at most 365 days, and none of those may count as news when it comes again.
const MARK_DAYS_MIN: i64 = 366;
const MARK_DAYS_MAX: i64 = 36_500;
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// Marks looked at together, and how often.
///
/// Source: 100 a second, so that 10 million are gone through in a bit more than a day and nobody notices.
const PAGE: i64 = 1_000;
const PAGE_EVERY: Duration = Duration::from_secs(10);

/// How long marks are kept that do not move, ms: `CONSUMERS_MARK_DAYS`.
///
/// # Errors
///
/// [`ConfigError`] for anything but a whole number of days from 366 to 36,500.
pub fn mark_lifetime_ms(settings: &Settings) -> Result<i64, ConfigError> {
    let (name, expected) = (
        "CONSUMERS_MARK_DAYS",
        "a whole number of days from 366 to 36500",
    );
    let days: i64 = settings.parsed(name, expected, MARK_DAYS)?;
    if !(MARK_DAYS_MIN..=MARK_DAYS_MAX).contains(&days) {
        let (name, expected) = (name.to_owned(), expected.to_owned());
        return Err(ConfigError::Invalid { name, expected });
    }
    Ok(days * DAY_MS)
}

/// Goes through the marks of all consumers again and again, until `shutdown`.
pub async fn forget_for_ever(
    database: Relational,
    clock: SharedClock,
    lifetime_ms: i64,
    shutdown: Shutdown,
) {
    let mut after = None;
    while !shutdown.is_triggered() {
        let before_ms = clock.now_ms() - lifetime_ms;
        match forget(&database, after.take(), before_ms).await {
            Ok(last) => after = last,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "old marks cannot be forgotten");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAGE_EVERY) => {}
            () = shutdown.wait() => {}
        }
    }
}

/// The consumer and subject of a mark.
pub type MarkKey = (String, String);

/// Forgets those of the next thousand marks after `after` that have not moved since `before_ms`; where to go
/// on, `None` at the end.
///
/// # Errors
///
/// [`RelationalError`].
pub async fn forget(
    database: &Relational,
    after: Option<MarkKey>,
    before_ms: i64,
) -> Result<Option<MarkKey>, RelationalError> {
    let (consumer, subject) = after.unwrap_or_default();
    // Spelled out, because MySQL finds no index for a comparison of rows.
    let sql = "SELECT consumer, subject, marked_ms FROM consumer_mark \
               WHERE consumer > ? OR (consumer = ? AND subject > ?) ORDER BY consumer, subject LIMIT ?";
    let consumer = consumer.as_str();
    let values = [
        consumer.into(),
        consumer.into(),
        subject.as_str().into(),
        PAGE.into(),
    ];
    let rows = database.fetch(sql, &values).await?;
    let mut keys: Vec<MarkKey> = Vec::with_capacity(rows.len());
    let mut old = Vec::new();
    for row in &rows {
        if row.int(2)? < before_ms {
            old.push(keys.len());
        }
        keys.push((row.text(0)?, row.text(1)?));
    }
    if !old.is_empty() {
        // Whatever has moved meanwhile stays.
        let sql = format!(
            "DELETE FROM consumer_mark WHERE marked_ms < ? AND (consumer, subject) IN ({})",
            places(old.len(), 2)
        );
        let mut values: Vec<Value<'_>> = vec![before_ms.into()];
        for index in old {
            let (consumer, subject) = &keys[index];
            values.extend_from_slice(&[consumer.into(), subject.into()]);
        }
        database.execute(&sql, &values).await?;
    }
    let is_end = i64::try_from(rows.len()).is_ok_and(|it| it < PAGE);
    Ok(keys.pop().filter(|_| !is_end))
}
