//! SQLite files as every service opens them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use sqlx::SqlitePool;

use crate::files;

/// How long a connection waits for another writer before it gives up.
///
/// One write takes well under a millisecond; seconds mean a stuck process.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of one pool. SQLite has one writer; the others are short readers.
pub const CONNECTIONS_MAX: u32 = 4;

/// The tables of `keys.sqlite`.
pub static KEYS_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite/keys");
/// The tables of `steps.sqlite`, those of every step included.
pub static STEPS_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite/steps");

/// Why a database file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("the database file {path} cannot be created or locked")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the database {path} cannot be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    /// The file was written by a newer program, or a migration was edited.
    #[error("the tables of {path} cannot be brought up to date")]
    Migrate {
        path: PathBuf,
        #[source]
        source: MigrateError,
    },
}

/// Opens a database file, creates it (mode 0600) if it is not there, and brings its tables up to date.
///
/// WAL, `synchronous=FULL`: an acknowledged commit survives a power loss.
/// Several processes may open one file at the same time; a lock file beside it
/// makes them migrate one after the other.
///
/// # Errors
///
/// [`DbError`]; none of its cases goes away by trying again.
pub async fn open(path: &Path, migrations: &'static Migrator) -> Result<SqlitePool, DbError> {
    let file_error = |source| DbError::File {
        path: path.to_owned(),
        source,
    };
    let _lock = lock_for_migration(path).await.map_err(file_error)?;
    files::open_to_append(path).map_err(file_error)?;

    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is deleted is overwritten: a destroyed key must not stay in a free page.
        .pragma("secure_delete", "ON");
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(BUSY_TIMEOUT)
        // SQLite itself ends a transaction when the disk is full; sqlx goes on counting it as open, and
        // every later one of that connection would fail.
        .before_acquire(|connection, _| {
            let is_usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_usable) })
        })
        .connect_with(options)
        .await
        .map_err(|source| DbError::Open {
            path: path.to_owned(),
            source,
        })?;
    migrations
        .run(&pool)
        .await
        .map_err(|source| DbError::Migrate {
            path: path.to_owned(),
            source,
        })?;
    Ok(pool)
}

/// Holds an advisory lock until the file it returns is dropped.
async fn lock_for_migration(path: &Path) -> io::Result<File> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let locking = tokio::task::spawn_blocking(move || {
        let file = files::open_to_append(lock_path.as_ref())?;
        file.lock()?;
        Ok(file)
    });
    locking.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::files::PRIVATE_FILE_MODE;

    #[tokio::test]
    async fn a_database_is_private_durable_and_in_wal_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.sqlite");
        let pool = open(&path, &KEYS_MIGRATIONS).await.unwrap();

        let (mode, synchronous, foreign_keys): (String, i64, i64) = sqlx::query_as(
            "SELECT (SELECT journal_mode FROM pragma_journal_mode),
                    (SELECT synchronous FROM pragma_synchronous),
                    (SELECT foreign_keys FROM pragma_foreign_keys)",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!((mode.as_str(), synchronous, foreign_keys), ("wal", 2, 1));
        for file in ["keys.sqlite", "keys.sqlite-wal"] {
            let mode = dir
                .path()
                .join(file)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, PRIVATE_FILE_MODE, "{file}");
        }
    }

    #[tokio::test]
    async fn many_openers_of_a_new_file_migrate_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.sqlite");
        let openers = (0..8).map(|_| open(&path, &KEYS_MIGRATIONS));
        for result in futures_util::future::join_all(openers).await {
            result.unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.sqlite");
        std::fs::write(&path, vec![7; 4096]).unwrap();
        let error = open(&path, &KEYS_MIGRATIONS).await.unwrap_err();
        assert!(matches!(error, DbError::Open { .. }), "{error:?}");
    }
}
