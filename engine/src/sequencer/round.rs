//! One round: rows of the journal become leaves, and each log that has grown is signed.

use sha2::{Digest, Sha256};

use btrust_integrity::checkpoint::{Checkpoint, Origin};
use btrust_integrity::events::{Told, checkpoint_events};
use btrust_integrity::tree::Tiles;
use btrust_platform::clock::rfc3339;

use super::intake::{Growth, Intake};
use super::{Behind, Held, Sequencer, SequencerError, SigningKeys};
use crate::metrics;
use crate::store::audit_log::{
    Appended, AuditLogStore, CheckpointRecord, LogRecord, LogRound, Round,
};
use crate::store::{Cursor, StoreError};

/// Logs that are kept in memory; each is at most 64 KiB.
const LOGS_MAX: usize = 512;

/// A log as the sequencer goes on with it.
pub struct Log {
    record: LogRecord,
    tiles: Tiles,
}

impl Sequencer {
    /// Makes one round of what is behind; what does not fit is left for the next one. `None` when there was
    /// nothing that could be written.
    pub(super) async fn round(
        &mut self,
        behind: &[Behind],
    ) -> Result<Option<Appended>, SequencerError> {
        let keys = SigningKeys::open(
            &*self.ports.log,
            &*self.ports.keys,
            &self.ports.random,
            &*self.ports.clock,
        )
        .await?;
        let now_ms = self.ports.clock.now_ms();
        let Some(held) = &mut self.held else {
            return Ok(Some(Appended::Fenced));
        };
        if LOGS_MAX < held.logs.len() {
            held.logs.clear();
        }
        let mut intake = Intake::new(held.aside.clone(), now_ms);
        if held.is_retry_due(now_ms) {
            held.stopped.clear();
            let has_more = held.retry(&self.ports, &mut intake).await?;
            held.retried_ms = (!has_more).then_some(now_ms);
        }
        intake.read(&self.ports, behind).await?;
        held.stopped.append(&mut intake.stopped);
        let logs = held
            .grow(&*self.ports.log, &mut intake, &keys, now_ms)
            .await?;
        let round = held.round(&intake, logs, keys.number);
        if round.cursors.is_empty() && round.aside.is_empty() && round.resumed.is_empty() {
            return Ok(None);
        }
        let appended = self.ports.log.append(held.epoch, &round).await;
        if matches!(appended, Ok(Appended::Written)) {
            let moved = round.cursors.iter().map(|it| (it.partition, it.batch));
            held.sequenced.extend(moved);
            held.waiting_since_ms = None;
            held.has_untold |= !round.logs.is_empty();
            observe(&intake, now_ms);
            held.aside = intake.aside;
        } else {
            held.logs.clear();
        }
        Ok(Some(appended?))
    }
}

impl Held {
    /// Takes what was set aside of logs that are whole again; whether there is more of that.
    async fn retry(
        &mut self,
        ports: &super::SequencerPorts,
        intake: &mut Intake,
    ) -> Result<bool, SequencerError> {
        let mut tenants: Vec<String> = self.aside.values().map(|it| it.tenant.clone()).collect();
        tenants.dedup();
        for tenant in tenants {
            self.logs.remove(&tenant);
            let Some(log) = open(&*ports.log, &tenant, self.incarnation).await? else {
                continue;
            };
            self.logs.insert(tenant.clone(), log);
            if intake.catch_up(ports, &tenant, &self.sequenced).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every log that the round adds to, as it is then; those that cannot be gone on with are set aside.
    async fn grow(
        &mut self,
        store: &dyn AuditLogStore,
        intake: &mut Intake,
        keys: &SigningKeys,
        now_ms: i64,
    ) -> Result<Vec<LogRound>, StoreError> {
        let digest = cursors_digest(self, &intake.cursors);
        let tenants: Vec<String> = intake.growths.keys().cloned().collect();
        let mut logs = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            // Taken out: a log that is not written must not be gone on with.
            let log = match self.logs.remove(&tenant) {
                Some(log) => Some(log),
                None => open(store, &tenant, self.incarnation).await?,
            };
            let Some(mut log) = log else {
                intake.drop_log(&tenant);
                continue;
            };
            let growth = intake.growths.remove(&tenant).unwrap_or_default();
            logs.push(log.grow(growth, keys, &digest, now_ms));
            self.logs.insert(tenant, log);
        }
        Ok(logs)
    }

    /// What is written: beside the logs, what has changed of what is set aside.
    fn round(&self, intake: &Intake, logs: Vec<LogRound>, key_number: i64) -> Round {
        let aside = intake.aside.iter();
        let changed = aside.filter(|(place, it)| self.aside.get(*place) != Some(*it));
        let known = self.aside.keys();
        let resumed = known.filter(|place| !intake.aside.contains_key(*place));
        Round {
            key_number,
            cursors: intake.cursors.clone(),
            aside: changed.map(|(_, it)| it.clone()).collect(),
            resumed: resumed.cloned().collect(),
            logs,
        }
    }
}

/// How long records have waited for the checkpoint that covers them.
fn observe(intake: &Intake, now_ms: i64) {
    for committed_ms in &intake.committed_ms {
        let waited_ms = u32::try_from(now_ms - committed_ms).unwrap_or_default();
        metrics::AUDIT_SEQUENCED_SECONDS.observe(f64::from(waited_ms) / 1_000.0);
    }
}

impl Log {
    /// Adds leaves and signs the log as it is then.
    fn grow(&mut self, growth: Growth, keys: &SigningKeys, cursors: &str, now_ms: i64) -> LogRound {
        let record = &mut self.record;
        let mut ranges = growth.ranges;
        let mut first_leaf = record.size;
        for range in &mut ranges {
            range.incarnation = record.incarnation;
            range.first_leaf = first_leaf;
            first_leaf += range.n_leaves;
        }
        growth.leaves.iter().for_each(|it| self.tiles.push(*it));
        let tree = self.tiles.tree();
        metrics::AUDIT_SEQUENCED.inc_by(tree.size() - record.size.cast_unsigned());
        let news = keys
            .statements
            .iter()
            .filter(|(number, _)| record.key_number < *number);
        let checkpoint = Checkpoint {
            origin: Origin {
                tenant: record.tenant.clone(),
                incarnation: record.incarnation.cast_unsigned(),
            },
            size: tree.size(),
            root: tree.root(),
            number: (record.n_checkpoints + 1).cast_unsigned(),
            at_ms: now_ms,
            cursors: cursors.to_owned(),
            rotations: news.map(|(_, statement)| statement.clone()).collect(),
        };
        let note = checkpoint.sign(&keys.signer);
        let events = checkpoint_events(&Told {
            origin: &checkpoint.origin,
            number: checkpoint.number,
            size: checkpoint.size,
            root: checkpoint.root.base64(),
            note: &note,
            time: &rfc3339(now_ms),
            sequence: (record.n_events + 1).cast_unsigned(),
            leaves: &growth.ids,
        });
        record.size = first_leaf;
        record.n_checkpoints += 1;
        record.n_events += i64::try_from(events.len()).unwrap_or(i64::MAX);
        record.key_number = keys.number;
        LogRound {
            log: record.clone(),
            tiles: self.tiles.take_changed(),
            ranges,
            checkpoint: CheckpointRecord {
                tenant: record.tenant.clone(),
                incarnation: record.incarnation,
                number: record.n_checkpoints,
                size: record.size,
                at_ms: now_ms,
                note,
            },
            events: events.join("\n"),
        }
    }
}

/// A log as it is stored, or the one that begins; `None` when it is not what was signed last.
async fn open(
    store: &dyn AuditLogStore,
    tenant: &str,
    incarnation: i64,
) -> Result<Option<Log>, StoreError> {
    match stored(store, tenant, incarnation).await {
        Err(StoreError::Corrupt { .. }) => Ok(None),
        stored => stored,
    }
}

async fn stored(
    store: &dyn AuditLogStore,
    tenant: &str,
    incarnation: i64,
) -> Result<Option<Log>, StoreError> {
    let logs = store.logs(tenant).await?;
    let found = logs.into_iter().find(|it| it.incarnation == incarnation);
    let record = found.unwrap_or_else(|| LogRecord {
        tenant: tenant.to_owned(),
        incarnation,
        ..LogRecord::default()
    });
    let size = record.size.cast_unsigned();
    let edge = store
        .tiles(tenant, incarnation, &Tiles::edge_of(size))
        .await?;
    let hashes_of = |id| {
        let mut tiles = edge.iter();
        tiles.find(|it| it.id == id).map(|it| it.hashes.clone())
    };
    let Some(tiles) = Tiles::open(size, hashes_of) else {
        return Ok(None);
    };
    let after = record.n_checkpoints - 1;
    let signed = store.checkpoints(tenant, incarnation, after, 2).await?;
    let is_whole = match &signed[..] {
        [] => record.n_checkpoints == 0 && size == 0,
        [last] => last.number == record.n_checkpoints && is_signed(last, &tiles),
        // The log is older than its checkpoints.
        _ => false,
    };
    Ok(is_whole.then_some(Log { record, tiles }))
}

/// Whether a checkpoint is that of a tree.
fn is_signed(checkpoint: &CheckpointRecord, tiles: &Tiles) -> bool {
    let tree = tiles.tree();
    Checkpoint::parse_unverified(&checkpoint.note)
        .is_ok_and(|(it, _)| it.size == tree.size() && it.root == tree.root())
}

/// SHA-256 of how far every partition is, hex.
fn cursors_digest(held: &Held, moved: &[Cursor]) -> String {
    let mut all = held.sequenced.clone();
    all.extend(moved.iter().map(|it| (it.partition, it.batch)));
    let mut hasher = Sha256::new();
    for (partition, batch) in all {
        hasher.update(format!("{partition}:{batch}\n"));
    }
    hex::encode(hasher.finalize())
}
