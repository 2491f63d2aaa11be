//! The engine's state in one SQLite file.
//!
//! The statement text is what MySQL takes too, but for the database's clock.

use std::path::Path;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, MutexGuard};

use btrust_platform::sqlite::DbError;
use btrust_schemas::ids::WorkflowId;

use super::sqlite_write::Commits;
use super::{
    AcquireRequest, Acquired, Batch, Committed, Cursor, JournalRow, ListFilter, Listed,
    OpenWorkflow, OutboxRow, OwnedPartition, SnapshotColumns, StartKey, StartRecord, Store,
    StoreError, Takeover, WorkflowColumns, WorkflowRecord,
};

/// The tables of `state.sqlite`.
pub static STATE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/sqlite/state");

/// Reads the database's own clock, ms since the epoch; leases are judged by it alone.
pub(super) const SELECT_NOW_MS: &str =
    "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
/// Takes the write lock at once instead of at the first write, so that a reader is never upgraded.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// One file, one writing connection, a few readers.
pub struct SqliteStore {
    pool: SqlitePool,
    /// The only connection that writes, so that no commit ever waits for a lock of this process.
    writer: Mutex<Option<PoolConnection<Sqlite>>>,
    commits: Commits,
}

impl SqliteStore {
    /// Opens `path` and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// What [`btrust_platform::sqlite::open`] says; nothing of it goes away by itself.
    pub async fn open(path: &Path) -> Result<Self, DbError> {
        let pool = btrust_platform::sqlite::open(path, &STATE_MIGRATIONS).await?;
        Ok(Self {
            pool,
            writer: Mutex::new(None),
            commits: Commits::to(path),
        })
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Waits for the writing connection.
    pub(crate) async fn writer(&self) -> Result<Writer<'_>, StoreError> {
        let mut guard = self.writer.lock().await;
        if guard.is_none() {
            *guard = Some(self.pool.acquire().await.map_err(unavailable)?);
        }
        Ok(Writer {
            guard,
            is_kept: false,
        })
    }
}

/// The writing connection while somebody holds it; given up on drop unless it is kept.
///
/// When SQLite itself rolls a transaction back (disk full, I/O error), sqlx goes on counting it as open,
/// and every later one on that connection fails. So a connection lives on only after what went well.
pub(crate) struct Writer<'a> {
    guard: MutexGuard<'a, Option<PoolConnection<Sqlite>>>,
    is_kept: bool,
}

impl Writer<'_> {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        self.guard
            .as_mut()
            .expect("`SqliteStore::writer` has put a connection here")
    }

    /// Hands the connection to the next writer: its transaction has ended as sqlx believes.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if !self.is_kept
            && let Some(connection) = self.guard.take()
        {
            // Outside the pool, a connection closes when it is dropped; the next writer opens another.
            drop(connection.detach());
        }
    }
}

pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error)
}

#[async_trait]
impl Store for SqliteStore {
    async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, StoreError> {
        let mut writer = self.writer().await?;
        let acquired = acquire(writer.connection(), request)
            .await
            .map_err(unavailable)?;
        writer.keep();
        Ok(acquired)
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        // Commits have a connection of their own, but only one connection writes at a time.
        let _turn = self.writer.lock().await;
        self.commits.commit(batch.clone()).await
    }

    async fn last_batches(&self, partitions: &[u8]) -> Result<Vec<i64>, StoreError> {
        let mut writer = self.writer().await?;
        let mut lock = writer
            .connection()
            .begin_with(BEGIN)
            .await
            .map_err(unavailable)?;
        let mut batches = Vec::with_capacity(partitions.len());
        for partition in partitions {
            batches.push(
                last_batch(&mut lock, *partition)
                    .await
                    .map_err(unavailable)?
                    .0,
            );
        }
        lock.rollback().await.map_err(unavailable)?;
        writer.keep();
        Ok(batches)
    }

    async fn load(&self, workflows: &[WorkflowId]) -> Result<Vec<WorkflowRecord>, StoreError> {
        let mut records = Vec::with_capacity(workflows.len());
        for chunk in workflows.chunks(IN_LIST_MAX) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT w.workflow, tenant, definition, version, subject, locale, status, waiting_for, \
                 decision, started_ms, closed_ms, sequence, chain, n_audit, n_analytics, is_open, \
                 n_turns, n_prompts, wake_at_ms, n_owed, children, incident, sealed \
                 FROM workflow w JOIN snapshot s ON s.workflow = w.workflow WHERE w.workflow IN (",
            );
            push_ids(&mut query, chunk);
            for row in query
                .build()
                .fetch_all(&self.pool)
                .await
                .map_err(unavailable)?
            {
                records.push(workflow_record(&row)?);
            }
        }
        Ok(records)
    }

    async fn open_workflows(
        &self,
        partition: u8,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<OpenWorkflow>, StoreError> {
        let rows = sqlx::query(
            "SELECT workflow, n_turns, n_prompts, wake_at_ms, n_owed, children, incident FROM snapshot \
             WHERE partition_no = ? AND is_open = 1 AND ? < workflow ORDER BY workflow LIMIT ?",
        )
        .bind(partition)
        .bind(after.map(|it| it.to_string()).unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(OpenWorkflow {
                    workflow: id(row)?,
                    n_turns: get(row, "n_turns")?,
                    n_prompts: get(row, "n_prompts")?,
                    wake_at_ms: get(row, "wake_at_ms")?,
                    n_owed: get(row, "n_owed")?,
                    children: get(row, "children")?,
                    incident: get(row, "incident")?,
                })
            })
            .collect()
    }

    async fn history(
        &self,
        workflow: WorkflowId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT first_sequence, sequence, sealed FROM journal \
             WHERE workflow = ? AND ? < sequence ORDER BY sequence LIMIT ?",
        )
        .bind(workflow.to_string())
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(JournalRow {
                    first_sequence: get(row, "first_sequence")?,
                    sequence: get(row, "sequence")?,
                    sealed_events: get(row, "sealed")?,
                })
            })
            .collect()
    }

    async fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, StoreError> {
        let rows = list_query(filter)
            .build()
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(Listed {
                    started_ms: get(row, "started_ms")?,
                    workflow: id(row)?,
                })
            })
            .collect()
    }

    async fn find_starts(&self, keys: &[StartKey]) -> Result<Vec<StartRecord>, StoreError> {
        let mut records = Vec::new();
        for chunk in keys.chunks(IN_LIST_MAX) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT tenant, key_hash, digest, workflow FROM start_key WHERE ",
            );
            let mut alternatives = query.separated(" OR ");
            for key in chunk {
                alternatives
                    .push("(tenant = ")
                    .push_bind_unseparated(key.tenant.clone());
                alternatives.push_unseparated(" AND key_hash = ");
                alternatives
                    .push_bind_unseparated(key.key_hash.clone())
                    .push_unseparated(")");
            }
            for row in query
                .build()
                .fetch_all(&self.pool)
                .await
                .map_err(unavailable)?
            {
                records.push(StartRecord {
                    key: StartKey {
                        tenant: get(&row, "tenant")?,
                        key_hash: get(&row, "key_hash")?,
                    },
                    digest: get(&row, "digest")?,
                    workflow: id(&row)?,
                });
            }
        }
        Ok(records)
    }

    async fn outbox(
        &self,
        partition: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT workflow, batch, public FROM journal \
             WHERE partition_no = ? AND ? < batch ORDER BY batch LIMIT ?",
        )
        .bind(partition)
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(OutboxRow {
                    workflow: id(row)?,
                    batch: get(row, "batch")?,
                    public: get(row, "public")?,
                })
            })
            .collect()
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        let rows =
            sqlx::query("SELECT partition_no, batch FROM relay_cursor ORDER BY partition_no")
                .fetch_all(&self.pool)
                .await
                .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(Cursor {
                    partition: get(row, "partition_no")?,
                    batch: get(row, "batch")?,
                })
            })
            .collect()
    }

    async fn put_cursors(&self, cursors: &[Cursor]) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer
            .connection()
            .begin_with(BEGIN)
            .await
            .map_err(unavailable)?;
        for cursor in cursors {
            sqlx::query("REPLACE INTO relay_cursor (partition_no, batch) VALUES (?, ?)")
                .bind(cursor.partition)
                .bind(cursor.batch)
                .execute(&mut *transaction)
                .await
                .map_err(unavailable)?;
        }
        transaction.commit().await.map_err(unavailable)?;
        writer.keep();
        Ok(())
    }

    async fn put_incident(&self, workflow: WorkflowId, code: &str) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        sqlx::query("UPDATE snapshot SET incident = ? WHERE workflow = ?")
            .bind(code)
            .bind(workflow.to_string())
            .execute(writer.connection())
            .await
            .map_err(unavailable)?;
        writer.keep();
        Ok(())
    }
}

/// Most ids in one `IN` list; below every database's limit on bound values.
const IN_LIST_MAX: usize = 200;

async fn acquire(
    connection: &mut SqliteConnection,
    request: &AcquireRequest,
) -> Result<Acquired, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let now_ms = database_now(&mut transaction).await?;
    let incarnation = sqlx::query_scalar("SELECT value FROM store_meta WHERE name = 'incarnation'")
        .fetch_one(&mut *transaction)
        .await?;
    let mut partitions = Vec::with_capacity(request.partitions.len());
    for &partition in &request.partitions {
        let held: Option<(i64, i64)> = sqlx::query_as(
            "SELECT epoch, lease_until_ms FROM partition_lease WHERE partition_no = ?",
        )
        .bind(partition)
        .fetch_optional(&mut *transaction)
        .await?;
        let (epoch, lease_until_ms) = held.unwrap_or((0, 0));
        if request.takeover == Takeover::WhenExpired && now_ms < lease_until_ms {
            continue;
        }
        let epoch = epoch + 1;
        sqlx::query(
            "REPLACE INTO partition_lease (partition_no, owner, epoch, lease_until_ms) \
             VALUES (?, ?, ?, ?)",
        )
        .bind(partition)
        .bind(&request.owner)
        .bind(epoch)
        .bind(now_ms.saturating_add(request.lease_ms))
        .execute(&mut *transaction)
        .await?;
        let (last_batch, last_commit_ms) = last_batch(&mut transaction, partition).await?;
        partitions.push(OwnedPartition {
            partition,
            epoch,
            last_batch,
            last_commit_ms,
        });
    }
    transaction.commit().await?;
    Ok(Acquired {
        incarnation,
        partitions,
    })
}

async fn database_now(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(SELECT_NOW_MS)
        .fetch_one(connection)
        .await
}

/// The last batch of a partition and the time of its commit; zeros where there is none.
async fn last_batch(
    connection: &mut SqliteConnection,
    partition: u8,
) -> Result<(i64, i64), sqlx::Error> {
    let last = sqlx::query_as(
        "SELECT batch, committed_ms FROM journal WHERE partition_no = ? ORDER BY batch DESC LIMIT 1",
    )
    .bind(partition)
    .fetch_optional(connection)
    .await?;
    Ok(last.unwrap_or((0, 0)))
}

fn list_query(filter: &ListFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT started_ms, workflow FROM workflow WHERE tenant = ");
    query.push_bind(filter.tenant.clone());
    let equalities = [
        (" AND status = ", &filter.status),
        (" AND definition = ", &filter.definition),
        (" AND decision = ", &filter.decision),
        (" AND waiting_for = ", &filter.waiting_for),
    ];
    for (sql, value) in equalities {
        if let Some(value) = value {
            query.push(sql).push_bind(value.clone());
        }
    }
    if let Some(version) = filter.version {
        query.push(" AND version = ").push_bind(version);
    }
    if let Some(from_ms) = filter.started_from_ms {
        query.push(" AND started_ms >= ").push_bind(from_ms);
    }
    if let Some(until_ms) = filter.started_until_ms {
        query.push(" AND started_ms < ").push_bind(until_ms);
    }
    if let Some(after) = filter.after {
        query
            .push(" AND (started_ms < ")
            .push_bind(after.started_ms);
        query.push(" OR (started_ms = ").push_bind(after.started_ms);
        query
            .push(" AND workflow < ")
            .push_bind(after.workflow.to_string())
            .push("))");
    }
    query
        .push(" ORDER BY started_ms DESC, workflow DESC LIMIT ")
        .push_bind(filter.limit);
    query
}

fn push_ids(query: &mut QueryBuilder<Sqlite>, ids: &[WorkflowId]) {
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(id.to_string());
    }
    list.push_unseparated(")");
}

fn workflow_record(row: &SqliteRow) -> Result<WorkflowRecord, StoreError> {
    Ok(WorkflowRecord {
        workflow: id(row)?,
        columns: WorkflowColumns {
            tenant: get(row, "tenant")?,
            definition: get(row, "definition")?,
            version: get(row, "version")?,
            subject: get(row, "subject")?,
            locale: get(row, "locale")?,
            status: get(row, "status")?,
            waiting_for: get(row, "waiting_for")?,
            decision: get(row, "decision")?,
            started_ms: get(row, "started_ms")?,
            closed_ms: get(row, "closed_ms")?,
        },
        sequence: get(row, "sequence")?,
        snapshot: SnapshotColumns {
            chain: get(row, "chain")?,
            n_audit: get(row, "n_audit")?,
            n_analytics: get(row, "n_analytics")?,
            is_open: get(row, "is_open")?,
            n_turns: get(row, "n_turns")?,
            n_prompts: get(row, "n_prompts")?,
            wake_at_ms: get(row, "wake_at_ms")?,
            n_owed: get(row, "n_owed")?,
            children: get(row, "children")?,
        },
        incident: get(row, "incident")?,
        sealed_snapshot: get(row, "sealed")?,
    })
}

fn id(row: &SqliteRow) -> Result<WorkflowId, StoreError> {
    let text: String = get(row, "workflow")?;
    text.parse().map_err(|_| StoreError::Corrupt {
        what: "the column `workflow`".to_owned(),
    })
}

pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(column).map_err(|_| StoreError::Corrupt {
        what: format!("the column `{column}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;
    use crate::store::tenants::{AcknowledgementRecord, TenantStore};

    #[tokio::test]
    async fn a_sqlite_file_is_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("state.sqlite"))
            .await
            .unwrap();
        conformance::check(&store).await;
        crate::store::definitions::check(&store).await;
        crate::store::tenants::check(&store).await;
        let known = WorkflowId::new(1, [1; 15]);
        crate::store::operations::check(&store, known).await;
        crate::store::schedules::check(&store).await;
    }

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_to_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("state.sqlite"))
            .await
            .unwrap();
        let mut writer = store.writer().await.unwrap();
        // No database is smaller than it is already: this is a disk without room for one page more.
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(writer.connection())
            .await
            .unwrap();
        writer.keep();
        let many = AcknowledgementRecord {
            tenant: "acme".to_owned(),
            kind: "kind".to_owned(),
            statement: "s".repeat(1 << 20),
            by: "admin".to_owned(),
            at_ms: 1,
        };
        let full = store.acknowledge(&many).await.unwrap_err();
        assert!(matches!(full, StoreError::Unavailable(_)), "{full:?}");
        // A new connection has no such limit, as a disk has none once somebody has made room.
        store.acknowledge(&many).await.unwrap();
        let cursor = Cursor {
            partition: 1,
            batch: 1,
        };
        store.put_cursors(&[cursor]).await.unwrap();
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_rolled_back_does_not_poison_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("state.sqlite"))
            .await
            .unwrap();
        let mut writer = store.writer().await.unwrap();
        let mut transaction = writer.connection().begin_with(BEGIN).await.unwrap();
        // What SQLite does by itself on a full disk: sqlx still counts the transaction.
        sqlx::query("ROLLBACK")
            .execute(&mut *transaction)
            .await
            .unwrap();
        assert!(transaction.commit().await.is_err());
        drop(writer);
        let cursor = Cursor {
            partition: 1,
            batch: 1,
        };
        store.put_cursors(&[cursor]).await.unwrap();
    }
}
