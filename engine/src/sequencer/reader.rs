//! What the logs can show: checkpoints, proofs, and the lines of archives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use btrust_integrity::archive::{checkpoint_line, withheld_line};
use btrust_integrity::record::{Heading, Record};
use btrust_integrity::tree::{
    Hash, Node, TILE_HASHES, TileId, consistency_nodes, inclusion_nodes, node_of_tile,
    prove_consistency, prove_inclusion, tile_of_node,
};
use btrust_platform::clock::rfc3339;
use btrust_schemas::audit::{
    AuditKeyView, AuditKeysView, CheckpointView, CheckpointsView, ConsistencyView, InclusionView,
};
use btrust_schemas::ids::WorkflowId;

use crate::error::EngineError;
use crate::store::audit_log::{
    AuditKey, AuditLogStore, CheckpointRecord, LogRecord, RangeRecord, SetAside,
};
use crate::store::{Cursor, Store, StoreError};
use crate::stream_events::AUDIT_PREFIX;

/// Checkpoints on a page.
pub const CHECKPOINTS_MAX: u32 = 100;
/// Journal rows read of one partition at a time.
const PAGE: u32 = 512;

/// Reads logs.
pub struct AuditReader {
    store: Arc<dyn Store>,
    log: Arc<dyn AuditLogStore>,
}

/// What has a place in a log.
pub(crate) struct Placed {
    cursors: BTreeMap<u8, i64>,
    aside: Vec<SetAside>,
}

impl Placed {
    /// Whether whose a record is must be known to say whether it has a place.
    pub(crate) fn depends_on_tenants(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Whether everything of a tenant in a partition has a place, up to a batch.
    pub(crate) fn has(&self, partition: u8, batch: i64, tenant: &str) -> bool {
        let waits =
            |it: &SetAside| it.partition == partition && it.tenant == tenant && it.batch <= batch;
        let cursor = self.cursors.get(&partition);
        cursor.is_some_and(|it| batch <= *it) && !self.aside.iter().any(waits)
    }
}

impl AuditReader {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, log: Arc<dyn AuditLogStore>) -> Self {
        Self { store, log }
    }

    /// What has a place in a log by now.
    pub(crate) async fn placed_by_now(&self) -> Result<Placed, StoreError> {
        let cursors = self.log.sequenced().await?;
        // After the cursors: what is set aside is so in the transaction that moves them beyond it.
        let aside = self.log.set_aside().await?;
        let cursor = |it: Cursor| (it.partition, it.batch);
        Ok(Placed {
            cursors: cursors.into_iter().map(cursor).collect(),
            aside,
        })
    }

    /// The keys that sign and have signed, with the statements between them.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`].
    pub async fn keys(&self) -> Result<AuditKeysView, EngineError> {
        let keys = self.log.audit_keys().await?;
        // A key ends when the next one begins.
        let ends = keys.iter().skip(1).map(|it| Some(rfc3339(it.created_ms)));
        let keys_with_ends = keys.iter().zip(ends.chain([None]));
        let view = |(it, until): (&AuditKey, Option<String>)| AuditKeyView {
            key: it.public_key.clone(),
            since: rfc3339(it.created_ms),
            until,
        };
        Ok(AuditKeysView {
            keys: keys_with_ends.map(view).collect(),
            rotations: keys.iter().filter_map(|it| it.statement.clone()).collect(),
        })
    }

    /// The incarnations of a tenant that have a log, the oldest first.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`].
    pub async fn incarnations(&self, tenant: &str) -> Result<Vec<i64>, EngineError> {
        let logs = self.log.logs(tenant).await?;
        Ok(logs.into_iter().map(|it| it.incarnation).collect())
    }

    /// The latest checkpoint of a tenant.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] where there is none yet.
    pub async fn latest(&self, tenant: &str) -> Result<CheckpointView, EngineError> {
        let log = self.log_of(tenant, None).await?;
        Ok(view(self.last_of(&log).await?))
    }

    /// Checkpoints of a log after one, a page; of the latest log where none is named.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for a log that there is not.
    pub async fn checkpoints(
        &self,
        tenant: &str,
        incarnation: Option<i64>,
        after: i64,
    ) -> Result<CheckpointsView, EngineError> {
        let log = self.log_of(tenant, incarnation).await?;
        let page = self
            .log
            .checkpoints(tenant, log.incarnation, after, CHECKPOINTS_MAX);
        let checkpoints: Vec<CheckpointView> = page.await?.into_iter().map(view).collect();
        let last = checkpoints.last().map(|it| it.number);
        Ok(CheckpointsView {
            next: last.filter(|it| *it < log.n_checkpoints),
            checkpoints,
        })
    }

    /// The proof that a record of a workflow is in the latest log that it can be in.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for what is not there, or not covered yet.
    pub async fn included(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        sequence: u64,
    ) -> Result<InclusionView, EngineError> {
        let rows = if workflow.is_act_log() {
            // It may be years long, and the numbers of its rows are those of its records.
            let row = self.log.public_act(workflow, sequence).await?;
            row.into_iter().collect()
        } else {
            self.log.public_of(workflow).await?
        };
        for row in rows {
            for line in records(&row.public) {
                let Ok(record) = Record::parse(line.as_bytes()) else {
                    continue;
                };
                if record.sequence == sequence && record.tenant == tenant {
                    return self
                        .placed(tenant, workflow.partition(), row.batch, line)
                        .await;
                }
            }
        }
        Err(EngineError::Unknown)
    }

    /// Every record of a workflow with its proof; all of one log lead to the same checkpoint.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for another tenant's, or where something is not covered yet.
    pub async fn all_included(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<Vec<InclusionView>, EngineError> {
        let mut all = Vec::new();
        for row in self.log.public_of(workflow).await? {
            for line in records(&row.public) {
                let heading = Heading::of(line.as_bytes()).ok_or(EngineError::Unknown)?;
                if heading.tenant != tenant {
                    return Err(EngineError::Unknown);
                }
                all.push(
                    self.placed(tenant, workflow.partition(), row.batch, line)
                        .await?,
                );
            }
        }
        if all.is_empty() {
            Err(EngineError::Unknown)
        } else {
            Ok(all)
        }
    }

    async fn placed(
        &self,
        tenant: &str,
        partition: u8,
        batch: i64,
        line: &str,
    ) -> Result<InclusionView, EngineError> {
        let range = self.log.range_of(tenant, partition, batch).await?;
        let range = range.ok_or(EngineError::Unknown)?;
        let leaf = Hash::of_leaf(line.as_bytes());
        let (from, to) = (range.first_leaf, range.first_leaf + range.n_leaves);
        let leaves = self.leaves(tenant, range.incarnation, from, to).await?;
        let at = leaves
            .iter()
            .position(|it| *it == leaf)
            .ok_or(EngineError::Unknown)?;
        let index = from + i64::try_from(at).map_err(|_| EngineError::Unknown)?;
        let mut view = self.leaf(tenant, Some(range.incarnation), index).await?;
        view.record = Some(line.to_owned());
        Ok(view)
    }

    /// The proof that a leaf is in its log, up to the last checkpoint.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for a leaf that no checkpoint covers.
    pub async fn leaf(
        &self,
        tenant: &str,
        incarnation: Option<i64>,
        index: i64,
    ) -> Result<InclusionView, EngineError> {
        let log = self.log_of(tenant, incarnation).await?;
        let checkpoint = self.last_of(&log).await?;
        if index < 0 || checkpoint.size <= index {
            return Err(EngineError::Unknown);
        }
        let (at, size) = (index.cast_unsigned(), checkpoint.size.cast_unsigned());
        let mut nodes = inclusion_nodes(at, size).ok_or(EngineError::Unknown)?;
        nodes.push(vec![Node {
            level: 0,
            index: at,
        }]);
        let tiles = self
            .tiles_of(tenant, log.incarnation, nodes.into_iter().flatten())
            .await?;
        let hash_of = |node| node_of_tile(node, tiles.get(&tile_of_node(node))?);
        let proof = prove_inclusion(at, size, hash_of).ok_or_else(damaged)?;
        let leaf_hash = hash_of(Node {
            level: 0,
            index: at,
        })
        .ok_or_else(damaged)?;
        Ok(InclusionView {
            incarnation: log.incarnation,
            leaf: index,
            leaf_hash: leaf_hash.base64(),
            proof: proof.iter().map(Hash::base64).collect(),
            record: None,
            checkpoint: view(checkpoint),
        })
    }

    /// The proof that a log of `from` leaves is the beginning of the one of `to` leaves.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for sizes that the log has not had.
    pub async fn consistency(
        &self,
        tenant: &str,
        incarnation: Option<i64>,
        from: i64,
        to: i64,
    ) -> Result<ConsistencyView, EngineError> {
        let log = self.log_of(tenant, incarnation).await?;
        if from < 0 || to < from || log.size < to {
            return Err(EngineError::Unknown);
        }
        let (first, second) = (from.cast_unsigned(), to.cast_unsigned());
        let nodes = consistency_nodes(first, second).ok_or(EngineError::Unknown)?;
        let tiles = self
            .tiles_of(tenant, log.incarnation, nodes.into_iter().flatten())
            .await?;
        let hash_of = |node| node_of_tile(node, tiles.get(&tile_of_node(node))?);
        let proof = prove_consistency(first, second, hash_of).ok_or_else(damaged)?;
        Ok(ConsistencyView {
            incarnation: log.incarnation,
            from,
            to,
            proof: proof.iter().map(Hash::base64).collect(),
        })
    }

    /// The lines of an archive that a checkpoint covers and the one before does not, the checkpoint last.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for a checkpoint that there is not.
    pub async fn archive(
        &self,
        tenant: &str,
        incarnation: i64,
        number: i64,
    ) -> Result<Vec<String>, EngineError> {
        let after = (number - 2).max(0);
        let mut two = self.log.checkpoints(tenant, incarnation, after, 2).await?;
        two.retain(|it| it.number == number || it.number + 1 == number);
        let checkpoint = two.pop().filter(|it| it.number == number);
        let checkpoint = checkpoint.ok_or(EngineError::Unknown)?;
        let (from, to) = (two.pop().map_or(0, |it| it.size), checkpoint.size);
        let leaves = self.leaves(tenant, incarnation, from, to).await?;
        let mut lines = BTreeMap::new();
        for range in self.log.ranges(tenant, incarnation, from, to).await? {
            self.read_range(tenant, &range, &mut lines).await?;
        }
        let line = |leaf: &Hash| {
            lines
                .get(leaf)
                .cloned()
                .unwrap_or_else(|| withheld_line(leaf))
        };
        let mut archive: Vec<String> = leaves.iter().map(line).collect();
        archive.push(checkpoint_line(&checkpoint.note, Some(&leaves)));
        Ok(archive)
    }

    /// The records of a tenant in a range, by their leaf.
    async fn read_range(
        &self,
        tenant: &str,
        range: &RangeRecord,
        lines: &mut BTreeMap<Hash, String>,
    ) -> Result<(), EngineError> {
        let mut after = range.first_batch - 1;
        while after < range.last_batch {
            let mut rows = self.store.outbox(range.partition, after, PAGE).await?;
            rows.retain(|it| it.batch <= range.last_batch);
            let Some(last) = rows.last() else { break };
            after = last.batch;
            for row in &rows {
                for line in records(&row.public) {
                    let heading = Heading::of(line.as_bytes());
                    if heading.is_some_and(|it| it.tenant == tenant) {
                        lines.insert(Hash::of_leaf(line.as_bytes()), line.to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    /// The hashes of leaves from `from` to before `to`.
    async fn leaves(
        &self,
        tenant: &str,
        incarnation: i64,
        from: i64,
        to: i64,
    ) -> Result<Vec<Hash>, EngineError> {
        let width = TILE_HASHES as u64;
        let (from, to) = (from.cast_unsigned(), to.cast_unsigned());
        let nodes = (from..to).map(|index| Node { level: 0, index });
        let tiles = self.tiles_of(tenant, incarnation, nodes.clone()).await?;
        let hash_of = |node: Node| {
            let within = usize::try_from(node.index % width).ok()?;
            tiles.get(&tile_of_node(node))?.get(within).copied()
        };
        let leaves: Option<Vec<Hash>> = nodes.map(hash_of).collect();
        leaves.ok_or_else(damaged)
    }

    async fn tiles_of(
        &self,
        tenant: &str,
        incarnation: i64,
        nodes: impl Iterator<Item = Node>,
    ) -> Result<BTreeMap<TileId, Vec<Hash>>, EngineError> {
        let wanted: BTreeSet<TileId> = nodes.map(tile_of_node).collect();
        let wanted: Vec<TileId> = wanted.into_iter().collect();
        let tiles = self.log.tiles(tenant, incarnation, &wanted).await?;
        Ok(tiles.into_iter().map(|it| (it.id, it.hashes)).collect())
    }

    async fn log_of(
        &self,
        tenant: &str,
        incarnation: Option<i64>,
    ) -> Result<LogRecord, EngineError> {
        let logs = self.log.logs(tenant).await?;
        let is_asked = |it: &LogRecord| incarnation.is_none_or(|asked| asked == it.incarnation);
        logs.into_iter().rfind(is_asked).ok_or(EngineError::Unknown)
    }

    async fn last_of(&self, log: &LogRecord) -> Result<CheckpointRecord, EngineError> {
        let after = log.n_checkpoints - 1;
        let mut last = self
            .log
            .checkpoints(&log.tenant, log.incarnation, after, 1)
            .await?;
        last.pop().ok_or(EngineError::Unknown)
    }
}

/// The audit records among the public events of a row.
fn records(public: &str) -> impl Iterator<Item = &str> {
    public
        .lines()
        .filter_map(|it| it.strip_prefix(AUDIT_PREFIX))
}

fn view(checkpoint: CheckpointRecord) -> CheckpointView {
    CheckpointView {
        incarnation: checkpoint.incarnation,
        number: checkpoint.number,
        size: checkpoint.size,
        at: rfc3339(checkpoint.at_ms),
        note: checkpoint.note,
    }
}

fn damaged() -> EngineError {
    StoreError::Corrupt {
        what: "audit_tile".to_owned(),
    }
    .into()
}
