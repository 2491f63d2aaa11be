//! What a round takes from the journal, and what it leaves: damaged rows hold up nobody but their own.
//!
//! Where a row cannot be read, the records of its tenant in its partition are set aside from it on, and the cursor
//! of the partition goes on: so no record of a tenant gets a place before an earlier one of the same partition. Of a
//! row that names no tenant anybody may be the owner: its partition stops there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use btrust_integrity::record::Heading;
use btrust_integrity::tree::Hash;

use super::trouble::Code;
use super::{Behind, ROUND_RANGES_MAX, ROUND_ROWS_MAX, SequencerPorts};
use crate::store::audit_log::{PublicRow, RangeRecord, SetAside};
use crate::store::{Cursor, StoreError};
use crate::stream_events::AUDIT_PREFIX;

/// Journal rows read of one partition at a time.
const PAGE: u32 = 512;

/// What is set aside, by tenant and partition.
pub type Aside = BTreeMap<(String, u8), SetAside>;

/// What a round adds to a log.
#[derive(Default)]
pub struct Growth {
    pub ids: Vec<String>,
    pub leaves: Vec<Hash>,
    pub ranges: Vec<RangeRecord>,
}

/// One round, as it is gathered.
pub struct Intake {
    pub cursors: Vec<Cursor>,
    pub growths: BTreeMap<String, Growth>,
    pub aside: Aside,
    /// Where partitions stop: at a row of which nobody knows whose it is.
    pub stopped: BTreeMap<u8, i64>,
    /// When the commits were made that have places now, ms.
    pub committed_ms: Vec<i64>,
    n_rows: usize,
    n_ranges: usize,
    now_ms: i64,
}

/// A record, by the tenant whose it is.
struct Taken<'r> {
    tenant: Cow<'r, str>,
    id: String,
    leaf: Hash,
}

impl Intake {
    pub fn new(aside: Aside, now_ms: i64) -> Self {
        Self {
            cursors: Vec::new(),
            growths: BTreeMap::new(),
            aside,
            stopped: BTreeMap::new(),
            committed_ms: Vec::new(),
            n_rows: 0,
            n_ranges: 0,
            now_ms,
        }
    }

    /// Whether the round has as much as it may have.
    pub fn is_full(&self) -> bool {
        ROUND_ROWS_MAX <= self.n_rows || ROUND_RANGES_MAX <= self.n_ranges
    }

    /// Takes what is behind, in the order of partitions and batches.
    pub async fn read(
        &mut self,
        ports: &SequencerPorts,
        behind: &[Behind],
    ) -> Result<(), StoreError> {
        for it in behind {
            let after = self.read_partition(ports, it).await?;
            if it.after < after {
                self.cursors.push(Cursor {
                    partition: it.partition,
                    batch: after,
                });
            }
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// How far the partition is in the logs, or set aside.
    async fn read_partition(
        &mut self,
        ports: &SequencerPorts,
        behind: &Behind,
    ) -> Result<i64, StoreError> {
        let partition = behind.partition;
        let mut after = behind.after;
        while after < behind.until && !self.is_full() {
            let mut rows = ports.log.public_rows(partition, after, PAGE).await?;
            // A commit may be seen before it is durable; what the stream has is.
            rows.retain(|row| row.batch <= behind.until);
            if rows.is_empty() {
                // Nothing is left of these batches: their workflows were deleted.
                return Ok(behind.until);
            }
            for row in rows {
                if self.is_full() {
                    return Ok(after);
                }
                self.n_rows += 1;
                if let Some(records) = records(&row) {
                    for record in records {
                        self.take(partition, &row, record);
                    }
                } else if let Some(tenant) = ports.log.tenant_of(&row.subject).await? {
                    self.put_aside(&tenant, partition, row.batch, Code::RowDamaged);
                } else {
                    self.stopped.insert(partition, row.batch);
                    return Ok(after);
                }
                after = row.batch;
            }
        }
        Ok(after)
    }

    fn take(&mut self, partition: u8, row: &PublicRow, record: Taken<'_>) {
        let place = (record.tenant.into_owned(), partition);
        if !self.aside.contains_key(&place) {
            self.committed_ms.push(row.committed_ms);
            let growth = self.growths.entry(place.0).or_default();
            self.n_ranges += growth.add(partition, row.batch, record.id, record.leaf);
        }
    }

    /// Sets the records of a tenant in a partition aside from `batch` on.
    pub fn put_aside(&mut self, tenant: &str, partition: u8, batch: i64, code: Code) {
        let now_ms = self.now_ms;
        let place = (tenant.to_owned(), partition);
        let aside = self.aside.entry(place).or_insert_with(|| SetAside {
            tenant: tenant.to_owned(),
            partition,
            batch,
            code: String::new(),
            since_ms: now_ms,
        });
        aside.batch = aside.batch.min(batch);
        code.word().clone_into(&mut aside.code);
    }

    /// Drops what was gathered of a log that cannot be gone on with, and sets it aside.
    pub fn drop_log(&mut self, tenant: &str) {
        let ranges = self.growths.remove(tenant).map(|it| it.ranges);
        for range in ranges.into_iter().flatten() {
            self.put_aside(tenant, range.partition, range.first_batch, Code::LogDamaged);
        }
    }

    /// Takes what was set aside of a tenant, up to where its partitions are by now; whether there is more to take
    /// that can be read.
    pub async fn catch_up(
        &mut self,
        ports: &SequencerPorts,
        tenant: &str,
        sequenced: &BTreeMap<u8, i64>,
    ) -> Result<bool, StoreError> {
        let of_tenant = |it: &&SetAside| it.tenant == tenant;
        let waiting: Vec<SetAside> = self.aside.values().filter(of_tenant).cloned().collect();
        for it in waiting {
            if self.is_full() {
                return Ok(true);
            }
            let place = (it.tenant.clone(), it.partition);
            self.aside.remove(&place);
            let until = sequenced.get(&it.partition).copied().unwrap_or_default();
            let left = self.read_aside(ports, &it, until).await?;
            if let Some((batch, code)) = left {
                let code = code.map_or_else(|| it.code.clone(), |it| it.word().to_owned());
                self.aside.insert(place, SetAside { batch, code, ..it });
            }
        }
        Ok(false)
    }

    /// Takes what can be read of what was set aside; where it goes on, and why not now if it cannot be read.
    async fn read_aside(
        &mut self,
        ports: &SequencerPorts,
        aside: &SetAside,
        until: i64,
    ) -> Result<Option<(i64, Option<Code>)>, StoreError> {
        let mut after = aside.batch - 1;
        while after < until {
            let mut rows = ports.log.public_rows(aside.partition, after, PAGE).await?;
            rows.retain(|row| row.batch <= until);
            if rows.is_empty() {
                break;
            }
            for row in rows {
                if self.is_full() {
                    return Ok(Some((row.batch, None)));
                }
                self.n_rows += 1;
                if let Some(records) = records(&row) {
                    for record in records.into_iter().filter(|it| it.tenant == aside.tenant) {
                        self.take(aside.partition, &row, record);
                    }
                } else {
                    let owner = ports.log.tenant_of(&row.subject).await?;
                    if owner.is_none_or(|it| it == aside.tenant) {
                        return Ok(Some((row.batch, Some(Code::RowDamaged))));
                    }
                }
                after = row.batch;
            }
        }
        Ok(None)
    }
}

/// The audit records of a row; `None` when it cannot be read.
fn records(row: &PublicRow) -> Option<Vec<Taken<'_>>> {
    let public = row.public.as_ref()?;
    let lines = public
        .lines()
        .filter_map(|it| it.strip_prefix(AUDIT_PREFIX));
    lines
        .map(|line| {
            let heading = Heading::of(line.as_bytes())?;
            Some(Taken {
                tenant: heading.tenant,
                id: heading.id.into_owned(),
                leaf: Hash::of_leaf(line.as_bytes()),
            })
        })
        .collect()
}

impl Growth {
    /// Adds a record; how many ranges that has begun.
    fn add(&mut self, partition: u8, batch: i64, id: String, leaf: Hash) -> usize {
        self.ids.push(id);
        self.leaves.push(leaf);
        if let Some(range) = self.ranges.last_mut()
            && range.partition == partition
        {
            range.n_leaves += 1;
            range.last_batch = batch;
            return 0;
        }
        self.ranges.push(RangeRecord {
            incarnation: 0,
            first_leaf: 0,
            n_leaves: 1,
            partition,
            first_batch: batch,
            last_batch: batch,
        });
        1
    }
}
