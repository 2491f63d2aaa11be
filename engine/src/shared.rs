//! What the parts of an engine share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use btrust_platform::clock::SharedClock;
use btrust_platform::random::SharedRandom;
use btrust_platform::telemetry::causes;
use btrust_platform::workflow_keys::WorkflowKeys;
use btrust_schemas::ids::WorkflowId;

use crate::admission::Admission;
use crate::cache::Cache;
use crate::courier::Courier;
use crate::definitions::Definitions;
use crate::dispatch::Dispatch;
use crate::error::EngineError;
use crate::relay::Outbox;
use crate::schedules::Schedules;
use crate::seal::{self, Binding};
use crate::storage::{Storage, is_full};
use crate::store::operations::OperationStore;
use crate::store::{Store, WorkflowRecord};
use crate::task_limits::LimitsInForce;
use crate::watchers::Watchers;
use crate::workflow::Workflow;

pub struct Shared {
    pub store: Arc<dyn Store>,
    pub keys: Arc<dyn WorkflowKeys>,
    pub definitions: Definitions,
    pub clock: SharedClock,
    pub random: SharedRandom,
    pub cache: Cache,
    pub courier: Courier,
    pub dispatch: Dispatch,
    pub operations: Arc<dyn OperationStore>,
    pub limits: LimitsInForce,
    pub admission: Admission,
    /// The core nodes that live, this one included.
    pub n_live_nodes: AtomicU32,
    pub watchers: Watchers,
    pub outbox: Outbox,
    pub schedules: Schedules,
    pub storage: Storage,
    /// Partitions that this process has had to give up; only a restart gets them back.
    pub n_lost: AtomicUsize,
}

impl Shared {
    /// Opens a workflow that the store holds.
    ///
    /// # Errors
    ///
    /// [`EngineError::Erased`] without its key; [`EngineError::Incident`] when it cannot be read.
    pub async fn open(&self, record: WorkflowRecord) -> Result<Workflow, EngineError> {
        let columns = record.columns;
        let id = record.workflow;
        let sealer = self
            .keys
            .sealer(&columns.tenant, id)
            .await
            .map_err(unavailable)?;
        let sealer = sealer.ok_or(EngineError::Erased)?;
        let version = u32::try_from(columns.version).unwrap_or(u32::MAX);
        let definition = self
            .definitions
            .compiled(&columns.tenant, &columns.definition, version)
            .await?;
        let binding = Binding {
            tenant: &columns.tenant,
            workflow: id,
            sequence: u64::try_from(record.sequence).unwrap_or_default(),
        };
        let state = seal::open_state(&sealer, binding, &record.sealed_snapshot).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, workflow.id = %id, "a snapshot is lost");
            EngineError::Incident { code: "snapshot_unreadable".to_owned() }
        })?;
        Ok(Workflow {
            id,
            definition,
            sealer,
            columns,
            chain: record.snapshot.chain,
            n_audit: record.snapshot.n_audit,
            n_analytics: record.snapshot.n_analytics,
            state,
        })
    }

    /// Reads a workflow as it was last committed, for somebody of `tenant`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for another tenant's, as for one that does not exist.
    pub async fn read(&self, tenant: &str, id: WorkflowId) -> Result<Arc<Workflow>, EngineError> {
        if let Some(workflow) = self.cache.get(id) {
            let is_theirs = workflow.columns.tenant == tenant;
            return if is_theirs {
                Ok(workflow)
            } else {
                Err(EngineError::Unknown)
            };
        }
        let record = self.record(id).await?;
        if record.columns.tenant != tenant {
            return Err(EngineError::Unknown);
        }
        Ok(Arc::new(self.open(record).await?))
    }

    /// Reads a workflow as it was last committed, for the engine itself.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] for one that does not exist, and whatever [`Shared::open`] says.
    pub async fn find(&self, id: WorkflowId) -> Result<Arc<Workflow>, EngineError> {
        match self.cache.get(id) {
            Some(workflow) => Ok(workflow),
            None => Ok(Arc::new(self.open(self.record(id).await?).await?)),
        }
    }

    async fn record(&self, id: WorkflowId) -> Result<WorkflowRecord, EngineError> {
        let record = self.store.load(&[id]).await?.pop();
        record.ok_or(EngineError::Unknown)
    }
}

/// Logs why a neighbour of the engine did not answer, once, and turns it into the caller's choice.
pub fn unavailable(error: impl std::error::Error + 'static) -> EngineError {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        causes = causes(&error),
        "a store of the engine did not answer"
    );
    if is_full(&error) {
        return EngineError::StorageFull;
    }
    EngineError::Unavailable
}
