//! Whether the disk below a store has room; without it the engine reads and cannot write.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// SQLite's result code for a database or disk without room.
///
/// Source: <https://www.sqlite.org/rescode.html>, primary codes (the low eight bits).
const SQLITE_FULL: i32 = 13;
/// SQLite's extended code for an index of the log that cannot grow: it is a file on the same disk.
const SQLITE_IOERR_SHMSIZE: i32 = 4874;
/// MySQL's numbers for the same: `ER_DISK_FULL`, `ER_RECORD_FILE_FULL`.
///
/// Source: the MySQL 8.0 server error reference.
const MYSQL_FULL: [u16; 2] = [1021, 1114];

/// Whether an error, or what caused it, is a full disk.
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if says_full(error) {
            return true;
        }
        next = error.source();
    }
    false
}

fn says_full(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.kind() == io::ErrorKind::StorageFull;
    }
    if let Some(rusqlite::Error::SqliteFailure(failure, _)) = error.downcast_ref() {
        return is_sqlite_full(failure.extended_code);
    }
    let Some(sqlx::Error::Database(error)) = error.downcast_ref() else {
        return false;
    };
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return MYSQL_FULL.contains(&error.number());
    }
    let code = error.code().and_then(|it| it.parse::<i32>().ok());
    code.is_some_and(is_sqlite_full)
}

fn is_sqlite_full(code: i32) -> bool {
    code & 0xff == SQLITE_FULL || code == SQLITE_IOERR_SHMSIZE
}

/// What the latest commits say about the disk.
#[derive(Debug, Default)]
pub struct Storage(AtomicBool);

impl Storage {
    /// Notes how a write has ended; the first that succeeds shows that there is room again.
    pub fn note(&self, is_full: bool) {
        let was_full = self.0.swap(is_full, Ordering::Relaxed);
        match (was_full, is_full) {
            (false, true) => {
                tracing::error!("the disk is full: nothing can be written until there is room");
            }
            (true, false) => tracing::info!("there is room on the disk again"),
            _ => {}
        }
    }

    /// Whether the latest write has found the disk full.
    pub fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn a_full_disk_is_recognised_through_whatever_wraps_it() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert!(is_full(&full()));
        let wrapped = StoreError::Unavailable(sqlx::Error::Io(full()));
        assert!(is_full(&wrapped));
        let failure = rusqlite::ffi::Error::new(SQLITE_FULL);
        assert!(is_full(&rusqlite::Error::SqliteFailure(failure, None)));
        let busy = rusqlite::ffi::Error::new(5);
        assert!(!is_full(&rusqlite::Error::SqliteFailure(busy, None)));
        assert!(!is_full(&StoreError::Unavailable(sqlx::Error::PoolClosed)));
    }

    #[test]
    fn a_write_that_succeeds_ends_the_fullness() {
        let storage = Storage::default();
        assert!(!storage.is_full());
        storage.note(true);
        assert!(storage.is_full());
        storage.note(false);
        assert!(!storage.is_full());
    }
}
