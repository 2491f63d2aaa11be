//! MySQL servers as every service opens them.

mod settings;

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{ConnectOptions, Connection, MySqlConnection};

pub use settings::{PACKET_BYTES_MIN, Server};
pub use sqlx::MySqlPool;

use crate::database_url::MySqlAddress;

/// How long a new connection may take, and how long a caller waits for one of the pool's.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long one call to a store may take before it is an error.
///
/// Source: longer than `LOCK_WAIT_MAX_S` and `STATEMENT_MAX_S`, so that the server's own words arrive
/// first; short enough that whoever waits hears of a hung server before a load balancer gives up (30 s).
pub const CALL_MAX: Duration = Duration::from_secs(10);
/// How long one statement may run on the server, s.
const STATEMENT_MAX_S: u32 = 8;
/// How long a statement waits for a row that somebody else has locked, s.
///
/// Source: longer than [`SILENCE_MAX_S`], after which the server frees what a dead client has locked.
const LOCK_WAIT_MAX_S: u32 = 5;
/// How long a connection may be silent before the server ends it, s.
///
/// It is what frees the locks of a process that stands still, or is gone without a word, in the middle of a
/// transaction. Source: below the 5 s in which partitions are to be handed over.
pub const SILENCE_MAX_S: u32 = 3;
/// How long an idle connection is used again without asking whether it is still there.
pub const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// When an idle connection is given up: before the server does.
pub const IDLE_MAX: Duration = Duration::from_secs(2);
/// How long a connection that comes back to a pool may take to show that it lives.
///
/// Source: a server that is there answers within a round trip; without a limit a host that has vanished would
/// keep the pool's places until TCP gives up, after a quarter of an hour.
const RETURN_MAX: Duration = Duration::from_secs(1);
/// How long a process waits for others that bring the tables up to date.
const MIGRATION_MAX_S: u32 = 600;
/// How long the server waits in the middle of a statement, s, before it frees what a dead client has locked.
///
/// Source: as [`SILENCE_MAX_S`]; a statement of 4 MiB takes less than a second on any network between them.
const READ_MAX_S: u32 = 3;
/// Reading connections of one pool.
///
/// Source: two for each core of a node of four cores; a server's default of 151 serves a dozen nodes.
pub const CONNECTIONS_MAX: u32 = 8;

/// Why a MySQL database cannot be used. Nothing of it goes away by itself but [`MySqlError::Connect`].
#[derive(Debug, thiserror::Error)]
pub enum MySqlError {
    #[error("the MySQL database {address} cannot be opened")]
    Connect {
        address: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("the MySQL setting {setting} is {found}, but {needed} is needed: {why}")]
    Unsafe {
        setting: &'static str,
        found: String,
        needed: &'static str,
        why: &'static str,
    },
    /// The tables were written by a newer program, a migration was edited, or one failed half way.
    #[error("the tables of {address} cannot be brought up to date")]
    Migrate {
        address: String,
        #[source]
        source: MigrateError,
    },
}

/// A MySQL database that has passed every check.
#[derive(Clone, Debug)]
pub struct Database {
    address: MySqlAddress,
    server: Server,
}

impl Database {
    /// Checks the server's settings and brings the tables up to date.
    ///
    /// Several processes may do so at the same time; they migrate one after the other.
    ///
    /// # Errors
    ///
    /// [`MySqlError`].
    pub async fn open(
        address: MySqlAddress,
        migrations: &'static Migrator,
    ) -> Result<Self, MySqlError> {
        let failed = |source| MySqlError::Connect {
            address: address.to_string(),
            source,
        };
        // Without the limits of a session: a migration takes as long as it takes.
        let connecting = tokio::time::timeout(CONNECT_MAX, address.options().connect());
        let connected = connecting.await.unwrap_or_else(|_| Err(timed_out()));
        let mut connection = connected.map_err(failed)?;
        let server = settings::ask(&mut connection).await.map_err(failed)?;
        settings::check(&server, address.storage_writes_whole_pages)?;
        // The migrator's own lock waits without end, which MariaDB takes for not at all. This one ends with
        // its connection.
        let locking = sqlx::query_scalar::<_, Option<i64>>(
            "SELECT GET_LOCK(CONCAT('btrust:', SHA1(DATABASE())), ?)",
        );
        let locked = locking.bind(MIGRATION_MAX_S).fetch_one(&mut connection);
        if locked.await.map_err(failed)? != Some(1) {
            return Err(failed(timed_out()));
        }
        let pool = MySqlPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_MAX)
            .connect_lazy_with(address.options().clone());
        let migrated = migrations.run(&pool).await;
        pool.close().await;
        // A server that does not say goodbye has said everything that counts.
        let _ = connection.close().await;
        migrated.map_err(|source| MySqlError::Migrate {
            address: address.to_string(),
            source,
        })?;
        Ok(Self { address, server })
    }

    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// A pool of connections, opened as they are needed.
    #[must_use]
    pub fn pool(&self, connections_max: u32) -> MySqlPool {
        let session = session(&self.server);
        MySqlPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(CONNECT_MAX)
            .idle_timeout(IDLE_MAX)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if TRUSTED_FOR < meta.idle_for {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_release(|connection, _| {
                Box::pin(async move {
                    let answer = tokio::time::timeout(RETURN_MAX, connection.ping()).await;
                    answer.unwrap_or_else(|_| Err(timed_out()))?;
                    Ok(true)
                })
            })
            .after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move { prepare(connection, session).await })
            })
            .connect_lazy_with(self.options())
    }

    /// One connection, with the limits of a session.
    ///
    /// # Errors
    ///
    /// What the driver says; after [`CONNECT_MAX`], that it took too long.
    pub async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        let connecting = async {
            let mut connection = self.options().connect().await?;
            prepare(&mut connection, session(&self.server)).await?;
            Ok(connection)
        };
        tokio::time::timeout(CONNECT_MAX, connecting)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }

    fn options(&self) -> sqlx::mysql::MySqlConnectOptions {
        // Statements are long and carry no values; what is slow shows in the metrics.
        self.address.options().clone().disable_statement_logging()
    }
}

/// The error of a call that has taken too long.
#[must_use]
pub fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the database did not answer in time",
    ))
}

async fn prepare(connection: &mut MySqlConnection, session: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(session))
        .execute(connection)
        .await?;
    Ok(())
}

/// What every session says about itself, whatever the server's defaults are.
///
/// Strict: what does not fit is refused instead of cut. `unique_checks` and `foreign_key_checks` may have
/// been turned off for a load of data. A chained COMMIT would open a transaction that nobody ends.
fn session(server: &Server) -> String {
    let statement_max = if server.is_mariadb {
        format!("max_statement_time = {STATEMENT_MAX_S}")
    } else {
        // MySQL limits reads only; the client's own limit ends the rest.
        format!("max_execution_time = {STATEMENT_MAX_S}000")
    };
    format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', \
         autocommit = 1, completion_type = 0, unique_checks = 1, foreign_key_checks = 1, \
         wait_timeout = {SILENCE_MAX_S}, net_read_timeout = {READ_MAX_S}, \
         innodb_lock_wait_timeout = {LOCK_WAIT_MAX_S}, {statement_max}"
    )
}
