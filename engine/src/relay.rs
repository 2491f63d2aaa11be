//! Carries the public side of every commit to the streams, in the order of each partition.
//!
//! At least once: the cursor is stored after the streams have the bytes, and what is published again
//! has the same bytes and the same ids. What a commit has just written is handed over in memory; the
//! store is read only after a start, a failure, or when the streams are slower than the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use btrust_platform::flushes::{self, Flushed};
use btrust_platform::http::Shutdown;
use btrust_platform::streams::{Stream, StreamRecord, Streams};

use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::shared::Shared;
use crate::store::{Cursor, Fence, OutboxRow, StoreError};
use crate::stream_events::{ANALYTICS_PREFIX, AUDIT_PREFIX};

/// Journal rows read of one partition at a time.
const ROWS_MAX: u32 = 256;
/// Bytes of events that wait in memory; a partition whose events have no room is read from the store.
///
/// Source: a second of 10,000 steps at 2 KiB of events each.
const WAITING_BYTES_MAX: usize = 20 * 1024 * 1024;
/// How long commits are gathered before they are relayed, so that a busy engine flushes its streams
/// ten times a second and not at every commit.
const GATHER: Duration = Duration::from_millis(100);
/// How long the cursors may lag behind the streams; a crash publishes that much again.
const CURSORS_EVERY: Duration = Duration::from_secs(1);
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

/// What is committed and not yet relayed, by partition.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    marked: Notify,
    published: watch::Sender<BTreeMap<u8, i64>>,
}

#[derive(Default)]
struct Waiting {
    partitions: BTreeMap<u8, Pending>,
    n_bytes: usize,
    /// The last batch of each partition that the store has acknowledged to its owner; what the store shows
    /// beyond that may not be durable yet.
    acknowledged: BTreeMap<u8, i64>,
}

#[derive(Default)]
struct Pending {
    /// In the order of batches.
    rows: Vec<OutboxRow>,
    /// Whether the store may hold more than `rows`.
    is_behind: bool,
}

impl Outbox {
    /// An outbox in which every partition has to be looked at.
    pub fn all_dirty() -> Self {
        let outbox = Self::default();
        for partition in 0..=u8::MAX {
            outbox.mark(partition);
        }
        outbox
    }

    /// Notes that the store holds something of a partition.
    pub fn mark(&self, partition: u8) {
        self.lock().fall_behind(partition);
        self.marked.notify_one();
    }

    /// Begins with a partition whose last acknowledged batch is known.
    pub fn adopt(&self, partition: u8, last_batch: i64) {
        self.lock().acknowledged.insert(partition, last_batch);
        self.mark(partition);
    }

    /// Takes what a commit has written about a partition.
    pub fn put(&self, partition: u8, row: OutboxRow) {
        let mut waiting = self.lock();
        waiting.acknowledged.insert(partition, row.batch);
        let n_bytes = row.public.len();
        if WAITING_BYTES_MAX < waiting.n_bytes + n_bytes {
            waiting.fall_behind(partition);
        } else {
            let pending = waiting.partitions.entry(partition).or_default();
            // Behind, the store is read anyway.
            if !pending.is_behind {
                pending.rows.push(row);
                waiting.n_bytes += n_bytes;
            }
        }
        drop(waiting);
        self.marked.notify_one();
    }

    /// Tells whoever listens how far partitions are published.
    fn published(&self, reached: &[(u8, Position)]) {
        self.published.send_modify(|known| {
            known.extend(reached.iter().map(|(partition, it)| (*partition, it.batch)));
        });
    }

    /// The last batch of each partition that this process has published.
    pub fn listen(&self) -> watch::Receiver<BTreeMap<u8, i64>> {
        self.published.subscribe()
    }

    fn take(&self) -> BTreeMap<u8, Pending> {
        let mut waiting = self.lock();
        waiting.n_bytes = 0;
        std::mem::take(&mut waiting.partitions)
    }

    /// The last batch of a partition that may be published.
    fn acknowledged(&self, partition: u8) -> i64 {
        let waiting = self.lock();
        waiting.acknowledged.get(&partition).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn fall_behind(&mut self, partition: u8) {
        let pending = self.partitions.entry(partition).or_default();
        pending.is_behind = true;
        for row in pending.rows.drain(..) {
            self.n_bytes -= row.public.len();
        }
    }
}

pub struct Relay {
    shared: Arc<Shared>,
    streams: Arc<dyn Streams>,
    /// How far each partition of this node is published.
    positions: BTreeMap<u8, Position>,
    /// Positions that have moved since they were last stored, and when that was.
    moved: BTreeMap<u8, Position>,
    stored_at: Instant,
}

/// How far a partition is published, as its owner under an epoch knows.
#[derive(Clone, Copy)]
struct Position {
    epoch: i64,
    batch: i64,
}

impl Relay {
    /// A relay that goes on where the stored cursors say, with the partitions that are this node's.
    pub fn new(shared: Arc<Shared>, streams: Arc<dyn Streams>) -> Self {
        Self {
            shared,
            streams,
            positions: BTreeMap::new(),
            moved: BTreeMap::new(),
            stored_at: Instant::now(),
        }
    }

    /// Relays until `shutdown`, and once more then.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let is_last = shutdown.is_triggered();
            let relayed = self.relay(is_last).await;
            let (is_well, pause) = match relayed {
                Ok(()) if self.moved.is_empty() => (true, LOOK_AGAIN),
                Ok(()) => (true, CURSORS_EVERY),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot relay events; will try again"
                    );
                    (false, PAUSE)
                }
            };
            if is_last {
                return;
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => {}
                () = self.shared.outbox.marked.notified(), if is_well => {
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

    /// Publishes everything that is in the outbox now, and stores the cursors when it is time.
    ///
    /// # Errors
    ///
    /// [`RelayError`]; what was not published is published by the next call.
    async fn relay(&mut self, is_last: bool) -> Result<(), RelayError> {
        loop {
            let taken = self.shared.outbox.take();
            let partitions: Vec<u8> = taken.keys().copied().collect();
            let relayed = self.relay_taken(taken).await;
            if relayed.is_err() {
                for partition in partitions {
                    self.shared.outbox.mark(partition);
                }
            }
            if relayed? == 0 {
                break;
            }
        }
        if !self.moved.is_empty() && (is_last || CURSORS_EVERY <= self.stored_at.elapsed()) {
            self.store_cursors().await?;
        }
        Ok(())
    }

    /// Finds where to go on with these partitions; those that are not this node's are left out.
    async fn find_positions(
        &mut self,
        partitions: impl Iterator<Item = u8>,
    ) -> Result<(), StoreError> {
        let mut unknown = Vec::new();
        for partition in partitions {
            let epoch = self.shared.ownership.epoch(partition);
            let known = self.positions.get(&partition).map(|it| it.epoch);
            if epoch == known {
                continue;
            }
            // Another node may have published since.
            self.positions.remove(&partition);
            unknown.extend(epoch.map(|it| (partition, it)));
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let stored = self.shared.store.cursors().await?;
        let stored: BTreeMap<u8, i64> = stored
            .into_iter()
            .map(|it| (it.partition, it.batch))
            .collect();
        for (partition, epoch) in unknown {
            let batch = stored.get(&partition).copied().unwrap_or(0);
            self.positions.insert(partition, Position { epoch, batch });
        }
        Ok(())
    }

    /// Publishes what was taken, and one page of each partition that is behind; returns how many rows that was.
    async fn relay_taken(&mut self, taken: BTreeMap<u8, Pending>) -> Result<usize, RelayError> {
        self.find_positions(taken.keys().copied()).await?;
        let mut rows = Vec::new();
        let mut reached = Vec::new();
        for (partition, pending) in taken {
            let Some(position) = self.positions.get(&partition).copied() else {
                continue;
            };
            let after = position.batch;
            let mut page = pending.rows;
            page.retain(|it| after < it.batch);
            let is_gapless = page.first().is_none_or(|it| it.batch == after + 1);
            if pending.is_behind || !is_gapless {
                let acknowledged = self.shared.outbox.acknowledged(partition);
                page = self.shared.store.outbox(partition, after, ROWS_MAX).await?;
                page.retain(|it| it.batch <= acknowledged);
                if !page.is_empty() {
                    // There may be another page.
                    self.shared.outbox.mark(partition);
                }
            }
            if let Some(last) = page.last() {
                let batch = last.batch;
                reached.push((partition, Position { batch, ..position }));
            }
            rows.append(&mut page);
        }
        let n_rows = rows.len();
        if 0 < n_rows {
            if is_planted(Bug::CursorBeforePublish) {
                self.moved.extend(reached.iter().copied());
                self.store_cursors().await?;
            }
            self.publish(rows).await?;
            self.shared.outbox.published(&reached);
            self.positions.extend(reached.iter().copied());
            self.moved.extend(reached);
        }
        Ok(n_rows)
    }

    async fn store_cursors(&mut self) -> Result<(), StoreError> {
        let moved = || self.moved.iter().map(|(partition, it)| (*partition, it));
        let cursor = |(partition, it): (u8, &Position)| Cursor {
            partition,
            batch: it.batch,
        };
        let fence = |(partition, it): (u8, &Position)| Fence {
            partition,
            epoch: it.epoch,
        };
        let cursors: Vec<Cursor> = moved().map(cursor).collect();
        let fences: Vec<Fence> = moved().map(fence).collect();
        // What is fenced, the next owner publishes again with the same bytes.
        self.shared.store.put_cursors(&cursors, &fences).await?;
        flushes::count(Flushed::Cursors);
        self.moved.clear();
        self.stored_at = Instant::now();
        Ok(())
    }

    async fn publish(&self, rows: Vec<OutboxRow>) -> Result<(), RelayError> {
        let (mut audit, mut analytics) = (Vec::new(), Vec::new());
        for row in rows {
            let text = Bytes::from(row.public);
            let key = row.workflow.to_string();
            for line in text.split(|it| *it == b'\n') {
                let (records, prefix) = if line.starts_with(AUDIT_PREFIX.as_bytes()) {
                    (&mut audit, AUDIT_PREFIX)
                } else if line.starts_with(ANALYTICS_PREFIX.as_bytes()) {
                    (&mut analytics, ANALYTICS_PREFIX)
                } else {
                    continue;
                };
                records.push(StreamRecord {
                    partition_key: key.clone(),
                    bytes: text.slice_ref(&line[prefix.len()..]),
                });
            }
        }
        for (stream, label, records) in [
            (Stream::Audit, "audit", audit),
            (Stream::Analytics, "analytics", analytics),
        ] {
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
