//! Carries the public side of every commit to the streams, in the order of each partition.
//!
//! At least once: the cursor is stored after the streams have the bytes, and what is published again
//! has the same bytes and the same ids.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::shared::Shared;
use crate::store::{Cursor, OutboxRow, StoreError};
use crate::stream_events::{ANALYTICS_PREFIX, AUDIT_PREFIX};
use btrust_platform::http::Shutdown;
use btrust_platform::streams::{Stream, StreamRecord, Streams};

/// Journal rows read of one partition at a time.
const ROWS_MAX: u32 = 256;
/// How long commits are gathered before they are relayed, so that a busy engine flushes its streams
/// ten times a second and not at every commit.
const GATHER: Duration = Duration::from_millis(100);
/// The pause after a failure, and the longest time without a look at the outbox.
const PAUSE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the outbox cannot be read or marked")]
    Store(#[from] StoreError),
    #[error("the streams do not take records")]
    Streams(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Partitions whose outbox may have something new.
#[derive(Default)]
pub struct Outbox {
    dirty: Mutex<BTreeSet<u8>>,
    marked: Notify,
}

impl Outbox {
    /// An outbox of which nothing is known: every partition has to be looked at.
    pub fn all_dirty() -> Self {
        Self {
            dirty: Mutex::new((0..=u8::MAX).collect()),
            marked: Notify::new(),
        }
    }

    /// Notes that a partition has committed something.
    pub fn mark(&self, partition: u8) {
        self.dirty
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(partition);
        self.marked.notify_one();
    }

    fn take(&self) -> BTreeSet<u8> {
        std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub struct Relay {
    shared: Arc<Shared>,
    streams: Arc<dyn Streams>,
    cursors: HashMap<u8, i64>,
}

impl Relay {
    /// A relay that goes on where the stored cursors say.
    pub async fn load(shared: Arc<Shared>, streams: Arc<dyn Streams>) -> Result<Self, StoreError> {
        let cursors = shared.store.cursors().await?;
        let cursors = cursors
            .into_iter()
            .map(|it| (it.partition, it.batch))
            .collect();
        Ok(Self {
            shared,
            streams,
            cursors,
        })
    }

    /// Relays until `shutdown`, and once more then.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let is_last = shutdown.is_triggered();
            let pause = match self.relay().await {
                Ok(_) => LOOK_AGAIN,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot relay events; will try again"
                    );
                    PAUSE
                }
            };
            if is_last {
                return;
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => {}
                () = self.shared.outbox.marked.notified(), if pause == LOOK_AGAIN => {
                    tokio::select! {
                        biased;
                        () = shutdown.wait() => {}
                        () = tokio::time::sleep(GATHER) => {}
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Publishes everything that is in the outbox now; returns how many journal rows that was.
    ///
    /// # Errors
    ///
    /// [`RelayError`]; what was not published is published by the next call.
    pub async fn relay(&mut self) -> Result<usize, RelayError> {
        let mut n_rows = 0;
        loop {
            let dirty = self.shared.outbox.take();
            let relayed = self.relay_page(&dirty).await;
            if relayed.is_err() {
                for partition in dirty {
                    self.shared.outbox.mark(partition);
                }
            }
            match relayed? {
                0 => return Ok(n_rows),
                n_page => n_rows += n_page,
            }
        }
    }

    /// Publishes one page of each of these partitions.
    async fn relay_page(&mut self, partitions: &BTreeSet<u8>) -> Result<usize, RelayError> {
        let mut rows = Vec::new();
        let mut moved = Vec::new();
        for &partition in partitions {
            let after = self.cursors.get(&partition).copied().unwrap_or(0);
            let page = self.shared.store.outbox(partition, after, ROWS_MAX).await?;
            let Some(last) = page.last() else { continue };
            moved.push(Cursor {
                partition,
                batch: last.batch,
            });
            rows.extend(page);
        }
        if moved.is_empty() {
            return Ok(0);
        }
        if is_planted(Bug::CursorBeforePublish) {
            self.move_cursors(&moved).await?;
        }
        self.publish(&rows).await?;
        self.move_cursors(&moved).await?;
        Ok(rows.len())
    }

    async fn move_cursors(&mut self, moved: &[Cursor]) -> Result<(), StoreError> {
        self.shared.store.put_cursors(moved).await?;
        for cursor in moved {
            self.cursors.insert(cursor.partition, cursor.batch);
            // There may be another page.
            self.shared.outbox.mark(cursor.partition);
        }
        Ok(())
    }

    async fn publish(&self, rows: &[OutboxRow]) -> Result<(), RelayError> {
        for (stream, label, prefix) in [
            (Stream::Audit, "audit", AUDIT_PREFIX),
            (Stream::Analytics, "analytics", ANALYTICS_PREFIX),
        ] {
            let records: Vec<StreamRecord> = rows
                .iter()
                .flat_map(|row| {
                    let lines = row
                        .public
                        .lines()
                        .filter_map(|line| line.strip_prefix(prefix));
                    lines.map(|line| StreamRecord {
                        partition_key: row.workflow.to_string(),
                        bytes: bytes::Bytes::copy_from_slice(line.as_bytes()),
                    })
                })
                .collect();
            if records.is_empty() {
                continue;
            }
            let appended = self.streams.append(stream, &records).await;
            appended.map_err(|error| RelayError::Streams(error.into()))?;
            let n_records = u64::try_from(records.len()).unwrap_or(u64::MAX);
            metrics::RELAYED
                .with_label_values(&[label])
                .inc_by(n_records);
        }
        Ok(())
    }
}
