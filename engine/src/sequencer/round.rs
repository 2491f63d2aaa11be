//! One round: rows of the journal become leaves, and each log that has grown is signed.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use btrust_integrity::checkpoint::{Checkpoint, Origin};
use btrust_integrity::events::{Told, checkpoint_events};
use btrust_integrity::record::Heading;
use btrust_integrity::tree::{Hash, Tiles};
use btrust_platform::clock::rfc3339;

use super::{Behind, Held, ROUND_ROWS_MAX, Sequencer, SequencerError, SigningKeys};
use crate::store::audit_log::{
    Appended, AuditLogStore, CheckpointRecord, LogRecord, LogRound, RangeRecord, Round,
};
use crate::store::{Cursor, OutboxRow};
use crate::stream_events::AUDIT_PREFIX;

/// Journal rows read of one partition at a time.
const PAGE: u32 = 512;
/// Logs that are kept in memory; each is at most 64 KiB.
const LOGS_MAX: usize = 512;

/// A log as the sequencer goes on with it.
pub struct Log {
    record: LogRecord,
    tiles: Tiles,
}

/// What a round adds to a log.
#[derive(Default)]
struct Growth {
    ids: Vec<String>,
    leaves: Vec<Hash>,
    ranges: Vec<RangeRecord>,
}

impl Sequencer {
    /// Makes one round of what is behind; what does not fit is left for the next one.
    pub(super) async fn round(&mut self, behind: &[Behind]) -> Result<Appended, SequencerError> {
        let keys = SigningKeys::open(
            &*self.ports.log,
            &*self.ports.keys,
            &self.ports.random,
            &*self.ports.clock,
        )
        .await?;
        let (cursors, growths) = self.read(behind).await?;
        let now_ms = self.ports.clock.now_ms();
        let log_store = &*self.ports.log;
        let Some(held) = &mut self.held else {
            return Ok(Appended::Fenced);
        };
        if LOGS_MAX < held.logs.len() {
            held.logs.clear();
        }
        let digest = cursors_digest(held, &cursors);
        let mut logs = Vec::with_capacity(growths.len());
        for (tenant, growth) in growths {
            // Taken out: a log that is not written must not be gone on with.
            let mut log = match held.logs.remove(&tenant) {
                Some(log) => log,
                None => open(log_store, &tenant, held.incarnation).await?,
            };
            logs.push(log.grow(growth, &keys, &digest, now_ms));
            held.logs.insert(tenant, log);
        }
        let key_number = keys.number;
        let round = Round {
            key_number,
            cursors,
            logs,
        };
        let appended = log_store.append(held.epoch, &round).await;
        if matches!(appended, Ok(Appended::Written)) {
            let moved = round.cursors.iter().map(|it| (it.partition, it.batch));
            held.sequenced.extend(moved);
            held.waiting_since_ms = None;
            held.has_untold |= !round.logs.is_empty();
        } else {
            held.logs.clear();
        }
        Ok(appended?)
    }

    /// The records of a round by tenant, in the order of their places, and how far that goes.
    async fn read(
        &self,
        behind: &[Behind],
    ) -> Result<(Vec<Cursor>, BTreeMap<String, Growth>), SequencerError> {
        let mut cursors = Vec::new();
        let mut growths: BTreeMap<String, Growth> = BTreeMap::new();
        let mut n_rows = 0;
        for it in behind {
            let mut after = it.after;
            while after < it.until && n_rows < ROUND_ROWS_MAX {
                let mut rows = self.ports.store.outbox(it.partition, after, PAGE).await?;
                // A commit may be seen before it is durable; what the stream has is.
                rows.retain(|row| row.batch <= it.until);
                let Some(last) = rows.last().map(|row| row.batch) else {
                    // Nothing is left of these batches: their workflows were deleted.
                    after = it.until;
                    break;
                };
                n_rows += rows.len();
                for row in rows {
                    take(it.partition, &row, &mut growths)?;
                }
                after = last;
            }
            if it.after < after {
                cursors.push(Cursor {
                    partition: it.partition,
                    batch: after,
                });
            }
            if ROUND_ROWS_MAX <= n_rows {
                break;
            }
        }
        Ok((cursors, growths))
    }
}

/// Takes the audit record of a row.
fn take(
    partition: u8,
    row: &OutboxRow,
    growths: &mut BTreeMap<String, Growth>,
) -> Result<(), SequencerError> {
    for line in row.public.lines() {
        let Some(record) = line.strip_prefix(AUDIT_PREFIX) else {
            continue;
        };
        let batch = row.batch;
        let heading = Heading::of(record.as_bytes());
        let heading = heading.ok_or(SequencerError::NotARecord { partition, batch })?;
        if !growths.contains_key(&*heading.tenant) {
            growths.insert(heading.tenant.clone().into_owned(), Growth::default());
        }
        let growth = growths
            .get_mut(&*heading.tenant)
            .expect("it was put there just now");
        growth.add(
            partition,
            batch,
            heading.id.into_owned(),
            Hash::of_leaf(record.as_bytes()),
        );
    }
    Ok(())
}

impl Growth {
    fn add(&mut self, partition: u8, batch: i64, id: String, leaf: Hash) {
        match self.ranges.last_mut() {
            Some(range) if range.partition == partition => {
                range.n_leaves += 1;
                range.last_batch = batch;
            }
            _ => self.ranges.push(RangeRecord {
                incarnation: 0,
                first_leaf: 0,
                n_leaves: 1,
                partition,
                first_batch: batch,
                last_batch: batch,
            }),
        }
        self.ids.push(id);
        self.leaves.push(leaf);
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

/// A log as it is stored, or the one that begins.
async fn open(
    store: &dyn AuditLogStore,
    tenant: &str,
    incarnation: i64,
) -> Result<Log, SequencerError> {
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
    let tiles = Tiles::open(size, hashes_of).ok_or(SequencerError::LogDamaged)?;
    Ok(Log { record, tiles })
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
