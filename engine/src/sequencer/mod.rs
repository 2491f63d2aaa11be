//! Gives every audit record its place in the Merkle log of its tenant, and signs how far that is.
//!
//! One node at a time does this for all tenants, under a lease that is fenced by its epoch. It follows the
//! relay: what the stream has is read from the journal, in the order of partitions and batches, and becomes
//! the next leaves. A round ends with a checkpoint of each log that has grown, and is one transaction, so a
//! crash leaves all of it or nothing. The event that tells of a checkpoint is stored with it and published
//! until the stream has it, with the same bytes.
//!
//! Nothing here is on the way of a commit: a round waits until there is enough for a checkpoint, or long enough.

mod keys;
mod reader;
mod round;
mod settings;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use btrust_platform::clock::SharedClock;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::{KeyError, Keys};
use btrust_platform::random::{self, SharedRandom};
use btrust_platform::streams::{Stream, StreamError, StreamRecord, Streams};

use crate::store::audit_log::{Appended, AuditLogStore, Untold};
use crate::store::restore::RestoreStore;
use crate::store::{Cursor, EMBEDDED_LEASE_MS, Store, StoreError, Takeover};

pub use keys::{SigningKeys, rotate};
pub use reader::AuditReader;
pub use settings::CheckpointSettings;

/// How often the relay's cursors are looked at, and the lease is renewed.
const LOOK: Duration = Duration::from_secs(1);
/// How long the lease lasts where several nodes share the database, ms.
///
/// Source: a dead node is replaced within this; what it delays are checkpoints only.
const LEASE_MS: i64 = 10_000;
/// Journal rows of a round.
///
/// Source: two seconds of 2,000 events; 4 MiB in memory.
const ROUND_ROWS_MAX: usize = 4_096;
/// Events of checkpoints that are published at a time.
const UNTOLD_MAX: u32 = 64;

/// Why a round could not be made. The next one begins from what is stored.
#[derive(Debug, thiserror::Error)]
pub enum SequencerError {
    #[error("the store of the logs does not answer")]
    Store(#[from] StoreError),
    #[error("the key that signs cannot be opened")]
    Key(#[from] KeyError),
    #[error("the key that signs is damaged")]
    KeyDamaged,
    #[error("the stream does not take checkpoints")]
    Streams(#[from] StreamError),
    #[error("batch {batch} of partition {partition} holds what is no audit record")]
    NotARecord { partition: u8, batch: i64 },
    #[error("the log of a tenant is damaged: a tile is missing")]
    LogDamaged,
}

/// The world that a sequencer runs in.
#[derive(Clone)]
pub struct SequencerPorts {
    pub store: Arc<dyn Store>,
    pub log: Arc<dyn AuditLogStore>,
    pub restore: Arc<dyn RestoreStore>,
    pub keys: Arc<dyn Keys>,
    pub streams: Arc<dyn Streams>,
    pub clock: SharedClock,
    pub random: SharedRandom,
    /// Whether other nodes may sequence in the place of this one.
    pub is_shared: bool,
}

/// The sequencer of one node.
pub struct Sequencer {
    ports: SequencerPorts,
    settings: CheckpointSettings,
    owner: String,
    /// What is known while the lease is held.
    held: Option<Held>,
}

/// What a holder of the lease knows, and nobody else can change.
struct Held {
    epoch: i64,
    incarnation: i64,
    sequenced: BTreeMap<u8, i64>,
    logs: BTreeMap<String, round::Log>,
    /// When there was first something that no checkpoint covers, ms.
    waiting_since_ms: Option<i64>,
    has_untold: bool,
}

impl Sequencer {
    #[must_use]
    pub fn new(ports: SequencerPorts, settings: CheckpointSettings) -> Self {
        let owner = hex::encode(random::bytes::<16>(&*ports.random));
        Self {
            ports,
            settings,
            owner,
            held: None,
        }
    }

    /// Sequences until `shutdown`, which is to come after the relay's end, and once more then.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let is_last = shutdown.is_triggered();
            if let Err(error) = self.look(is_last).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot give audit records their places; will try again"
                );
                self.held = None;
            }
            if is_last {
                return;
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// One look: makes rounds while there is enough for them, or `is_last`.
    ///
    /// # Errors
    ///
    /// [`SequencerError`]; what was not written is made again.
    pub async fn look(&mut self, is_last: bool) -> Result<(), SequencerError> {
        if !self.hold().await? {
            return Ok(());
        }
        loop {
            self.tell().await?;
            let behind = self.behind().await?;
            let Some(held) = &mut self.held else {
                return Ok(());
            };
            let n_behind: i64 = behind.iter().map(|it| it.until - it.after).sum();
            if n_behind == 0 {
                held.waiting_since_ms = None;
                return Ok(());
            }
            let now_ms = self.ports.clock.now_ms();
            let since_ms = *held.waiting_since_ms.get_or_insert(now_ms);
            let is_due =
                self.settings.n_events <= n_behind || self.settings.age_ms <= now_ms - since_ms;
            if !is_due && !is_last {
                return Ok(());
            }
            match self.round(&behind).await? {
                Appended::Written => {}
                Appended::KeyEnded => tracing::info!("another key signs checkpoints now"),
                Appended::Fenced => {
                    tracing::info!("another node gives audit records their places now");
                    self.held = None;
                    return Ok(());
                }
            }
        }
    }

    /// Takes or keeps the lease; whether it is this node's.
    async fn hold(&mut self) -> Result<bool, SequencerError> {
        let (lease_ms, takeover) = if self.ports.is_shared {
            (LEASE_MS, Takeover::WhenExpired)
        } else {
            (EMBEDDED_LEASE_MS, Takeover::Always)
        };
        let log = &self.ports.log;
        if let Some(held) = &self.held {
            if !self.ports.is_shared || log.renew_sequencer(held.epoch, lease_ms).await? {
                return Ok(true);
            }
            self.held = None;
        }
        let Some(epoch) = log.take_sequencer(&self.owner, lease_ms, takeover).await? else {
            return Ok(false);
        };
        let sequenced = log.sequenced().await?;
        self.held = Some(Held {
            epoch,
            incarnation: self.ports.restore.incarnation().await?,
            sequenced: sequenced
                .into_iter()
                .map(|it| (it.partition, it.batch))
                .collect(),
            logs: BTreeMap::new(),
            waiting_since_ms: None,
            has_untold: true,
        });
        Ok(true)
    }

    /// The partitions that the relay is further in than the logs.
    async fn behind(&self) -> Result<Vec<Behind>, SequencerError> {
        let Some(held) = &self.held else {
            return Ok(Vec::new());
        };
        let behind = |it: Cursor| Behind {
            partition: it.partition,
            after: held
                .sequenced
                .get(&it.partition)
                .copied()
                .unwrap_or_default(),
            until: it.batch,
        };
        let relayed = self.ports.store.cursors().await?.into_iter().map(behind);
        Ok(relayed.filter(|it| it.after < it.until).collect())
    }

    /// Publishes the events of checkpoints that the stream may not have.
    async fn tell(&mut self) -> Result<(), SequencerError> {
        let Some(held) = &mut self.held else {
            return Ok(());
        };
        while held.has_untold {
            let untold = self.ports.log.untold(UNTOLD_MAX).await?;
            if untold.is_empty() {
                held.has_untold = false;
                break;
            }
            let records: Vec<StreamRecord> = untold.iter().flat_map(records).collect();
            self.ports.streams.append(Stream::Audit, &records).await?;
            self.ports.log.told(&untold).await?;
        }
        Ok(())
    }
}

/// What of a partition is in the stream and not in the logs: the batches after `after` to `until`.
#[derive(Clone, Copy, Debug)]
struct Behind {
    partition: u8,
    after: i64,
    until: i64,
}

fn records(untold: &Untold) -> Vec<StreamRecord> {
    let record = |line: &str| StreamRecord {
        partition_key: btrust_integrity::events::subject(&untold.tenant),
        bytes: Bytes::copy_from_slice(line.as_bytes()),
    };
    untold.events.lines().map(record).collect()
}
