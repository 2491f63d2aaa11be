//! [`Store`] on a relational database: which file answers what.

use async_trait::async_trait;

use btrust_schemas::ids::WorkflowId;

use super::{N_LANES, SqlStore, cursors, incidents, leases, reads};
use crate::store::{
    AcquireRequest, Acquired, Batch, Committed, Cursor, Fence, JournalRow, ListFilter, Listed,
    OpenWorkflow, OutboxRow, StartKey, StartRecord, Store, StoreError, WorkflowRecord,
};

#[async_trait]
impl Store for SqlStore {
    fn n_lanes(&self) -> usize {
        N_LANES
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

    async fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, StoreError> {
        self.bounded(reads::list(self, filter)).await
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
