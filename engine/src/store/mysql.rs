//! The engine's state in a MySQL database that several nodes may share.
//!
//! The statements are in `sql/`, shared with SQLite; here is what is MySQL's own.

#[expect(
    clippy::duplicate_mod,
    reason = "the same statements, compiled for each database"
)]
#[path = "sql/mod.rs"]
pub(super) mod sql;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sqlx::{MySql, MySqlConnection, MySqlPool};
use tokio::sync::{Semaphore, SemaphorePermit};

use btrust_platform::database_url::MySqlAddress;
use btrust_platform::mysql::{
    CALL_MAX, CONNECT_MAX, CONNECTIONS_MAX, Database, IDLE_MAX, MySqlError, timed_out,
};

use super::mysql_write::{self, Limits};
use super::{Batch, Committed, LANES_MYSQL, StoreError};

/// The tables of the state.
pub static MYSQL_STATE_MIGRATIONS: sqlx::migrate::Migrator =
    sqlx::migrate!("../migrations/mysql/state");

/// Writing connections of one process.
///
/// Source: one for each committer, and as many again for leases, cursors, definitions and marks, so that none
/// of them ever waits for a commit.
pub const WRITERS_MAX: usize = 2 * LANES_MYSQL;
/// How often a commit is tried that the server has ended to resolve a deadlock.
///
/// Source: our own statements lock in one order, so a deadlock is somebody else's doing, and rare.
const DEADLOCK_TRIES: usize = 3;

// What the shared statements know of their database.
const N_LANES: usize = super::LANES_MYSQL;
const N_PARTITIONS: u16 = btrust_schemas::ids::N_PARTITIONS;
pub(crate) type Db = MySql;
pub(crate) type SqlStore = MySqlStore;
pub(crate) type Connection = MySqlConnection;
pub(crate) type Row = sqlx::mysql::MySqlRow;
/// Reads the database's own clock, ms since the epoch: the time at which this statement has begun.
const SELECT_NOW_MS: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)";
/// InnoDB lets others see a commit before it has flushed it. What a later commit has flushed includes it, if
/// that one has anything to flush.
const WRITE_ANYTHING: Option<&str> = Some(
    "INSERT INTO store_meta (name, value) VALUES ('lookups', 1) \
     ON DUPLICATE KEY UPDATE value = value + 1",
);
pub(super) const BEGIN: &str = "START TRANSACTION";
/// Locks the rows of a `SELECT` until the end of the transaction.
const FOR_UPDATE: &str = " FOR UPDATE";
/// The same, but for rows that somebody else has locked.
const FOR_UPDATE_OF_FREE: &str = " FOR UPDATE SKIP LOCKED";

/// Names the index that a `SELECT` reads: a list is in the order of one.
fn led_by(index: &str) -> String {
    format!(" FORCE INDEX ({index})")
}

/// The value of a column. Its type is the table's; keys are VARBINARY, which the driver's own check would
/// not let anybody read as text.
fn decode<'r, T>(row: &'r Row, column: &str) -> Result<T, sqlx::Error>
where
    T: sqlx::Decode<'r, Db> + sqlx::Type<Db>,
{
    sqlx::Row::try_get_unchecked(row, column)
}

/// A database, a pool for readers, a few connections for writers.
pub struct MySqlStore {
    database: Database,
    pool: MySqlPool,
    /// Connections on which all has gone well, the last used on top.
    writers: Mutex<Vec<(MySqlConnection, Instant)>>,
    permits: Semaphore,
}

impl MySqlStore {
    /// Checks the server and brings the tables up to date.
    ///
    /// # Errors
    ///
    /// What [`Database::open`] says.
    pub async fn open(address: MySqlAddress) -> Result<Self, MySqlError> {
        let database = Database::open(address, &MYSQL_STATE_MIGRATIONS).await?;
        Ok(Self {
            pool: database.pool(CONNECTIONS_MAX),
            writers: Mutex::default(),
            permits: Semaphore::new(WRITERS_MAX),
            database,
        })
    }

    /// The connections that read.
    #[must_use]
    pub fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    /// Does `work`, but not for longer than a call may take: a hung server is an error like any other.
    pub(crate) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(CALL_MAX, work)
            .await
            .unwrap_or_else(|_| Err(unavailable(timed_out())))
    }

    /// Writes a batch; once more where a deadlock has undone it.
    async fn write(&self, batch: &Batch) -> Result<Committed, StoreError> {
        let limits = Limits::of(self.database.server());
        let mut tries = 1;
        loop {
            let mut writer = self.writer().await?;
            let result = mysql_write::commit(writer.connection(), batch, &limits).await;
            match result {
                Ok(committed) => {
                    writer.keep();
                    return Ok(committed);
                }
                Err(error) if mysql_write::is_deadlock(&error) && tries < DEADLOCK_TRIES => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a deadlock has undone a commit; it is tried again"
                    );
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a connection that writes.
    pub(crate) async fn writer(&self) -> Result<Writer<'_>, StoreError> {
        let waiting = tokio::time::timeout(CONNECT_MAX, self.permits.acquire());
        let permit = match waiting.await {
            Ok(permit) => permit.expect("the semaphore is never closed"),
            Err(_) => return Err(unavailable(sqlx::Error::PoolTimedOut)),
        };
        let connection = match self.idle_writer() {
            Some(connection) => connection,
            None => self.database.connect().await.map_err(unavailable)?,
        };
        Ok(Writer {
            store: self,
            connection: Some(connection),
            is_kept: false,
            _permit: permit,
        })
    }

    /// The writer that was used last, unless that is so long ago that the server may have ended it.
    fn idle_writer(&self) -> Option<MySqlConnection> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, used_at) = writers.pop()?;
        if used_at.elapsed() < IDLE_MAX {
            return Some(connection);
        }
        // Those below it are older.
        writers.clear();
        None
    }
}

/// A writing connection while somebody holds it; closed on drop unless it is kept.
///
/// After anything but success, nobody knows what is still open on it; closing it makes the server undo that.
pub(crate) struct Writer<'a> {
    store: &'a MySqlStore,
    connection: Option<MySqlConnection>,
    is_kept: bool,
    _permit: SemaphorePermit<'a>,
}

impl Writer<'_> {
    pub(crate) fn connection(&mut self) -> &mut MySqlConnection {
        self.connection
            .as_mut()
            .expect("`MySqlStore::writer` has put a connection here")
    }

    /// Hands the connection to the next writer.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && self.is_kept
        {
            let writers = &self.store.writers;
            let mut writers = writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.push((connection, Instant::now()));
        }
    }
}

pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error)
}
