//! The database of a simulation: tables, one lock on the leases, and transactions that outlive callers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use btrust_schemas::ids::WorkflowId;

use crate::store::definitions::VersionRecord;
use crate::store::operations::{IncidentRow, Raised, Resolution};
use crate::store::tenants::AcknowledgementRecord;
use crate::store::{
    AcquireRequest, Acquired, ActLog, Batch, Committed, Cursor, Fence, JournalRow, OwnedPartition,
    StartKey, StartRecord, StoreError, Takeover, WorkflowRecord, Write,
};

#[derive(Clone)]
pub struct Lease {
    pub owner: String,
    pub epoch: i64,
    pub until_ms: i64,
}

/// A journal row with what the outbox shows of it.
#[derive(Clone)]
pub struct Journalled {
    pub row: JournalRow,
    pub batch: i64,
    pub committed_ms: i64,
    pub public: String,
}

#[derive(Default)]
pub struct Tables {
    pub leases: BTreeMap<u8, Lease>,
    /// By workflow, in the order of sequences.
    pub journal: BTreeMap<WorkflowId, Vec<Journalled>>,
    /// Which workflow has which batch of a partition.
    pub batches: BTreeMap<(u8, i64), WorkflowId>,
    pub workflows: BTreeMap<WorkflowId, WorkflowRecord>,
    pub starts: BTreeMap<StartKey, StartRecord>,
    pub cursors: BTreeMap<u8, i64>,
    /// By workflow and task.
    pub incidents: BTreeMap<(WorkflowId, i64), IncidentRow>,
    /// With their envelopes.
    pub versions: Vec<(String, VersionRecord, String)>,
    pub acknowledgements: Vec<AcknowledgementRecord>,
    pub digest_keys: BTreeMap<String, Vec<u8>>,
    /// With everything that was ever recorded in them.
    pub act_logs: BTreeMap<WorkflowId, ActLog>,
}

impl Tables {
    /// The number and time of a partition's last batch.
    pub fn last_batch(&self, partition: u8) -> (i64, i64) {
        let last = self
            .batches
            .range((partition, 0)..=(partition, i64::MAX))
            .next_back();
        let Some((&(_, batch), workflow)) = last else {
            return (0, 0);
        };
        let rows = &self.journal[workflow];
        let row = rows.iter().find(|it| it.batch == batch);
        (batch, row.map_or(0, |it| it.committed_ms))
    }

    /// Partitions whose lease is not the writer's any more.
    pub fn fenced(&self, fences: &[Fence], now_ms: i64) -> Vec<u8> {
        let is_ours = |it: &Fence| {
            let lease = self.leases.get(&it.partition);
            lease.is_some_and(|lease| lease.epoch == it.epoch && now_ms < lease.until_ms)
        };
        fences
            .iter()
            .filter(|it| !is_ours(it))
            .map(|it| it.partition)
            .collect()
    }

    pub fn acquire(&mut self, request: &AcquireRequest, now_ms: i64) -> Acquired {
        let mut partitions = Vec::new();
        for &partition in &request.partitions {
            let lease = self.leases.get(&partition);
            let is_free = lease.is_none_or(|it| it.until_ms <= now_ms);
            if request.takeover == Takeover::WhenExpired && !is_free {
                continue;
            }
            let epoch = lease.map_or(0, |it| it.epoch) + 1;
            let lease = Lease {
                owner: request.owner.clone(),
                epoch,
                until_ms: now_ms + request.lease_ms,
            };
            self.leases.insert(partition, lease);
            let (last_batch, last_commit_ms) = self.last_batch(partition);
            partitions.push(OwnedPartition {
                partition,
                epoch,
                last_batch,
                last_commit_ms,
            });
        }
        Acquired {
            incarnation: 1,
            partitions,
        }
    }

    /// Carries a batch out, or nothing of it.
    pub fn apply(&mut self, batch: &Batch, fenced: &[u8]) -> Result<Committed, StoreError> {
        let is_in = |it: &&Write| !fenced.contains(&it.workflow.partition());
        let writes: Vec<&Write> = batch.writes.iter().filter(is_in).collect();
        if !self.takes(&writes) {
            return Err(StoreError::DataRefused(sqlx::Error::RowNotFound));
        }
        for write in writes {
            self.write(write);
        }
        Ok(Committed {
            fenced: fenced.to_vec(),
        })
    }

    /// Whether no unique key of these is taken.
    fn takes(&self, writes: &[&Write]) -> bool {
        let mut batches = BTreeSet::new();
        let mut keys = BTreeSet::new();
        writes.iter().all(|write| {
            let batch = (write.workflow.partition(), write.batch);
            let rows = self.journal.get(&write.workflow);
            let mut sequences = rows.into_iter().flatten().map(|it| it.row.sequence);
            let is_new_row = !write.has_events()
                || (!sequences.any(|it| it == write.sequence)
                    && !self.batches.contains_key(&batch)
                    && batches.insert(batch));
            let start = write.start.as_ref();
            // A key that means a workflow moves only from that one.
            let fits = |it: &StartRecord| {
                it.replaces == self.starts.get(&it.key).map(|known| known.workflow)
            };
            is_new_row && start.is_none_or(|it| fits(it) && keys.insert(&it.key))
        })
    }

    /// Moves cursors, but for the partitions whose lease is lost; returns those.
    pub fn put_cursors(&mut self, cursors: &[Cursor], fences: &[Fence], now_ms: i64) -> Vec<u8> {
        let taken = self.fenced(fences, now_ms);
        let ours = cursors.iter().filter(|it| !taken.contains(&it.partition));
        self.cursors.extend(ours.map(|it| (it.partition, it.batch)));
        taken
    }

    /// Marks a workflow as stopped, unless the lease of its partition is lost; returns the partition then.
    pub fn put_incident(
        &mut self,
        workflow: WorkflowId,
        code: &str,
        fence: Fence,
        now_ms: i64,
    ) -> Vec<u8> {
        let fenced = self.fenced(&[fence], now_ms);
        let marked = self.workflows.get_mut(&workflow);
        if let Some(record) = marked.filter(|_| fenced.is_empty()) {
            record.incident = Some(code.to_owned());
        }
        fenced
    }

    /// Notes an incident of a workflow that is there, unless it is noted and open.
    pub fn raise_incident(&mut self, raised: &Raised) {
        let place = (raised.workflow, raised.task);
        let is_open = |it: &IncidentRow| it.resolution.is_none();
        let Some(record) = self.workflows.get(&raised.workflow) else {
            return;
        };
        if self.incidents.get(&place).is_some_and(is_open) {
            return;
        }
        let row = IncidentRow {
            workflow: raised.workflow,
            task: raised.task,
            tenant: record.columns.tenant.clone(),
            definition: record.columns.definition.clone(),
            version: record.columns.version,
            code: raised.code.clone(),
            state: raised.state.clone(),
            step: raised.step.clone(),
            attempt: raised.attempt,
            turn: raised.turn,
            raised_ms: raised.at_ms,
            resolution: None,
        };
        self.incidents.insert(place, row);
    }

    /// Closes an incident; says whether it was open.
    pub fn close_incident(&mut self, place: (WorkflowId, i64), resolution: &Resolution) -> bool {
        let row = self.incidents.get_mut(&place);
        let Some(row) = row.filter(|it| it.resolution.is_none()) else {
            return false;
        };
        row.resolution = Some(resolution.clone());
        true
    }

    /// Keeps the first statement of a kind.
    pub fn acknowledge(&mut self, record: &AcknowledgementRecord) {
        let is_same =
            |it: &AcknowledgementRecord| (&it.tenant, &it.kind) == (&record.tenant, &record.kind);
        if !self.acknowledgements.iter().any(is_same) {
            self.acknowledgements.push(record.clone());
        }
    }

    /// Keeps the first key of a tenant.
    pub fn digest_key(&mut self, tenant: &str, wrapped: &[u8]) -> Vec<u8> {
        let kept = self.digest_keys.entry(tenant.to_owned());
        kept.or_insert_with(|| wrapped.to_vec()).clone()
    }

    fn write(&mut self, write: &Write) {
        let id = write.workflow;
        assert!(
            write.deletion.is_none(),
            "nothing is deleted in a simulation"
        );
        if write.has_events() {
            self.batches.insert((id.partition(), write.batch), id);
            self.journal.entry(id).or_default().push(Journalled {
                row: JournalRow {
                    first_sequence: write.first_sequence,
                    sequence: write.sequence,
                    sealed_events: write.sealed_events.clone(),
                },
                batch: write.batch,
                committed_ms: write.committed_ms,
                public: write.public.clone(),
            });
        }
        if let Some(written) = &write.acts {
            let log = self.act_logs.entry(id).or_insert_with(|| ActLog {
                log: id,
                chain: String::new(),
                n_audit: 0,
                known: Vec::new(),
            });
            log.chain.clone_from(&write.snapshot.chain);
            log.n_audit = write.snapshot.n_audit;
            log.known.extend(written.acts.iter().cloned());
            return;
        }
        let known = self.workflows.get(&id);
        let known_incident = known.filter(|_| write.keeps_incident);
        let known_incident = known_incident.and_then(|it| it.incident.clone());
        let known = known.map(|it| it.columns.clone());
        let columns = write.columns.clone().or(known);
        let record = WorkflowRecord {
            workflow: id,
            columns: columns.expect("the first write of a workflow has its columns"),
            sequence: write.sequence,
            snapshot: write.snapshot.clone(),
            incident: known_incident,
            sealed_snapshot: write.sealed_snapshot.clone(),
        };
        self.workflows.insert(id, record);
        if let Some(start) = &write.start {
            let start = StartRecord {
                replaces: None,
                ..start.clone()
            };
            self.starts.insert(start.key.clone(), start);
        }
    }
}

#[derive(Default)]
pub struct Database {
    tables: Mutex<Tables>,
    /// Held by every transaction that takes or checks a lease, in the order of their coming.
    leases: Arc<tokio::sync::Mutex<()>>,
}

impl Database {
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every transaction on the leases that came before has ended.
    pub async fn lock_leases(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.leases).lock_owned().await
    }
}
