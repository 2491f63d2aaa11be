//! The one transaction of a commit, on MySQL.

use sqlx::mysql::MySqlDatabaseError;
use sqlx::{Connection as _, MySql, MySqlConnection, QueryBuilder, Transaction};
use tokio::time::{Instant, timeout_at};

use btrust_platform::mysql::{CALL_MAX, Server, timed_out};

use crate::act_log::ACT_REMEMBERED_MS;
use crate::parcel::owed_key_hash;

use super::act_text::{FORGET_ACTS_MYSQL, INSERT_ACT_LOG, INSERT_ACTS_MYSQL, UPDATE_ACT_LOG};
use super::counts::deltas;
use super::deletion_text::{DELETE_ATTRIBUTES, DELETE_START_KEY, DELETIONS, INSERT_DELETED};
use super::mysql::sql::leases::lost;
use super::mysql::{BEGIN, unavailable};
use super::packing::packed;
use super::{Batch, Committed, StartRecord, StoreError, Write};

/// Rows of one `INSERT`, largest first: few statement texts, so that all stay prepared.
///
/// Source: 256 rows bind at most 3,584 values, of 65,535 that a statement may have.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];
/// Most bytes of one `INSERT` with several rows.
///
/// Source: a statement is held in memory on both sides; above a few MiB larger ones are no faster.
const STATEMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a row costs in a packet beside its values: numbers, lengths, ids, names and digests, in bytes.
const ROW_OVERHEAD_BYTES: usize = 4 * 1024;

/// What the server takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    statement_bytes_max: usize,
    row_bytes_max: usize,
}

impl Limits {
    pub(super) fn of(server: &Server) -> Self {
        let packet = server.packet_bytes_max();
        Self {
            statement_bytes_max: STATEMENT_BYTES_MAX.min(packet / 2),
            row_bytes_max: packet.saturating_sub(ROW_OVERHEAD_BYTES),
        }
    }
}

/// Writes `batch`, or nothing.
///
/// Until `COMMIT` has been sent nothing can have been written, whatever goes wrong; from then on only an
/// answer tells.
pub(super) async fn commit(
    connection: &mut MySqlConnection,
    batch: &Batch,
    limits: &Limits,
) -> Result<Committed, StoreError> {
    let deadline = Instant::now() + CALL_MAX;
    let prepared = timeout_at(deadline, prepare(connection, batch, limits)).await;
    let (transaction, fenced) = prepared.unwrap_or_else(|_| Err(unavailable(timed_out())))?;
    match timeout_at(deadline, transaction.commit()).await {
        Ok(Ok(())) => Ok(Committed { fenced }),
        Ok(Err(error)) => Err(StoreError::Unknown(error)),
        Err(_) => Err(StoreError::Unknown(timed_out())),
    }
}

/// Everything before `COMMIT`.
async fn prepare<'c>(
    connection: &'c mut MySqlConnection,
    batch: &Batch,
    limits: &Limits,
) -> Result<(Transaction<'c, MySql>, Vec<u8>), StoreError> {
    if let Some(size) = batch.writes.iter().map(largest_row).max()
        && limits.row_bytes_max < size
    {
        let reason = format!("a row of {size} bytes does not fit into max_allowed_packet");
        return Err(StoreError::DataRefused(sqlx::Error::Encode(reason.into())));
    }
    let mut transaction = connection.begin_with(BEGIN).await.map_err(unavailable)?;
    let fenced = lost(&mut transaction, &batch.fences).await?;
    let writes: Vec<&Write> = batch
        .writes
        .iter()
        .filter(|it| !fenced.contains(&it.workflow.partition()))
        .collect();
    insert(&mut transaction, &writes, limits, batch.shard)
        .await
        .map_err(classify)?;
    Ok((transaction, fenced))
}

async fn insert(
    connection: &mut MySqlConnection,
    writes: &[&Write],
    limits: &Limits,
    shard: u8,
) -> Result<(), sqlx::Error> {
    let with_events: Vec<&Write> = writes
        .iter()
        .copied()
        .filter(|it| it.has_events())
        .collect();
    let (deleted, kept): (Vec<&Write>, Vec<&Write>) =
        writes.iter().copied().partition(|it| it.deletion.is_some());
    let (logs, kept): (Vec<&Write>, Vec<&Write>) =
        kept.into_iter().partition(|it| it.acts.is_some());
    for write in deleted {
        delete(connection, write).await?;
    }
    for write in logs {
        write_acts(connection, write).await?;
    }
    insert_events(connection, &with_events, limits).await?;
    replace_snapshots(connection, &kept, limits).await?;
    replace_columns(connection, &kept).await?;
    replace_attributes(connection, &kept).await?;
    insert_starts(connection, &kept).await?;
    count(connection, writes, shard).await
}

/// Takes every row of a workflow away; what tells of that is inserted as its last event.
async fn delete(connection: &mut MySqlConnection, write: &Write) -> Result<(), sqlx::Error> {
    let Some(deletion) = write.deletion else {
        return Ok(());
    };
    let workflow = write.workflow.to_string();
    for statement in DELETIONS {
        sqlx::query(statement)
            .bind(&workflow)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(DELETE_START_KEY)
        .bind(deletion.started_ms)
        .bind(&workflow)
        .bind(owed_key_hash(write.workflow))
        .execute(&mut *connection)
        .await?;
    sqlx::query(INSERT_DELETED)
        .bind(write.workflow.partition())
        .bind(write.batch)
        .bind(&workflow)
        .bind(write.before.as_ref().map(|it| it.tenant.as_str()))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Moves the head of an act log on, and remembers what it has now.
async fn write_acts(connection: &mut MySqlConnection, write: &Write) -> Result<(), sqlx::Error> {
    let Some(acts) = &write.acts else {
        return Ok(());
    };
    let log = write.workflow.to_string();
    let moved = sqlx::query(UPDATE_ACT_LOG)
        .bind(&write.snapshot.chain)
        .bind(write.snapshot.n_audit)
        .bind(&log)
        .execute(&mut *connection)
        .await?;
    if moved.rows_affected() == 0 {
        sqlx::query(INSERT_ACT_LOG)
            .bind(&log)
            .bind(&acts.tenant)
            .bind(write.workflow.partition())
            .bind(&write.snapshot.chain)
            .bind(write.snapshot.n_audit)
            .execute(&mut *connection)
            .await?;
    }
    for rows in chunks(&acts.acts, usize::MAX, |_| 0) {
        let mut query = QueryBuilder::<MySql>::new(INSERT_ACTS_MYSQL);
        query.push_values(rows, |mut row, act| {
            row.push_bind(&log)
                .push_bind(act)
                .push_bind(write.committed_ms);
        });
        query.build().execute(&mut *connection).await?;
    }
    sqlx::query(FORGET_ACTS_MYSQL)
        .bind(&log)
        .bind(write.committed_ms - ACT_REMEMBERED_MS)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Moves the counters, in the order of their keys: few rows, however many workflows the batch has.
async fn count(
    connection: &mut MySqlConnection,
    writes: &[&Write],
    shard: u8,
) -> Result<(), sqlx::Error> {
    let deltas: Vec<_> = deltas(writes.iter().copied()).into_iter().collect();
    for rows in chunks(&deltas, usize::MAX, |_| 0) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO workflow_count (tenant, basis, day, definition, version, status, decision, \
             shard, n) ",
        );
        query.push_values(rows, |mut row, (cell, n)| {
            row.push_bind(cell.tenant)
                .push_bind(cell.basis.as_str())
                .push_bind(cell.day)
                .push_bind(cell.definition)
                .push_bind(cell.version)
                .push_bind(cell.status)
                .push_bind(cell.decision)
                .push_bind(shard)
                .push_bind(*n);
        });
        query.push(" ON DUPLICATE KEY UPDATE n = n + VALUES(n)");
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn replace_attributes(
    connection: &mut MySqlConnection,
    writes: &[&Write],
) -> Result<(), sqlx::Error> {
    let mut entries = Vec::new();
    for write in writes {
        let (Some(attributes), Some(columns)) = (&write.attributes, &write.columns) else {
            continue;
        };
        // A new workflow has none yet.
        if write.start.is_none() {
            sqlx::query(DELETE_ATTRIBUTES)
                .bind(write.workflow.to_string())
                .execute(&mut *connection)
                .await?;
        }
        let entry = |(name, value)| (write.workflow, columns, name, value);
        entries.extend(attributes.iter().map(|(name, value)| entry((name, value))));
    }
    for rows in chunks(&entries, usize::MAX, |_| 0) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO search_attribute (workflow, name, tenant, value, started_ms) ",
        );
        query.push_values(rows, |mut row, (workflow, columns, name, value)| {
            row.push_bind(workflow.to_string())
                .push_bind(name.as_str())
                .push_bind(columns.tenant.as_str())
                .push_bind(value.as_str())
                .push_bind(columns.started_ms);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_events(
    connection: &mut MySqlConnection,
    writes: &[&Write],
    limits: &Limits,
) -> Result<(), sqlx::Error> {
    for rows in chunks(writes, limits.statement_bytes_max, |it| event_bytes(it)) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO journal (workflow, sequence, first_sequence, partition_no, batch, \
             committed_ms, sealed, public) ",
        );
        query.push_values(rows, |mut row, write| {
            row.push_bind(write.workflow.to_string())
                .push_bind(write.sequence)
                .push_bind(write.first_sequence)
                .push_bind(write.workflow.partition())
                .push_bind(write.batch)
                .push_bind(write.committed_ms)
                .push_bind(write.sealed_events.as_slice())
                .push_bind(packed(&write.public));
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn replace_snapshots(
    connection: &mut MySqlConnection,
    writes: &[&Write],
    limits: &Limits,
) -> Result<(), sqlx::Error> {
    for rows in chunks(writes, limits.statement_bytes_max, |it| snapshot_bytes(it)) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO snapshot (workflow, partition_no, sequence, chain, n_audit, n_analytics, \
             is_open, n_turns, n_prompts, n_signals, wake_at_ms, n_owed, children, incident, sealed) ",
        );
        query.push_values(rows, |mut row, write| {
            row.push_bind(write.workflow.to_string())
                .push_bind(write.workflow.partition())
                .push_bind(write.sequence)
                .push_bind(write.snapshot.chain.as_str())
                .push_bind(write.snapshot.n_audit)
                .push_bind(write.snapshot.n_analytics)
                .push_bind(write.snapshot.is_open)
                .push_bind(write.snapshot.n_turns)
                .push_bind(write.snapshot.n_prompts)
                .push_bind(write.snapshot.n_signals)
                .push_bind(write.snapshot.wake_at_ms)
                .push_bind(write.snapshot.n_owed)
                .push_bind(write.snapshot.children.as_deref())
                // An empty mark means that the one which is there stays.
                .push_bind(write.keeps_incident.then_some(""))
                .push_bind(write.sealed_snapshot.as_slice());
        });
        query.push(
            " ON DUPLICATE KEY UPDATE sequence = VALUES(sequence), chain = VALUES(chain), \
             n_audit = VALUES(n_audit), n_analytics = VALUES(n_analytics), \
             is_open = VALUES(is_open), n_turns = VALUES(n_turns), \
             n_prompts = VALUES(n_prompts), n_signals = VALUES(n_signals), \
             wake_at_ms = VALUES(wake_at_ms), \
             n_owed = VALUES(n_owed), children = VALUES(children), \
             incident = IF(VALUES(incident) = '', incident, VALUES(incident)), \
             sealed = VALUES(sealed)",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn replace_columns(
    connection: &mut MySqlConnection,
    writes: &[&Write],
) -> Result<(), sqlx::Error> {
    let changed: Vec<_> = writes
        .iter()
        .filter_map(|it| Some((it.workflow, it.columns.as_ref()?)))
        .collect();
    for rows in chunks(&changed, usize::MAX, |_| 0) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO workflow (workflow, tenant, definition, version, subject, locale, status, \
             waiting_for, decision, started_ms, closed_ms, restart_of, attributes, retention, \
             legal_hold) ",
        );
        query.push_values(rows, |mut row, (workflow, columns)| {
            row.push_bind(workflow.to_string())
                .push_bind(columns.tenant.as_str())
                .push_bind(columns.definition.as_str())
                .push_bind(columns.version)
                .push_bind(columns.subject.as_deref())
                .push_bind(columns.locale.as_str())
                .push_bind(columns.status.as_str())
                .push_bind(columns.waiting_for.as_deref())
                .push_bind(columns.decision.as_deref())
                .push_bind(columns.started_ms)
                .push_bind(columns.closed_ms)
                .push_bind(columns.restart_of.map(|it| it.to_string()))
                .push_bind(columns.attributes.as_deref())
                .push_bind(columns.retention.as_deref())
                .push_bind(columns.legal_hold);
        });
        query.push(
            " ON DUPLICATE KEY UPDATE tenant = VALUES(tenant), definition = VALUES(definition), \
             version = VALUES(version), subject = VALUES(subject), locale = VALUES(locale), \
             status = VALUES(status), waiting_for = VALUES(waiting_for), \
             decision = VALUES(decision), started_ms = VALUES(started_ms), \
             closed_ms = VALUES(closed_ms), restart_of = VALUES(restart_of), \
             attributes = VALUES(attributes), retention = VALUES(retention), \
             legal_hold = VALUES(legal_hold)",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_starts(
    connection: &mut MySqlConnection,
    writes: &[&Write],
) -> Result<(), sqlx::Error> {
    let (moved, starts): (Vec<_>, Vec<_>) = writes
        .iter()
        .filter_map(|it| Some((it.committed_ms, it.start.as_ref()?)))
        .partition(|(_, start)| start.replaces.is_some());
    for (committed_ms, start) in moved {
        move_start(connection, start, committed_ms).await?;
    }
    for rows in chunks(&starts, usize::MAX, |_| 0) {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO start_key (tenant, key_hash, digest, workflow, created_ms, requests) ",
        );
        query.push_values(rows, |mut row, (committed_ms, start)| {
            row.push_bind(start.key.tenant.as_str())
                .push_bind(start.key.key_hash.as_str())
                .push_bind(start.digest.as_str())
                .push_bind(start.workflow.to_string())
                .push_bind(*committed_ms)
                .push_bind(start.requests.to_column());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Lets a key mean another workflow, if it still means the one that it is moved from.
async fn move_start(
    connection: &mut MySqlConnection,
    start: &StartRecord,
    committed_ms: i64,
) -> Result<(), sqlx::Error> {
    let moved = sqlx::query(
        "UPDATE start_key SET digest = ?, workflow = ?, created_ms = ?, requests = ? \
         WHERE tenant = ? AND key_hash = ? AND workflow = ?",
    )
    .bind(start.digest.as_str())
    .bind(start.workflow.to_string())
    .bind(committed_ms)
    .bind(start.requests.to_column())
    .bind(start.key.tenant.as_str())
    .bind(start.key.key_hash.as_str())
    .bind(start.replaces.map(|it| it.to_string()))
    .execute(connection)
    .await?;
    match moved.rows_affected() {
        1 => Ok(()),
        _ => Err(sqlx::Error::RowNotFound),
    }
}

fn event_bytes(write: &Write) -> usize {
    write.sealed_events.len() + write.public.len()
}

/// The size of the larger of a write's two large rows, in bytes.
fn largest_row(write: &Write) -> usize {
    event_bytes(write).max(snapshot_bytes(write))
}

fn snapshot_bytes(write: &Write) -> usize {
    let children = write.snapshot.children.as_ref().map_or(0, String::len);
    write.sealed_snapshot.len() + children
}

/// Cuts `rows` into pieces whose lengths are all among [`CHUNKS`], and which have at most `bytes_max` bytes
/// unless they are a single row.
fn chunks<T>(
    mut rows: &[T],
    bytes_max: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let fits = |n_rows: &usize| {
            let Some(rows) = rows.get(..*n_rows) else {
                return false;
            };
            *n_rows == 1 || rows.iter().map(&bytes_of).sum::<usize>() <= bytes_max
        };
        let n_rows = CHUNKS.into_iter().find(fits)?;
        let (chunk, rest) = rows.split_at(n_rows);
        rows = rest;
        Some(chunk)
    })
}

/// Classes of SQLSTATE that say "this value can never be stored": data exceptions, integrity violations.
const DATA_CLASSES: [&str; 2] = ["22", "23"];
/// Error numbers that say the same under other classes.
///
/// Source: the server error references of MySQL 8 and MariaDB: row too large (1118), packet too large (1153),
/// truncated (1265), collations that do not mix (1267), not a text of its character set (1300, 1366), value
/// larger than a packet (1301).
const DATA_NUMBERS: [u16; 7] = [1118, 1153, 1265, 1267, 1300, 1301, 1366];
/// The server has ended a transaction so that another can go on.
const DEADLOCK: u16 = 1213;

fn classify(error: sqlx::Error) -> StoreError {
    let is_data = match &error {
        // No statement of a commit reads a row that must be there; a key that has moved away is told so.
        sqlx::Error::Encode(_) | sqlx::Error::RowNotFound => true,
        sqlx::Error::Database(database) => {
            let class = database.code();
            let class = class.as_deref().and_then(|it| it.get(..2)).unwrap_or("");
            DATA_CLASSES.contains(&class)
                || number(&error).is_some_and(|it| DATA_NUMBERS.contains(&it))
        }
        _ => false,
    };
    if is_data {
        StoreError::DataRefused(error)
    } else {
        StoreError::Unavailable(error)
    }
}

/// Whether the server has undone the transaction because of others: the same may go well at once.
pub(super) fn is_deadlock(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(cause) if number(cause) == Some(DEADLOCK))
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let database = error.as_database_error()?;
    let mysql = database.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(mysql.number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_different_lengths_and_by_their_bytes() {
        let rows: Vec<usize> = (0..407).collect();
        let lengths: Vec<usize> = chunks(&rows, 1_000, |_| 1).map(<[usize]>::len).collect();
        assert_eq!(lengths, [256, 64, 64, 16, 4, 1, 1, 1]);
        assert_eq!(
            chunks(&rows, 1_000, |_| 1)
                .flatten()
                .copied()
                .collect::<Vec<_>>(),
            rows
        );
        let rows = [10, 10, 10, 10, 900, 5, 5];
        let lengths: Vec<usize> = chunks(&rows, 100, |it| *it).map(<[usize]>::len).collect();
        assert_eq!(lengths, [4, 1, 1, 1]);
    }
}
