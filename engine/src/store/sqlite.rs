//! The engine's state in one SQLite file.
//!
//! The statements are in `sql/`, shared with MySQL; here is what is SQLite's own.

#[expect(
    clippy::duplicate_mod,
    reason = "the same statements, compiled for each database"
)]
#[path = "sql/mod.rs"]
mod sql;

use std::path::Path;

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, MutexGuard};

use btrust_platform::sqlite::DbError;

use super::sqlite_write::Commits;
use super::{Batch, Committed, StoreError};

/// The tables of `state.sqlite`.
pub static STATE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations/sqlite/state");

// What the shared statements know of their database.
const N_LANES: usize = super::LANES_EMBEDDED;
const N_PARTITIONS: u16 = super::PARTITIONS_EMBEDDED;
pub(crate) type Db = Sqlite;
pub(crate) type SqlStore = SqliteStore;
pub(crate) type Connection = SqliteConnection;
pub(crate) type Row = sqlx::sqlite::SqliteRow;
/// Reads the database's own clock, ms since the epoch.
pub(super) const SELECT_NOW_MS: &str =
    "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
/// What others see is flushed already.
const WRITE_ANYTHING: Option<&str> = None;
/// Takes the write lock at once instead of at the first write, so that a reader is never upgraded.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
/// Locks the rows of a `SELECT`. [`BEGIN`] has locked everything.
const FOR_UPDATE: &str = "";
/// The same, but for rows that somebody else has locked.
const FOR_UPDATE_OF_FREE: &str = "";

/// Names the index that a `SELECT` reads: a list is in the order of one.
fn led_by(index: &str) -> String {
    format!(" INDEXED BY {index}")
}

/// The value of a column, if it is of that type.
fn decode<'r, T>(row: &'r Row, column: &str) -> Result<T, sqlx::Error>
where
    T: sqlx::Decode<'r, Db> + sqlx::Type<Db>,
{
    sqlx::Row::try_get(row, column)
}

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

    /// Closes every connection, so that one file has everything.
    pub(crate) async fn close(self) {
        drop(self.writer);
        self.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Does `work`: a file does not hang.
    pub(crate) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        work.await
    }

    /// Writes a batch.
    async fn write(&self, batch: &Batch) -> Result<Committed, StoreError> {
        // Commits have a connection of their own, but only one connection writes at a time.
        let _turn = self.writer.lock().await;
        self.commits.commit(batch.clone()).await
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

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;
    use sqlx::migrate::Migrator;

    use btrust_schemas::definition::VersionStatus;
    use btrust_schemas::ids::WorkflowId;

    use super::*;
    use crate::search::AttributeValue;
    use crate::store::definitions::{DefinitionStore, LiveRecord};
    use crate::store::lists::{AttributeFilter, ListFilter, Wanted};
    use crate::store::tenants::{AcknowledgementRecord, TenantStore};
    use crate::store::{Cursor, Store};

    #[tokio::test]
    async fn a_sqlite_file_is_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("state.sqlite"))
            .await
            .unwrap();
        crate::store::conformance::check(&store).await;
        crate::store::lists_conformance::check(&store, &store).await;
        crate::store::restore::check(&store, &store).await;
        crate::store::definitions::check(&store).await;
        crate::store::tenants::check(&store).await;
        let known = WorkflowId::new(1, [1; 15]);
        crate::store::operations::check(&store, known).await;
        crate::store::schedules::check(&store).await;
        crate::store::audit_log::check(&store).await;
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("state.sqlite"))
            .await
            .unwrap();
        crate::store::nodes_conformance::check(&store, &store).await;
    }

    #[tokio::test]
    async fn workflows_of_an_earlier_form_are_refused_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let before = STATE_MIGRATIONS.iter().filter(|it| it.version < 8);
        let before = Migrator {
            migrations: before.cloned().collect(),
            ..Migrator::DEFAULT
        };
        before.run(&pool).await.unwrap();
        let insert = "INSERT INTO workflow (workflow, tenant, definition, version, locale, status, \
                      started_ms) VALUES ('wf_1', 'acme', 'kyc', 1, 'en', 'running', 1)";
        sqlx::query(insert).execute(&pool).await.unwrap();
        for _ in 0..2 {
            let refused = SqliteStore::open(&path).await.err().unwrap();
            let why = format!("{refused:?}");
            assert!(why.contains("workflows_of_an_earlier_form"), "{why}");
        }
        before.run(&pool).await.unwrap();
        let count = "SELECT COUNT(*) FROM workflow";
        let n_left: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
        assert_eq!(n_left, 1);
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
        store.put_cursors(&[cursor], &[]).await.unwrap();
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
        store.put_cursors(&[cursor], &[]).await.unwrap();
    }

    /// The lines of the plan of a page.
    async fn plan(store: &SqliteStore, change: impl FnOnce(&mut ListFilter)) -> Vec<String> {
        let mut filter = ListFilter {
            tenant: "acme".to_owned(),
            ..ListFilter::default()
        };
        change(&mut filter);
        let query = sql::lists::keys_query(&filter, &filter.lead(), 10);
        explained(store, &query).await
    }

    async fn explained(store: &SqliteStore, query: &sqlx::QueryBuilder<Db>) -> Vec<String> {
        let text = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(&store.pool);
        let rows = rows.await.unwrap();
        let detail = |row: &Row| sqlx::Row::get::<String, _>(row, "detail");
        rows.iter().map(detail).collect()
    }

    #[tokio::test]
    async fn a_page_of_one_stretch_is_read_from_its_index_without_sorting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        let running = |it: &mut ListFilter| it.status = Some("running".to_owned());
        let decided = |it: &mut ListFilter| it.decision = Some("approved".to_owned());
        let paused = |it: &mut ListFilter| it.paused = Some(true);
        let of_definition = |it: &mut ListFilter| {
            running(it);
            it.definition = Some("flow".to_owned());
            it.started_from_ms = Some(5);
        };
        let amount = |it: &mut ListFilter| {
            it.attributes = vec![AttributeFilter {
                name: "amount".to_owned(),
                wanted: Wanted::Within {
                    from: AttributeValue::Integer(5),
                    until: None,
                },
            }];
        };
        for (index, plan) in [
            ("workflow_by_status", plan(&store, running).await),
            ("workflow_by_decision", plan(&store, decided).await),
            ("workflow_by_wait", plan(&store, paused).await),
            ("workflow_by_definition", plan(&store, of_definition).await),
            ("search_attribute_by_value", plan(&store, amount).await),
        ] {
            let searched = format!("USING COVERING INDEX {index} (tenant=?");
            assert!(plan.len() == 1 && plan[0].contains(&searched), "{plan:?}");
        }
    }

    #[tokio::test]
    async fn what_no_index_decides_is_judged_by_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let store = SqliteStore::open(&path).await.unwrap();
        let wanted = |name: &str, wanted| AttributeFilter {
            name: name.to_owned(),
            wanted,
        };
        let from = AttributeValue::Integer(5);
        let filter = ListFilter {
            tenant: "acme".to_owned(),
            is_open: Some(true),
            started_from_ms: Some(5),
            attributes: vec![
                wanted("amount", Wanted::Within { from, until: None }),
                wanted("branch", Wanted::Any(AttributeValue::meant_by("5"))),
            ],
            ..ListFilter::default()
        };
        let leads = filter.leads();
        assert_eq!(leads.len(), 3);
        for lead in leads {
            let query = sql::judging::judged_query(&filter, &lead, 10);
            let plan = explained(&store, &query).await;
            let is_by_key = |it: &String| {
                it.contains("SEARCH a") && it.contains("PRIMARY KEY (workflow=? AND name=?)")
                    || it.contains("SEARCH w USING INDEX sqlite_autoindex_workflow_1 (workflow=?)")
                    || it.contains("USING COVERING INDEX")
                    || [
                        "SCAN k",
                        "SCAN e",
                        "SCAN s",
                        "SCAN (sub",
                        "CO-ROUTINE",
                        "TEMP B-TREE",
                    ]
                    .iter()
                    .any(|known| it.contains(known))
                    || ["MERGE", "LEFT", "RIGHT", "COMPOUND", "UNION ALL"]
                        .iter()
                        .any(|known| it.starts_with(known))
            };
            assert!(plan.iter().all(is_by_key), "{plan:#?}");
        }
    }

    #[tokio::test]
    async fn what_was_published_before_versions_had_a_life_is_published_and_live() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let before = STATE_MIGRATIONS.iter().filter(|it| it.version == 1);
        let before = Migrator {
            migrations: before.cloned().collect(),
            ..Migrator::DEFAULT
        };
        before.run(&pool).await.unwrap();
        for (version, title) in [(1, "Old"), (2, "New")] {
            sqlx::query("INSERT INTO definition_version VALUES ('acme', 'flow', ?, ?, ?, ?)")
                .bind(version)
                .bind(title)
                .bind(format!("{{\"title\":\"{title}\"}}"))
                .bind(10 * version)
                .execute(&pool)
                .await
                .unwrap();
        }
        sqlx::query("INSERT INTO definition_alias VALUES ('acme', 'flow', 'live', 2)")
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;

        let store = SqliteStore::open(&path).await.unwrap();
        let live = store.version("acme", "flow", None).await.unwrap().unwrap();
        assert_eq!((live.version, live.title.as_str()), (2, "New"));
        assert_eq!(live.status, VersionStatus::Published);
        assert_eq!((live.created_by, live.published_ms), (None, Some(20)));
        let moves = store.live_moves("acme", "flow", 9).await.unwrap();
        let first = LiveRecord {
            version: 2,
            revision: 1,
            moved_by: None,
            moved_ms: 20,
        };
        assert_eq!(moves, [first]);
        let old = store.version("acme", "flow", Some(1)).await.unwrap();
        assert!(!old.unwrap().is_live);
    }
}
