//! Gives every audit record its place in the Merkle log of its tenant, and signs how far that is.
//!
//! One node at a time does this for all tenants, under a lease that is fenced by its epoch. It follows the
//! relay: what the stream has is read from the journal, in the order of partitions and batches, and becomes
//! the next leaves. A round ends with a checkpoint of each log that has grown, and is one transaction, so a
//! crash leaves all of it or nothing. The event that tells of a checkpoint is stored with it and published
//! until the stream has it, with the same bytes.
//!
//! Nothing here is on the way of a commit: a round waits until there is enough for a checkpoint, or long enough.

mod intake;
mod keys;
mod reader;
mod round;
mod settings;
mod trouble;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use btrust_platform::clock::SharedClock;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::{KeyError, Keys};
use btrust_platform::random::{self, SharedRandom};
use btrust_platform::streams::{Stream, StreamError, StreamRecord, Streams};

use crate::metrics;
use crate::store::audit_log::{Appended, AuditLogStore, SetAside, Untold, UntoldPlace};
use crate::store::restore::RestoreStore;
use crate::store::{Cursor, EMBEDDED_LEASE_MS, Store, StoreError, Takeover};

pub use keys::{SigningKeys, rotate};
pub use reader::AuditReader;
pub(crate) use reader::Placed;
pub use settings::CheckpointSettings;
pub use trouble::Troubles;

use intake::Aside;
use trouble::{Code, Trouble};

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
/// Ranges of a round, which has no more logs than that.
///
/// Source: some hundred tenants in a few statements each; a transaction may take 10 s on MySQL.
const ROUND_RANGES_MAX: usize = 256;
/// How often what is set aside is looked at again, ms.
const RETRY_MS: i64 = 60_000;
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
    troubles: Troubles,
}

/// What a holder of the lease knows, and nobody else can change.
struct Held {
    epoch: i64,
    incarnation: i64,
    sequenced: BTreeMap<u8, i64>,
    logs: BTreeMap<String, round::Log>,
    /// What waits outside of its log.
    aside: Aside,
    /// Partitions that stop at a batch of which nobody knows whose it is.
    stopped: BTreeMap<u8, i64>,
    /// When what waits was last looked at, ms; at once where there is more to take.
    retried_ms: Option<i64>,
    /// Tenants of which the event of a checkpoint cannot be read.
    untellable: BTreeSet<String>,
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
            troubles: Troubles::default(),
        }
    }

    /// What keeps records out of their logs, for health.
    #[must_use]
    pub fn troubles(&self) -> Troubles {
        self.troubles.clone()
    }

    /// Sequences until `shutdown`, which is to come after the relay's end, and makes one more round then. What a
    /// large backlog still has is left for the next start.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let is_last = shutdown.is_triggered();
            let goes_on = |n_rounds: usize| n_rounds == 0 || !shutdown.is_triggered();
            if let Err(error) = self.look_while(is_last, goes_on).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot give audit records their places; will try again"
                );
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

    /// One look: makes rounds while there is enough for them, or anything where `is_last`.
    ///
    /// # Errors
    ///
    /// [`SequencerError`]; what was not written is made again.
    pub async fn look(&mut self, is_last: bool) -> Result<(), SequencerError> {
        self.look_while(is_last, |_| true).await
    }

    /// One look, which `goes_on` may end after any number of rounds.
    async fn look_while(
        &mut self,
        is_last: bool,
        goes_on: impl Fn(usize) -> bool + Send,
    ) -> Result<(), SequencerError> {
        let looked = self.rounds(is_last, goes_on).await;
        let mut troubles = self
            .held
            .as_ref()
            .map_or_else(BTreeSet::new, Held::troubles);
        if looked.is_err() {
            metrics::AUDIT_FAILURES.inc();
            troubles.insert(Trouble::everything());
            self.held = None;
        }
        self.troubles.are(troubles);
        looked
    }

    async fn rounds(
        &mut self,
        is_last: bool,
        goes_on: impl Fn(usize) -> bool + Send,
    ) -> Result<(), SequencerError> {
        let mut n_rounds = 0;
        // Renewed before each round: a backlog takes longer than the lease lasts.
        while goes_on(n_rounds) && self.hold().await? {
            self.tell().await?;
            let behind = self.behind().await?;
            let Some(held) = &mut self.held else { break };
            let n_behind: i64 = behind.iter().map(|it| it.until - it.after).sum();
            metrics::AUDIT_BEHIND.set(n_behind);
            let now_ms = self.ports.clock.now_ms();
            if n_behind == 0 {
                held.waiting_since_ms = None;
            } else {
                held.waiting_since_ms.get_or_insert(now_ms);
            }
            let is_old = |since_ms| self.settings.age_ms <= now_ms - since_ms;
            let is_due = self.settings.n_events <= n_behind
                || held.waiting_since_ms.is_some_and(is_old)
                || (is_last && 0 < n_behind);
            if !is_due && !held.is_retry_due(now_ms) {
                break;
            }
            match self.round(&behind).await? {
                Some(Appended::Written) => {}
                Some(Appended::KeyEnded) => tracing::info!("another key signs checkpoints now"),
                Some(Appended::Fenced) => {
                    tracing::info!("another node gives audit records their places now");
                    self.held = None;
                    break;
                }
                None => break,
            }
            n_rounds += 1;
        }
        Ok(())
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
        let aside = log.set_aside().await?;
        let place = |it: SetAside| ((it.tenant.clone(), it.partition), it);
        self.held = Some(Held {
            epoch,
            incarnation: self.ports.restore.incarnation().await?,
            sequenced: sequenced
                .into_iter()
                .map(|it| (it.partition, it.batch))
                .collect(),
            logs: BTreeMap::new(),
            aside: aside.into_iter().map(place).collect(),
            stopped: BTreeMap::new(),
            retried_ms: None,
            untellable: BTreeSet::new(),
            waiting_since_ms: None,
            has_untold: true,
        });
        Ok(true)
    }

    /// The partitions that the relay is further in than the logs, without those that stop until they are looked
    /// at again.
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
        let is_retry_due = held.is_retry_due(self.ports.clock.now_ms());
        let goes_on = |it: &Behind| {
            it.after < it.until && (is_retry_due || !held.stopped.contains_key(&it.partition))
        };
        let relayed = self.ports.store.cursors().await?.into_iter().map(behind);
        Ok(relayed.filter(goes_on).collect())
    }

    /// Publishes the events of checkpoints that the stream may not have. Behind one that cannot be read those of
    /// its tenant wait, for they are told in their order.
    async fn tell(&mut self) -> Result<(), SequencerError> {
        let Some(held) = &mut self.held else {
            return Ok(());
        };
        if !held.has_untold {
            return Ok(());
        }
        held.untellable.clear();
        let mut after: Option<UntoldPlace> = None;
        loop {
            let mut untold = self.ports.log.untold(after.as_ref(), UNTOLD_MAX).await?;
            let unreadable = untold.iter().position(|it| it.events.is_none());
            let damaged = unreadable.and_then(|at| untold.drain(at..).next());
            if !untold.is_empty() {
                let records: Vec<StreamRecord> = untold.iter().flat_map(records).collect();
                self.ports.streams.append(Stream::Audit, &records).await?;
                self.ports.log.told(&untold).await?;
            }
            after = match (damaged, untold.pop()) {
                (Some(damaged), _) => {
                    held.untellable.insert(damaged.at.tenant.clone());
                    Some(UntoldPlace {
                        incarnation: i64::MAX,
                        ..damaged.at
                    })
                }
                (None, Some(last)) => Some(last.at),
                (None, None) => break,
            };
        }
        held.has_untold = !held.untellable.is_empty();
        Ok(())
    }
}

impl Held {
    /// Whether it is time to look again at what waits.
    fn is_retry_due(&self, now_ms: i64) -> bool {
        let is_due = |at_ms| RETRY_MS <= now_ms - at_ms;
        let waits = !self.aside.is_empty() || !self.stopped.is_empty();
        waits && self.retried_ms.is_none_or(is_due)
    }

    /// What waits, and why.
    fn troubles(&self) -> BTreeSet<Trouble> {
        let aside = self.aside.values().map(|it| Trouble {
            code: Code::parse(&it.code),
            tenant: Some(it.tenant.clone()),
            partition: Some(it.partition),
            batch: Some(it.batch),
        });
        let stopped = self.stopped.iter().map(|(partition, batch)| Trouble {
            code: Code::PartitionStopped,
            tenant: None,
            partition: Some(*partition),
            batch: Some(*batch),
        });
        let untellable = self.untellable.iter().map(|tenant| Trouble {
            code: Code::EventDamaged,
            tenant: Some(tenant.clone()),
            partition: None,
            batch: None,
        });
        aside.chain(stopped).chain(untellable).collect()
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
        partition_key: btrust_integrity::events::subject(&untold.at.tenant),
        bytes: Bytes::copy_from_slice(line.as_bytes()),
    };
    let events = untold.events.as_deref().unwrap_or_default();
    events.lines().map(record).collect()
}
