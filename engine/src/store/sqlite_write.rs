//! The one transaction of a commit.

use sqlx::{Connection, QueryBuilder, Sqlite, SqliteConnection};

use super::sqlite::{BEGIN, database_now, unavailable};
use super::{Batch, Committed, Fence, StoreError, Write};

/// Rows of one `INSERT`, largest first: few statement texts, so that all stay prepared.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Lengths of the list of leases that a commit checks; a process has at most 256 partitions.
const FENCES: [usize; 5] = [1, 4, 16, 64, 256];

/// Writes `batch`, or nothing.
pub(super) async fn commit(
    connection: &mut SqliteConnection,
    batch: &Batch,
) -> Result<Committed, StoreError> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(unavailable)?;
    let fenced = lost_partitions(&mut transaction, &batch.fences)
        .await
        .map_err(unavailable)?;
    let writes: Vec<&Write> = batch
        .writes
        .iter()
        .filter(|it| !fenced.contains(&it.workflow.partition()))
        .collect();
    insert(&mut transaction, &writes).await.map_err(classify)?;
    transaction.commit().await.map_err(StoreError::Unknown)?;
    Ok(Committed { fenced })
}

/// Partitions whose lease row names another epoch, or whose lease has ended.
async fn lost_partitions(
    connection: &mut SqliteConnection,
    fences: &[Fence],
) -> Result<Vec<u8>, sqlx::Error> {
    let now_ms = database_now(connection).await?;
    let Some(last) = fences.last() else {
        return Ok(Vec::new());
    };
    // In the order of ids, so that two committers that lock rows here never wait for each other.
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT partition_no, epoch, lease_until_ms FROM partition_lease WHERE partition_no IN (",
    );
    let mut numbers = query.separated(", ");
    // Padded with the last id: few statement texts, so that all stay prepared.
    let n_padded = FENCES
        .into_iter()
        .find(|it| fences.len() <= *it)
        .unwrap_or(fences.len());
    let padding = n_padded - fences.len();
    for fence in fences.iter().chain(std::iter::repeat_n(last, padding)) {
        numbers.push_bind(fence.partition);
    }
    query.push(") ORDER BY partition_no");
    let leases: Vec<(u8, i64, i64)> = query.build_query_as().fetch_all(connection).await?;
    let is_ours = |fence: &Fence| {
        leases.iter().any(|(partition, epoch, lease_until_ms)| {
            *partition == fence.partition && *epoch == fence.epoch && now_ms < *lease_until_ms
        })
    };
    Ok(fences
        .iter()
        .filter(|it| !is_ours(it))
        .map(|it| it.partition)
        .collect())
}

async fn insert(connection: &mut SqliteConnection, writes: &[&Write]) -> Result<(), sqlx::Error> {
    let with_events: Vec<&Write> = writes
        .iter()
        .copied()
        .filter(|it| it.has_events())
        .collect();
    insert_events(connection, &with_events).await?;
    replace_snapshots(connection, writes).await?;
    replace_columns(connection, writes).await?;
    insert_starts(connection, writes).await
}

async fn insert_events(
    connection: &mut SqliteConnection,
    writes: &[&Write],
) -> Result<(), sqlx::Error> {
    for rows in chunks(writes) {
        let mut query = QueryBuilder::<Sqlite>::new(
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
                .push_bind(write.public.as_str());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn replace_snapshots(
    connection: &mut SqliteConnection,
    writes: &[&Write],
) -> Result<(), sqlx::Error> {
    for rows in chunks(writes) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "REPLACE INTO snapshot (workflow, partition_no, sequence, chain, n_audit, n_analytics, \
             is_open, n_turns, n_prompts, wake_at_ms, n_owed, children, incident, sealed) ",
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
                .push_bind(write.snapshot.wake_at_ms)
                .push_bind(write.snapshot.n_owed)
                .push_bind(write.snapshot.children.as_deref())
                .push_bind(None::<String>)
                .push_bind(write.sealed_snapshot.as_slice());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn replace_columns(
    connection: &mut SqliteConnection,
    writes: &[&Write],
) -> Result<(), sqlx::Error> {
    let changed: Vec<_> = writes
        .iter()
        .filter_map(|it| Some((it.workflow, it.columns.as_ref()?)))
        .collect();
    for rows in chunks(&changed) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "REPLACE INTO workflow (workflow, tenant, definition, version, subject, locale, status, \
             waiting_for, decision, started_ms, closed_ms) ",
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
                .push_bind(columns.closed_ms);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_starts(
    connection: &mut SqliteConnection,
    writes: &[&Write],
) -> Result<(), sqlx::Error> {
    let starts: Vec<_> = writes
        .iter()
        .filter_map(|it| Some((it.committed_ms, it.start.as_ref()?)))
        .collect();
    for rows in chunks(&starts) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO start_key (tenant, key_hash, digest, workflow, created_ms) ",
        );
        query.push_values(rows, |mut row, (committed_ms, start)| {
            row.push_bind(start.key.tenant.as_str())
                .push_bind(start.key.key_hash.as_str())
                .push_bind(start.digest.as_str())
                .push_bind(start.workflow.to_string())
                .push_bind(*committed_ms);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Cuts `rows` into pieces whose lengths are all among [`CHUNKS`].
fn chunks<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let n_rows = CHUNKS.into_iter().find(|it| *it <= rows.len())?;
        let (chunk, rest) = rows.split_at(n_rows);
        rows = rest;
        Some(chunk)
    })
}

/// SQLite's result codes for "this value can never be stored": error, too big, constraint, mismatch, range.
///
/// Source: <https://www.sqlite.org/rescode.html>, primary codes (the low eight bits).
const DATA_CODES: [i32; 5] = [1, 18, 19, 20, 25];

fn classify(error: sqlx::Error) -> StoreError {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|it| it.parse::<i32>().ok()),
        _ => None,
    };
    match code {
        Some(code) if DATA_CODES.contains(&(code & 0xff)) => StoreError::DataRefused(error),
        _ => StoreError::Unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_different_lengths() {
        let rows: Vec<u32> = (0..151).collect();
        let lengths: Vec<usize> = chunks(&rows).map(<[u32]>::len).collect();
        assert_eq!(lengths, [64, 64, 16, 4, 1, 1, 1]);
        assert_eq!(chunks(&rows).flatten().copied().collect::<Vec<_>>(), rows);
    }
}
