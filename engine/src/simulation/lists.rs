//! What lists and retention ask of the store of a simulation, where no definition names a policy.

use async_trait::async_trait;

use btrust_schemas::ids::WorkflowId;

use crate::store::StoreError;
use crate::store::lists::{
    AuditCount, AuditRow, Counted, CountsQuery, CountsRow, DeletedWorkflow, Ended, EndedQuery,
    ListFilter, ListStore, ListedPage, ListedRow,
};

use super::store::{SimulatedStore, unavailable};

#[async_trait]
impl ListStore for SimulatedStore {
    async fn page(&self, filter: &ListFilter) -> Result<ListedPage, StoreError> {
        self.read().await?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let place = |it: &ListedRow| std::cmp::Reverse((it.columns.started_ms, it.workflow));
        let after = filter.after.as_ref();
        let after = after.map(|it| std::cmp::Reverse((it.started_ms, it.workflow)));
        let tables = self.world.database.tables();
        let known = tables.workflows.values().map(|it| ListedRow {
            workflow: it.workflow,
            columns: it.columns.clone(),
        });
        let mut rows: Vec<ListedRow> = known
            .filter(|it| filter.takes(&it.columns) && after.is_none_or(|after| after < place(it)))
            .collect();
        rows.sort_by_key(place);
        let has_next = limit < rows.len();
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_next).map(ListedRow::key);
        Ok(ListedPage { rows, next })
    }

    async fn count(&self, filter: &ListFilter) -> Result<Counted, StoreError> {
        self.read().await?;
        let tables = self.world.database.tables();
        let mut known = 0;
        for record in tables.workflows.values() {
            known += u64::from(filter.takes(&record.columns));
        }
        Ok(Counted {
            n: known,
            is_exact: true,
        })
    }

    async fn counts(&self, _: &CountsQuery) -> Result<Vec<CountsRow>, StoreError> {
        Err(unavailable())
    }

    /// Takes no time, as with [`Self::deleted`]: a look that finds nothing should not change what follows.
    async fn ended(&self, _: &EndedQuery) -> Result<Vec<Ended>, StoreError> {
        self.process.runs().await;
        Ok(Vec::new())
    }

    async fn batches_of(&self, _: &[WorkflowId]) -> Result<Vec<(WorkflowId, i64)>, StoreError> {
        Err(unavailable())
    }

    async fn deleted(&self, _: (u8, i64), _: u32) -> Result<Vec<DeletedWorkflow>, StoreError> {
        self.process.runs().await;
        Ok(Vec::new())
    }

    async fn purge(&self, _: u8, _: &[DeletedWorkflow]) -> Result<(), StoreError> {
        Err(unavailable())
    }

    async fn audit_rows(&self, _: Option<WorkflowId>, _: u32) -> Result<Vec<AuditRow>, StoreError> {
        Err(unavailable())
    }

    async fn audit_counts(&self) -> Result<Vec<AuditCount>, StoreError> {
        Err(unavailable())
    }
}
