//! Restoring the engine's state from a backup, and noticing that somebody has done so by hand.
//!
//! What was published after the backup was made is known outside, and its workflows and numbers will
//! come again. So a restored store begins a new *incarnation*, which is part of every event id. Whoever
//! forgets that is refused where it can be seen: the data folder remembers how far the streams were.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use btrust_platform::http::Shutdown;
use btrust_platform::sqlite::DbError;

use crate::store::restore::RestoreStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, StoreError};

/// The file of the data folder that remembers how far the streams were.
const MARK_FILE: &str = "engine-mark.json";
/// How often the mark is written at most: what is published in between is not noticed to be missing.
///
/// Source: whatever backup somebody restores is older than that, and a flush in ten seconds costs nothing.
const MARK_EVERY: Duration = Duration::from_secs(10);

/// Why a store is not restored, or not served.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(
        "the database is older than what the streams were told: it has been restored. Run `btrust \
         engine new-incarnation` (or restore with `btrust engine restore`), so that new events never \
         get the ids of published ones"
    )]
    Restored,
    #[error("{} cannot be read or written", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the backup is damaged: {finding}")]
    Damaged { finding: String },
    #[error("the backup cannot be opened as a state of the engine")]
    Open(#[from] DbError),
    #[error("the database does not answer")]
    Store(#[from] StoreError),
    #[error("the backup cannot be examined")]
    Examine(#[source] sqlx::Error),
}

/// How far the streams were when this folder was last served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub incarnation: i64,
    /// The last published batch of each partition.
    pub batches: BTreeMap<u8, i64>,
}

impl Mark {
    /// The mark of a data folder; `None` where nothing was ever served.
    ///
    /// # Errors
    ///
    /// [`RestoreError::File`], also for a file that is no mark.
    pub fn read(folder: &Path) -> Result<Option<Self>, RestoreError> {
        let path = folder.join(MARK_FILE);
        let file = |source| RestoreError::File {
            path: path.clone(),
            source,
        };
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| file(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(error)),
        }
    }

    /// Puts the mark in the place of the one before, of which a power cut leaves either.
    fn write(&self, folder: &Path) -> io::Result<()> {
        let (path, new) = (folder.join(MARK_FILE), folder.join("engine-mark.json.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(new, path)
    }

    /// Whether a store of this incarnation and with these last batches has lost what was published.
    fn is_ahead_of(&self, incarnation: i64, last: impl Fn(u8) -> i64) -> bool {
        let is_missing = |(partition, batch): (&u8, &i64)| last(*partition) < *batch;
        incarnation < self.incarnation
            || (incarnation == self.incarnation && self.batches.iter().any(is_missing))
    }
}

/// Refuses a store that is older than what this folder's streams were told.
///
/// # Errors
///
/// [`RestoreError::Restored`].
pub async fn refuse_restored(
    store: &dyn Store,
    restore: &dyn RestoreStore,
    folder: &Path,
) -> Result<(), RestoreError> {
    let Some(mark) = Mark::read(folder)? else {
        return Ok(());
    };
    let incarnation = restore.incarnation().await?;
    let partitions: Vec<u8> = mark.batches.keys().copied().collect();
    let last = store.last_batches(&partitions).await?;
    let last: BTreeMap<u8, i64> = partitions.into_iter().zip(last).collect();
    if mark.is_ahead_of(incarnation, |it| last.get(&it).copied().unwrap_or_default()) {
        return Err(RestoreError::Restored);
    }
    Ok(())
}

/// Keeps the mark of a data folder until `shutdown`, and writes it once more then.
pub async fn keep_mark(
    folder: PathBuf,
    incarnation: i64,
    mut published: watch::Receiver<BTreeMap<u8, i64>>,
    shutdown: Shutdown,
) {
    loop {
        let is_last = tokio::select! {
            biased;
            () = shutdown.wait() => true,
            changed = published.changed() => changed.is_err(),
        };
        let batches = published.borrow_and_update().clone();
        if !batches.is_empty() {
            let mark = Mark {
                incarnation,
                batches,
            };
            let folder = folder.clone();
            let written = tokio::task::spawn_blocking(move || mark.write(&folder)).await;
            if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                tracing::warn!(%error, "cannot remember how far the streams are");
            }
        }
        if is_last {
            return;
        }
        tokio::select! {
            biased;
            () = shutdown.wait() => {}
            () = tokio::time::sleep(MARK_EVERY) => {}
        }
    }
}

/// Begins a new incarnation of a store that has been restored.
///
/// # Errors
///
/// [`RestoreError`]; nothing has changed.
pub async fn begin_incarnation(
    restore: &dyn RestoreStore,
    folder: &Path,
) -> Result<i64, RestoreError> {
    // A past that is restored twice must not get the same number twice.
    let seen = Mark::read(folder)?.map_or(0, |it| it.incarnation);
    Ok(restore.new_incarnation(seen + 1).await?)
}

/// Puts a backup in the place of the state of an embedded installation, as a new incarnation. What was
/// there stays beside it, with the suffix `.before-restore`. Core must not be running.
///
/// # Errors
///
/// [`RestoreError`]; what was there is still in its place.
pub async fn restore_sqlite(from: &Path, to: &Path) -> Result<i64, RestoreError> {
    let folder = to.parent().unwrap_or_else(|| Path::new("."));
    let staged = with_suffix(to, ".restoring");
    remove_database(&staged)?;
    std::fs::copy(from, &staged).map_err(|source| RestoreError::File {
        path: from.to_owned(),
        source,
    })?;
    let seen = if to.exists() {
        incarnation_of(to).await.unwrap_or_default()
    } else {
        0
    };
    let store = SqliteStore::open(&staged).await?;
    let findings: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_all(store.pool())
        .await
        .map_err(RestoreError::Examine)?;
    if findings != ["ok"] {
        let finding = findings.into_iter().next().unwrap_or_default();
        return Err(RestoreError::Damaged { finding });
    }
    let marked = Mark::read(folder)?.map_or(0, |it| it.incarnation);
    let incarnation = store.new_incarnation(seen.max(marked) + 1).await?;
    store.close().await;
    let renamed = |source| RestoreError::File {
        path: to.to_owned(),
        source,
    };
    if to.exists() {
        remove_database(&with_suffix(to, ".before-restore"))?;
        for part in ["", "-wal", "-shm"] {
            let old = with_suffix(to, part);
            if old.exists() {
                let aside = with_suffix(&with_suffix(to, ".before-restore"), part);
                std::fs::rename(&old, aside).map_err(renamed)?;
            }
        }
    }
    std::fs::rename(&staged, to).map_err(renamed)?;
    remove_database(&staged)?;
    Ok(incarnation)
}

async fn incarnation_of(path: &Path) -> Option<i64> {
    let store = SqliteStore::open(path).await.ok()?;
    let incarnation = store.incarnation().await.ok();
    store.close().await;
    incarnation
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a database file with everything beside it, where there is one.
fn remove_database(path: &Path) -> Result<(), RestoreError> {
    for part in ["", "-wal", "-shm", ".lock"] {
        let path = with_suffix(path, part);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(RestoreError::File { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mark_is_kept_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
        let (published, listening) = watch::channel(BTreeMap::new());
        published.send_replace(BTreeMap::from([(3, 7)]));
        let shutdown = Shutdown::new();
        let kept = keep_mark(dir.path().to_owned(), 2, listening, shutdown.clone());
        shutdown.trigger();
        kept.await;
        let mark = Mark {
            incarnation: 2,
            batches: BTreeMap::from([(3, 7)]),
        };
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(mark));
    }

    #[test]
    fn a_mark_is_ahead_of_a_store_that_has_lost_what_was_published() {
        let mark = Mark {
            incarnation: 2,
            batches: BTreeMap::from([(1, 10), (2, 5)]),
        };
        assert!(!mark.is_ahead_of(2, |_| 10));
        assert!(mark.is_ahead_of(2, |_| 9));
        assert!(mark.is_ahead_of(1, |_| 100));
        assert!(!mark.is_ahead_of(3, |_| 0));
    }
}
