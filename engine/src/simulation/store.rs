//! A node's connection to the database: latency, faults, and the silence of a dead process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use btrust_schemas::ids::WorkflowId;

use crate::store::definitions::{
    Act, DefinitionStore, LiveRecord, NewVersion, VersionKey, VersionRecord,
};
use crate::store::operations::{
    IncidentFilter, IncidentRow, LimitsRow, OperationStore, Raised, Resolution,
};
use crate::store::schedules::{FiredRecord, ScheduleRecord, ScheduleStore};
use crate::store::tenants::{AcknowledgementRecord, TenantStore};
use crate::store::{
    AcquireRequest, Acquired, ActLog, ActsWanted, Batch, Committed, Cursor, Fence, JournalRow,
    OpenWorkflow, OutboxRow, StartKey, StartRecord, Store, StoreError, WorkflowRecord,
};

use super::node::Process;
use super::world::World;

/// What happens to one call of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// The connection is refused; nothing is written.
    Before,
    /// Another transaction is in the way; nothing is written.
    Deadlock,
    /// Nobody answers in time; nothing is written.
    Timeout,
    /// It is written, and the answer is lost.
    After,
    /// The connection is lost at COMMIT, which still arrives.
    LostPresent,
    /// The connection is lost at COMMIT, which never arrives.
    LostAbsent,
}

pub const STORE_FAULTS: [StoreFault; 6] = [
    StoreFault::Before,
    StoreFault::Deadlock,
    StoreFault::Timeout,
    StoreFault::After,
    StoreFault::LostPresent,
    StoreFault::LostAbsent,
];

/// How long a caller waits for a database that does not answer.
const TIMEOUT: Duration = Duration::from_secs(5);

pub struct SimulatedStore {
    pub(super) world: Arc<World>,
    pub(super) process: Arc<Process>,
}

pub(super) fn unavailable() -> StoreError {
    StoreError::Unavailable(sqlx::Error::PoolTimedOut)
}

impl SimulatedStore {
    pub fn new(world: Arc<World>, process: Arc<Process>) -> Self {
        Self { world, process }
    }

    /// The way to the database and back, for what writes nothing.
    pub(super) async fn read(&self) -> Result<(), StoreError> {
        let fault = self.world.read_fault();
        self.begins(fault).await.map(drop)
    }

    /// The way to the database; the fault is one that strikes after the write.
    async fn write_begins(&self) -> Result<Option<StoreFault>, StoreError> {
        let fault = self.world.store_fault();
        self.begins(fault).await
    }

    async fn begins(&self, fault: Option<StoreFault>) -> Result<Option<StoreFault>, StoreError> {
        self.process.runs().await;
        self.world.pause_a_little().await;
        self.process.runs().await;
        match fault {
            Some(StoreFault::Before | StoreFault::Deadlock) => Err(unavailable()),
            Some(StoreFault::Timeout) => {
                tokio::time::sleep(TIMEOUT).await;
                self.process.runs().await;
                Err(unavailable())
            }
            fault => Ok(fault),
        }
    }

    /// The way back from a write.
    async fn write_ends<T>(&self, fault: Option<StoreFault>, done: T) -> Result<T, StoreError> {
        self.process.runs().await;
        match fault {
            None => Ok(done),
            Some(_) => Err(unavailable()),
        }
    }
}

#[async_trait]
impl Store for SimulatedStore {
    fn n_lanes(&self) -> usize {
        if self.world.seed.is_multiple_of(2) {
            1
        } else {
            4
        }
    }

    async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, StoreError> {
        let fault = self.write_begins().await?;
        let lock = self.world.database.lock_leases().await;
        self.process.owns(&request.owner);
        let acquired = self
            .world
            .database
            .tables()
            .acquire(request, self.world.now_ms());
        drop(lock);
        let n_partitions = acquired.partitions.len();
        self.world.note(format_args!(
            "{} acquires {n_partitions} partitions",
            self.process.name
        ));
        self.write_ends(fault, acquired).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        let fault = self.write_begins().await?;
        let (reply, answer) = oneshot::channel();
        let transaction = Arc::clone(&self.world).transaction(
            Arc::clone(&self.process),
            batch.clone(),
            fault != Some(StoreFault::LostAbsent),
            reply,
        );
        // The database goes on when whoever has asked is dead.
        tokio::spawn(transaction);
        if fault.is_some() {
            self.world.pause().await;
            self.process.runs().await;
            return Err(StoreError::Unknown(sqlx::Error::WorkerCrashed));
        }
        let committed = answer.await.map_err(|_| unavailable())?;
        self.process.runs().await;
        if let Ok(committed) = &committed {
            self.world.heard(&self.process, batch, committed);
        }
        committed
    }

    async fn last_batches(&self, partitions: &[u8]) -> Result<Vec<i64>, StoreError> {
        self.read().await?;
        let lock = self.world.database.lock_leases().await;
        let tables = self.world.database.tables();
        let last = partitions
            .iter()
            .map(|it| tables.last_batch(*it).0)
            .collect();
        drop(tables);
        drop(lock);
        Ok(last)
    }

    async fn load(&self, workflows: &[WorkflowId]) -> Result<Vec<WorkflowRecord>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let known = workflows.iter().filter_map(|it| tables.workflows.get(it));
        Ok(known.cloned().collect())
    }

    async fn open_workflows(
        &self,
        partition: u8,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<OpenWorkflow>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let open = tables.workflows.values().filter(|it| {
            it.workflow.partition() == partition
                && it.snapshot.is_open
                && after.is_none_or(|after| after < it.workflow)
        });
        let page = open.take(usize::try_from(limit).unwrap_or(usize::MAX));
        let shown = page.map(|it| OpenWorkflow {
            workflow: it.workflow,
            n_turns: it.snapshot.n_turns,
            n_prompts: it.snapshot.n_prompts,
            n_signals: it.snapshot.n_signals,
            wake_at_ms: it.snapshot.wake_at_ms,
            n_owed: it.snapshot.n_owed,
            children: it.snapshot.children.clone(),
            incident: it.incident.clone(),
        });
        Ok(shown.collect())
    }

    async fn history(
        &self,
        workflow: WorkflowId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let rows = tables.journal.get(&workflow).into_iter().flatten();
        let rows = rows.filter(|it| after < it.row.sequence);
        let rows = rows.take(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(rows.map(|it| it.row.clone()).collect())
    }

    async fn find_starts(&self, keys: &[StartKey]) -> Result<Vec<StartRecord>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let known = keys.iter().filter_map(|it| tables.starts.get(it));
        Ok(known.cloned().collect())
    }

    async fn outbox(
        &self,
        partition: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let rows = tables
            .batches
            .range((partition, after + 1)..=(partition, i64::MAX));
        let rows = rows.take(usize::try_from(limit).unwrap_or(usize::MAX));
        let shown = rows.filter_map(|((_, batch), workflow)| {
            let journal = &tables.journal[workflow];
            let row = journal.iter().find(|it| it.batch == *batch)?;
            Some(OutboxRow {
                workflow: *workflow,
                batch: *batch,
                public: row.public.clone(),
            })
        });
        Ok(shown.collect())
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let cursor = |(&partition, &batch): (&u8, &i64)| Cursor { partition, batch };
        Ok(tables.cursors.iter().map(cursor).collect())
    }

    async fn put_cursors(
        &self,
        cursors: &[Cursor],
        fences: &[Fence],
    ) -> Result<Committed, StoreError> {
        let fault = self.write_begins().await?;
        let lock = self.world.database.lock_leases().await;
        let now_ms = self.world.now_ms();
        let taken = self
            .world
            .database
            .tables()
            .put_cursors(cursors, fences, now_ms);
        drop(lock);
        self.write_ends(fault, Committed { fenced: taken }).await
    }

    async fn act_logs(&self, wanted: &[ActsWanted]) -> Result<Vec<ActLog>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let logs = wanted.iter().filter_map(|it| {
            let mut log = tables.act_logs.get(&it.log)?.clone();
            log.known.retain(|known| it.acts.contains(known));
            Some(log)
        });
        Ok(logs.collect())
    }

    async fn put_incident(
        &self,
        workflow: WorkflowId,
        code: &str,
        fence: Fence,
    ) -> Result<Committed, StoreError> {
        let fault = self.write_begins().await?;
        let lock = self.world.database.lock_leases().await;
        let now_ms = self.world.now_ms();
        let fenced = self
            .world
            .database
            .tables()
            .put_incident(workflow, code, fence, now_ms);
        drop(lock);
        if fenced.is_empty() {
            self.world.incident(workflow, code);
        }
        self.write_ends(fault, Committed { fenced }).await
    }
}

/// Versions are put there before a simulation begins and only read in it.
#[async_trait]
impl DefinitionStore for SimulatedStore {
    async fn draft(&self, _: &NewVersion) -> Result<(VersionRecord, bool), StoreError> {
        Err(unavailable())
    }

    async fn publish(&self, _: VersionKey<'_>, _: &Act, _: bool) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn retire(&self, _: VersionKey<'_>, _: &Act) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn move_live(&self, _: VersionKey<'_>, _: i64, _: &Act) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn version(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i64>,
    ) -> Result<Option<VersionRecord>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let found = tables.versions.iter().find(|(of, it, _)| {
            of == tenant && it.name == name && version.is_none_or(|number| it.version == number)
        });
        Ok(found.map(|it| it.1.clone()))
    }

    async fn envelope(&self, key: VersionKey<'_>) -> Result<Option<String>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let found = tables.versions.iter().find(|(of, it, _)| {
            of == key.tenant && it.name == key.name && it.version == key.version
        });
        Ok(found.map(|it| it.2.clone()))
    }

    async fn all_definitions(&self, _: &str) -> Result<Vec<VersionRecord>, StoreError> {
        Err(unavailable())
    }

    async fn versions(&self, _: &str, _: &str, _: u32) -> Result<Vec<VersionRecord>, StoreError> {
        Err(unavailable())
    }

    async fn live_moves(&self, _: &str, _: &str, _: u32) -> Result<Vec<LiveRecord>, StoreError> {
        Err(unavailable())
    }
}

#[async_trait]
impl TenantStore for SimulatedStore {
    async fn acknowledge(&self, record: &AcknowledgementRecord) -> Result<(), StoreError> {
        let fault = self.write_begins().await?;
        self.world.database.tables().acknowledge(record);
        self.write_ends(fault, ()).await
    }

    async fn acknowledgements(&self) -> Result<Vec<AcknowledgementRecord>, StoreError> {
        self.read().await?;
        Ok(self.world.database.tables().acknowledgements.clone())
    }

    async fn digest_key(&self, tenant: &str, wrapped: &[u8]) -> Result<Vec<u8>, StoreError> {
        let fault = self.write_begins().await?;
        let kept = self.world.database.tables().digest_key(tenant, wrapped);
        self.write_ends(fault, kept).await
    }

    async fn find_digest_key(&self, tenant: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read().await?;
        Ok(self
            .world
            .database
            .tables()
            .digest_keys
            .get(tenant)
            .cloned())
    }
}

#[async_trait]
impl OperationStore for SimulatedStore {
    async fn raise_incident(&self, raised: &Raised) -> Result<(), StoreError> {
        let fault = self.write_begins().await?;
        self.world.database.tables().raise_incident(raised);
        self.write_ends(fault, ()).await
    }

    async fn incidents(&self, filter: &IncidentFilter) -> Result<Vec<IncidentRow>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let rows = tables.incidents.values();
        let rows = rows.filter(|it| it.tenant == filter.tenant && it.resolution.is_none());
        Ok(rows.cloned().collect())
    }

    async fn incident(
        &self,
        workflow: WorkflowId,
        task: i64,
    ) -> Result<Option<IncidentRow>, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        Ok(tables.incidents.get(&(workflow, task)).cloned())
    }

    async fn close_incident(
        &self,
        workflow: WorkflowId,
        task: i64,
        resolution: &Resolution,
    ) -> Result<bool, StoreError> {
        let fault = self.write_begins().await?;
        let is_closed = self
            .world
            .database
            .tables()
            .close_incident((workflow, task), resolution);
        self.write_ends(fault, is_closed).await
    }

    async fn task_limits(&self) -> Result<Option<LimitsRow>, StoreError> {
        self.read().await?;
        Ok(None)
    }

    async fn put_task_limits(&self, _: &LimitsRow) -> Result<bool, StoreError> {
        Err(unavailable())
    }
}

/// Nobody in a simulation has a schedule.
#[async_trait]
impl ScheduleStore for SimulatedStore {
    async fn insert_schedule(&self, _: &ScheduleRecord) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn replace_schedule(&self, _: &ScheduleRecord) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn delete_schedule(&self, _: &str, _: &str, _: i64) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn find_schedule(&self, _: &str, _: &str) -> Result<Option<ScheduleRecord>, StoreError> {
        self.read().await?;
        Ok(None)
    }

    async fn list_schedules(
        &self,
        _: &str,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.read().await?;
        Ok(Vec::new())
    }

    async fn count_schedules(&self, _: &str) -> Result<i64, StoreError> {
        self.read().await?;
        Ok(0)
    }

    /// Takes no time: a start asks for every partition, and would take twice as long for nothing.
    async fn schedules_of(&self, _: u8) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.process.runs().await;
        Ok(Vec::new())
    }

    async fn put_fired(&self, _: &FiredRecord) -> Result<bool, StoreError> {
        Err(unavailable())
    }
}
