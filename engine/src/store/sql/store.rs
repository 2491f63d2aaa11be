//! [`Store`] on a relational database: which file answers what.

use async_trait::async_trait;

use btrust_schemas::ids::WorkflowId;

use super::{
    N_LANES, N_PARTITIONS, SqlStore, act_logs, counts, cursors, incidents, leases, lists, reads,
    restore, retention,
};
use crate::store::lists::{
    AuditCount, AuditRow, Counted, CountsQuery, CountsRow, DeletedWorkflow, Ended, EndedQuery,
    ListFilter, ListStore, ListedPage,
};
use crate::store::restore::RestoreStore;
use crate::store::{
    AcquireRequest, Acquired, ActLog, ActsWanted, Batch, Committed, Cursor, Fence, JournalRow,
    OpenWorkflow, OutboxRow, StartKey, StartRecord, Store, StoreError, WorkflowRecord,
};

#[async_trait]
impl Store for SqlStore {
    fn n_lanes(&self) -> usize {
        N_LANES
    }

    fn n_partitions(&self) -> u16 {
        N_PARTITIONS
    }

    async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, StoreError> {
        self.bounded(leases::acquire(self, request)).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        self.write(batch).await
    }

    async fn last_batches(&self, partitions: &[u8]) -> Result<Vec<i64>, StoreError> {
        self.bounded(leases::last_batches(self, partitions)).await
    }

    async fn load(&self, workflows: &[WorkflowId]) -> Result<Vec<WorkflowRecord>, StoreError> {
        self.bounded(reads::load(self, workflows)).await
    }

    async fn open_workflows(
        &self,
        partition: u8,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<OpenWorkflow>, StoreError> {
        self.bounded(reads::open_workflows(self, partition, after, limit))
            .await
    }

    async fn history(
        &self,
        workflow: WorkflowId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, StoreError> {
        self.bounded(reads::history(self, workflow, after, limit))
            .await
    }

    async fn find_starts(&self, keys: &[StartKey]) -> Result<Vec<StartRecord>, StoreError> {
        self.bounded(reads::find_starts(self, keys)).await
    }

    async fn outbox(
        &self,
        partition: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.bounded(cursors::outbox(self, partition, after, limit))
            .await
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        self.bounded(cursors::cursors(self)).await
    }

    async fn put_cursors(
        &self,
        cursors: &[Cursor],
        fences: &[Fence],
    ) -> Result<Committed, StoreError> {
        self.bounded(cursors::put_cursors(self, cursors, fences))
            .await
    }

    async fn act_logs(&self, wanted: &[ActsWanted]) -> Result<Vec<ActLog>, StoreError> {
        self.bounded(act_logs::act_logs(self, wanted)).await
    }

    async fn put_incident(
        &self,
        workflow: WorkflowId,
        code: &str,
        fence: Fence,
    ) -> Result<Committed, StoreError> {
        self.bounded(incidents::put_incident(self, workflow, code, fence))
            .await
    }
}

#[async_trait]
impl ListStore for SqlStore {
    async fn page(&self, filter: &ListFilter) -> Result<ListedPage, StoreError> {
        self.bounded(lists::page(self, filter)).await
    }

    async fn count(&self, filter: &ListFilter) -> Result<Counted, StoreError> {
        self.bounded(lists::count(self, filter)).await
    }

    async fn counts(&self, query: &CountsQuery) -> Result<Vec<CountsRow>, StoreError> {
        self.bounded(counts::counts(self, query)).await
    }

    async fn ended(&self, query: &EndedQuery) -> Result<Vec<Ended>, StoreError> {
        self.bounded(retention::ended(self, query)).await
    }

    async fn batches_of(
        &self,
        workflows: &[WorkflowId],
    ) -> Result<Vec<(WorkflowId, i64)>, StoreError> {
        self.bounded(retention::batches_of(self, workflows)).await
    }

    async fn deleted(
        &self,
        after: (u8, i64),
        limit: u32,
    ) -> Result<Vec<DeletedWorkflow>, StoreError> {
        self.bounded(retention::deleted(self, after, limit)).await
    }

    async fn purge(&self, partition: u8, deleted: &[DeletedWorkflow]) -> Result<(), StoreError> {
        self.bounded(retention::purge(self, partition, deleted))
            .await
    }

    async fn audit_rows(
        &self,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.bounded(retention::audit_rows(self, after, limit))
            .await
    }

    async fn audit_counts(&self) -> Result<Vec<AuditCount>, StoreError> {
        self.bounded(counts::audit(self)).await
    }
}

#[async_trait]
impl RestoreStore for SqlStore {
    async fn incarnation(&self) -> Result<i64, StoreError> {
        self.bounded(restore::incarnation(self)).await
    }

    async fn new_incarnation(&self, at_least: i64) -> Result<i64, StoreError> {
        self.bounded(restore::new_incarnation(self, at_least)).await
    }
}
