//! Writes what checkpoints cover into segments.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus::{IntGauge, register_int_gauge};
use sha2::{Digest, Sha256};

use btrust_integrity::archive::checkpoint_line;
use btrust_integrity::tree::{Hash, Tree};
use btrust_platform::clock::SharedClock;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::KeyError;
use btrust_platform::objects::{EvidenceStore, OBJECT_BYTES_MAX, ObjectError, byte_stream};
use btrust_platform::relational::{Relational, RelationalError, Row, Transaction, Value, places};
use btrust_platform::telemetry::causes;
use btrust_platform::workflow_keys::WorkflowKeys;
use btrust_schemas::ids::{ObjectId, WorkflowId};

const SELECT_LOGS: &str = "SELECT tenant, incarnation, MIN(told_ms), COUNT(DISTINCT number) \
     FROM archive_checkpoint GROUP BY tenant, incarnation ORDER BY tenant, incarnation";
const SELECT_END: &str = "SELECT last_number, size, peaks FROM archive_segment \
     WHERE tenant = ? AND incarnation = ? ORDER BY last_number DESC LIMIT 1";
const SELECT_CHUNKS: &str = "SELECT number, n_chunks, size, root, note, leaves FROM archive_checkpoint \
     WHERE tenant = ? AND incarnation = ? AND ? < number ORDER BY number, chunk LIMIT 1000";
const INSERT_SEGMENT: &str = "INSERT INTO archive_segment (tenant, incarnation, last_number, first_number, \
     first_leaf, size, object, n_bytes, sha256, peaks, sealed_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
const DELETE_CHECKPOINTS: &str =
    "DELETE FROM archive_checkpoint WHERE tenant = ? AND incarnation = ? AND number <= ?";
const SELECT_SEGMENTS: &str = "SELECT incarnation, first_number, last_number, first_leaf, size, object, n_bytes, sha256 \
     FROM archive_segment WHERE tenant = ? ORDER BY incarnation, last_number";

/// How long checkpoints wait for others to share a segment with, ms.
///
/// Source: 24 objects a day and tenant; what waits is durable in the database.
pub const SEGMENT_EVERY_MS: i64 = 3_600_000;
/// Checkpoints that are sealed without waiting for more.
///
/// Source: a checkpoint has about 1,000 records of 2 KiB, and a segment should stay below [`SEGMENT_BYTES`].
const CHECKPOINTS_MAX: i64 = 6;
/// Bytes after which a segment ends with the checkpoint at hand.
///
/// Source: a quarter of what one object may have, so that one more ordinary checkpoint fits into it.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a part: a segment with a checkpoint of very large records is stored as several objects.
///
/// Source: what one object may have.
const PART_BYTES: usize = 64 * 1024 * 1024;
const _: () = assert!(PART_BYTES as u64 == OBJECT_BYTES_MAX);
/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Records that are read or deleted by one statement.
const RECORDS_MAX: usize = 500;

static OLDEST_MS: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "How long the oldest checkpoint has waited for its segment, ms.";
    register_int_gauge!("archive_oldest_checkpoint_milliseconds", help)
        .expect("the metric is registered once")
});

/// Why nothing could be sealed or read, as the choices of the caller.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the database of the archive does not answer")]
    Database(#[from] RelationalError),
    #[error("the object store does not answer")]
    Objects(#[from] ObjectError),
    #[error("the keys do not answer")]
    Keys(#[from] KeyError),
    /// The segment is not the one that was stored.
    #[error("the segment that ends with checkpoint {last_number} is not the one that was stored")]
    Tampered { last_number: i64 },
}

/// A sealed segment of a tenant's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub incarnation: i64,
    /// Number of its first checkpoint.
    pub first_number: i64,
    /// Number of the checkpoint that it ends with.
    pub last_number: i64,
    /// Leaves of the log before it, and up to its end.
    pub leaves: std::ops::Range<i64>,
    /// Its object, or the first of them where it is stored in several parts.
    pub object: String,
    pub n_bytes: i64,
    /// Of all its bytes.
    pub sha256: String,
}

/// Seals segments, beside other processes that do.
pub struct Sealer {
    database: Relational,
    objects: EvidenceStore,
    workflow_keys: Arc<dyn WorkflowKeys>,
    clock: SharedClock,
    segment_every_ms: i64,
    part_bytes: usize,
}

/// A checkpoint whose parts have all come.
struct Told {
    number: i64,
    size: i64,
    root: String,
    note: String,
    leaves: Vec<String>,
}

/// A segment on its way.
#[derive(Default)]
struct Draft {
    lines: Vec<u8>,
    ids: Vec<String>,
    first_number: i64,
    last_number: i64,
    first_leaf: i64,
    size: i64,
    /// Of everything up to its end; `None` where the stream no longer has the beginning of the log.
    tree: Option<Tree>,
}

impl Sealer {
    #[must_use]
    pub fn new(
        database: Relational,
        objects: EvidenceStore,
        workflow_keys: Arc<dyn WorkflowKeys>,
        clock: SharedClock,
    ) -> Self {
        Self {
            database,
            objects,
            workflow_keys,
            clock,
            segment_every_ms: SEGMENT_EVERY_MS,
            part_bytes: PART_BYTES,
        }
    }

    /// The same with another patience, ms.
    #[must_use]
    pub fn every(mut self, segment_every_ms: i64) -> Self {
        self.segment_every_ms = segment_every_ms;
        self
    }

    /// The same with parts of another size, bytes; whoever reads them has to know it.
    #[must_use]
    pub fn in_parts_of(mut self, part_bytes: usize) -> Self {
        self.part_bytes = part_bytes;
        self
    }

    /// Seals what is due until `shutdown`.
    pub async fn run(self, shutdown: Shutdown) {
        while !shutdown.is_triggered() {
            if let Err(error) = self.seal_due().await {
                let causes = causes(&error);
                tracing::warn!(%error, causes, "the archive will try again");
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Seals a segment of every log that has waited long enough, or has enough for one; how many.
    ///
    /// # Errors
    ///
    /// The first [`ArchiveError`]; whatever else can be sealed is.
    pub async fn seal_due(&self) -> Result<usize, ArchiveError> {
        let now_ms = self.clock.now_ms();
        let mut oldest_ms = now_ms;
        let (mut n_sealed, mut failed) = (0, None);
        for row in self.database.fetch(SELECT_LOGS, &[]).await? {
            let (tenant, incarnation) = (row.text(0)?, row.int(1)?);
            let (told_ms, n_checkpoints) = (row.int(2)?, row.int(3)?);
            oldest_ms = oldest_ms.min(told_ms);
            let is_due = told_ms + self.segment_every_ms <= now_ms;
            if is_due || CHECKPOINTS_MAX <= n_checkpoints {
                match self.seal(&tenant, incarnation).await {
                    Ok(is_sealed) => n_sealed += usize::from(is_sealed),
                    // One log's fault keeps no other from its segment.
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        OLDEST_MS.set(now_ms - oldest_ms);
        failed.map_or(Ok(n_sealed), Err)
    }

    /// Seals the next segment of a log; `false` when some record of its next checkpoint has not come yet.
    async fn seal(&self, tenant: &str, incarnation: i64) -> Result<bool, ArchiveError> {
        let Some(draft) = self.draft(tenant, incarnation).await? else {
            return Ok(false);
        };
        let numbers = (draft.first_number, draft.last_number);
        let object = object_id(tenant, incarnation, numbers, 0);
        let owner = (tenant.to_owned(), object.workflow);
        self.workflow_keys.create_many(&[owner]).await?;
        for (part, bytes) in (0..).zip(draft.lines.chunks(self.part_bytes)) {
            let object = object_id(tenant, incarnation, numbers, part);
            let bytes = byte_stream(bytes.to_vec());
            self.objects
                .put_as(tenant, object, "application/jsonl", bytes)
                .await?;
        }
        let n_bytes = draft.lines.len();
        let sha256 = hex::encode(Sha256::digest(&draft.lines));
        let peaks = draft.tree.as_ref().map(|it| Hash::joined(it.peaks()));
        let peaks = peaks.unwrap_or_default();
        let mut transaction = self.database.begin().await?;
        let values = [
            tenant.into(),
            incarnation.into(),
            draft.last_number.into(),
            draft.first_number.into(),
            draft.first_leaf.into(),
            draft.size.into(),
            Value::Text(&object.to_string()),
            i64::try_from(n_bytes).unwrap_or(i64::MAX).into(),
            (&sha256).into(),
            Value::Bytes(&peaks),
            self.clock.now_ms().into(),
        ];
        // In the transaction: another process may have sealed up to another checkpoint meanwhile.
        let key = [tenant.into(), incarnation.into()];
        let end = end(&transaction.fetch_locked(SELECT_END, &key).await?)?;
        if end.is_some_and(|it| draft.first_number <= it.number) {
            return Ok(false);
        }
        match transaction.execute(INSERT_SEGMENT, &values).await {
            Err(RelationalError::Taken) => return Ok(false),
            inserted => inserted?,
        };
        forget(&mut transaction, tenant, &draft.ids).await?;
        let values = [tenant.into(), incarnation.into(), draft.last_number.into()];
        transaction.execute(DELETE_CHECKPOINTS, &values).await?;
        transaction.commit().await?;
        tracing::info!(
            tenant,
            size = draft.size,
            n_bytes,
            "sealed a segment of the archive"
        );
        Ok(true)
    }

    /// Writes as many of the next checkpoints as are complete and fit, with their records.
    async fn draft(&self, tenant: &str, incarnation: i64) -> Result<Option<Draft>, ArchiveError> {
        let key = [tenant.into(), incarnation.into()];
        let before = end(&self.database.fetch(SELECT_END, &key).await?)?;
        let last_number = before.as_ref().map_or(-1, |it| it.number);
        let mut draft = Draft {
            last_number,
            size: before.as_ref().map_or(0, |it| it.size),
            tree: before
                .as_ref()
                .map_or(Some(Tree::default()), |it| it.tree.clone()),
            ..Draft::default()
        };
        let values = [tenant.into(), incarnation.into(), last_number.into()];
        let rows = self.database.fetch(SELECT_CHUNKS, &values).await?;
        let mut is_first = true;
        for told in complete(&rows)? {
            // Where nothing was archived yet, the log begins with what the stream still has.
            let is_next = told.number == draft.last_number + 1 || (is_first && before.is_none());
            if !is_next || SEGMENT_BYTES <= draft.lines.len() {
                break;
            }
            let n_leaves = i64::try_from(told.leaves.len()).unwrap_or(i64::MAX);
            if is_first {
                draft.first_number = told.number;
                draft.first_leaf = told.size - n_leaves;
                if before.is_none() {
                    draft.size = draft.first_leaf;
                    draft.tree = draft.tree.filter(|_| draft.first_leaf == 0);
                }
            }
            if draft.size + n_leaves != told.size {
                let number = told.number;
                tracing::error!(
                    tenant,
                    number,
                    "a checkpoint does not name all of its records"
                );
                break;
            }
            let Some(records) = self.records(tenant, &told.leaves).await? else {
                break;
            };
            if !write(&mut draft, tenant, told, &records) {
                break;
            }
            is_first = false;
        }
        Ok((!is_first).then_some(draft))
    }

    /// The records of these leaves in their order, if all have come.
    async fn records(
        &self,
        tenant: &str,
        leaves: &[String],
    ) -> Result<Option<Vec<Vec<u8>>>, RelationalError> {
        let mut found: HashMap<String, Vec<u8>> = HashMap::with_capacity(leaves.len());
        for some in leaves.chunks(RECORDS_MAX) {
            let sql = format!(
                "SELECT id, bytes FROM archive_record WHERE tenant = ? AND id IN {}",
                places(1, some.len())
            );
            let mut values = vec![Value::from(tenant)];
            values.extend(some.iter().map(Value::from));
            for row in self.database.fetch(&sql, &values).await? {
                found.insert(row.text(0)?, row.bytes(1)?);
            }
        }
        let mut records = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let Some(bytes) = found.remove(leaf) else {
                tracing::debug!(tenant, leaf, "a record of a checkpoint has not come yet");
                return Ok(None);
            };
            records.push(bytes);
        }
        Ok(Some(records))
    }

    /// The sealed segments of a tenant, in the order of its log.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Database`].
    pub async fn segments(&self, tenant: &str) -> Result<Vec<Segment>, ArchiveError> {
        let rows = self
            .database
            .fetch(SELECT_SEGMENTS, &[tenant.into()])
            .await?;
        let segment = |row: &Row| {
            Ok(Segment {
                incarnation: row.int(0)?,
                first_number: row.int(1)?,
                last_number: row.int(2)?,
                leaves: row.int(3)?..row.int(4)?,
                object: row.text(5)?,
                n_bytes: row.int(6)?,
                sha256: row.text(7)?,
            })
        };
        let segments: Result<Vec<Segment>, RelationalError> = rows.iter().map(segment).collect();
        Ok(segments?)
    }

    /// The lines of a segment.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`].
    pub async fn read(&self, tenant: &str, segment: &Segment) -> Result<Vec<u8>, ArchiveError> {
        let last_number = segment.last_number;
        let tampered = ArchiveError::Tampered { last_number };
        let Ok(first) = segment.object.parse::<ObjectId>() else {
            return Err(tampered);
        };
        let Ok(n_bytes) = usize::try_from(segment.n_bytes) else {
            return Err(tampered);
        };
        let mut lines = Vec::new();
        for part in 0..n_bytes.div_ceil(self.part_bytes) {
            let numbers = (segment.first_number, last_number);
            let object = match part {
                0 => first,
                _ => object_id(tenant, segment.incarnation, numbers, part),
            };
            let bytes = self.objects.get_object(tenant, object.workflow, object);
            lines.extend_from_slice(&bytes.await?);
        }
        if hex::encode(Sha256::digest(&lines)) != segment.sha256 {
            return Err(tampered);
        }
        Ok(lines)
    }
}

/// Adds records and their checkpoint; `false` when they are not what the checkpoint has signed.
fn write(draft: &mut Draft, tenant: &str, told: Told, records: &[Vec<u8>]) -> bool {
    let leaves: Vec<Hash> = records.iter().map(|it| Hash::of_leaf(it)).collect();
    if let Some(tree) = &draft.tree {
        let mut tree = tree.clone();
        for leaf in &leaves {
            tree.push(*leaf);
        }
        if tree.root().base64() != told.root {
            let number = told.number;
            tracing::error!(
                tenant,
                number,
                "the records of a checkpoint do not lead to its root"
            );
            return false;
        }
        draft.tree = Some(tree);
    }
    for bytes in records {
        draft.lines.extend_from_slice(bytes);
        draft.lines.push(b'\n');
    }
    let line = checkpoint_line(&told.note, Some(&leaves));
    draft.lines.extend_from_slice(line.as_bytes());
    draft.lines.push(b'\n');
    draft.size = told.size;
    draft.last_number = told.number;
    draft.ids.extend(told.leaves);
    true
}

/// The checkpoints of which every part has come, up to the first of which one has not.
fn complete(rows: &[Row]) -> Result<Vec<Told>, RelationalError> {
    let mut complete: Vec<Told> = Vec::new();
    let mut n_missing = 0;
    for row in rows {
        let (number, n_chunks) = (row.int(0)?, row.int(1)?);
        let leaves: Vec<String> = serde_json::from_str(&row.text(5)?).unwrap_or_default();
        match complete.last_mut() {
            Some(told) if told.number == number => {
                told.leaves.extend(leaves);
                n_missing -= 1;
            }
            _ if n_missing != 0 => break,
            _ => {
                n_missing = n_chunks - 1;
                complete.push(Told {
                    number,
                    size: row.int(2)?,
                    root: row.text(3)?,
                    note: row.text(4)?,
                    leaves,
                });
            }
        }
    }
    if n_missing != 0 {
        complete.pop();
    }
    Ok(complete)
}

/// How far a log is sealed.
struct End {
    number: i64,
    size: i64,
    tree: Option<Tree>,
}

fn end(rows: &[Row]) -> Result<Option<End>, RelationalError> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let (number, size) = (row.int(0)?, row.int(1)?);
    let peaks = Hash::many(&row.bytes(2)?);
    let tree = u64::try_from(size).ok().zip(peaks);
    Ok(Some(End {
        number,
        size,
        tree: tree.and_then(|(size, peaks)| Tree::from_peaks(size, peaks)),
    }))
}

async fn forget(
    transaction: &mut Transaction,
    tenant: &str,
    ids: &[String],
) -> Result<(), RelationalError> {
    for some in ids.chunks(RECORDS_MAX) {
        let sql = format!(
            "DELETE FROM archive_record WHERE tenant = ? AND id IN {}",
            places(1, some.len())
        );
        let mut values = vec![Value::from(tenant)];
        values.extend(some.iter().map(Value::from));
        transaction.execute(&sql, &values).await?;
    }
    Ok(())
}

/// The object of a part of a segment: the same whenever the same segment is sealed.
///
/// Objects belong to workflows, whose keys seal them; the archive of a tenant has one that never runs.
fn object_id(tenant: &str, incarnation: i64, numbers: (i64, i64), part: usize) -> ObjectId {
    let (first_number, last_number) = numbers;
    let archive: [u8; 32] = Sha256::digest(format!("archive\n{tenant}")).into();
    let mut rest = [0; 15];
    rest.copy_from_slice(&archive[1..16]);
    let mut name = format!("segment\n{tenant}\n{incarnation}\n{first_number}\n{last_number}");
    if 0 < part {
        name = format!("{name}\n{part}");
    }
    let segment: [u8; 32] = Sha256::digest(name).into();
    let mut random = [0; 8];
    random.copy_from_slice(&segment[..8]);
    ObjectId {
        workflow: WorkflowId::new(archive[0], rest),
        random,
    }
}
