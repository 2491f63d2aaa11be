//! What the parts of an engine share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use btrust_platform::clock::{SharedClock, rfc3339};
use btrust_platform::random::SharedRandom;
use btrust_platform::telemetry::causes;
use btrust_platform::workflow_keys::WorkflowKeys;
use btrust_schemas::ids::{N_PARTITIONS, WorkflowId};
use btrust_schemas::nodes::NodeView;

use crate::admission::Admission;
use crate::cache::Cache;
use crate::courier::Courier;
use crate::definitions::Definitions;
use crate::dispatch::Dispatch;
use crate::engine::Ports;
use crate::error::EngineError;
use crate::nodes::{Ownership, Routes};
use crate::relay::Outbox;
use crate::retention::RetentionPolicies;
use crate::schedules::Schedules;
use crate::seal::{self, Binding};
use crate::storage::{Storage, is_full};
use crate::store::lists::ListStore;
use crate::store::operations::OperationStore;
use crate::store::{Store, WorkflowRecord};
use crate::subjects::Subjects;
use crate::task_limits::LimitsInForce;
use crate::watchers::Watchers;
use crate::workflow::Workflow;

pub struct Shared {
    pub store: Arc<dyn Store>,
    pub lists: Arc<dyn ListStore>,
    pub retention: RetentionPolicies,
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
    pub ownership: Ownership,
    /// Where the partitions of other nodes are.
    pub routes: Routes,
    /// Times that this process has lost a partition to another one.
    pub n_lost: AtomicUsize,
}

impl Shared {
    /// What an engine in this world shares; it owns nothing yet.
    pub fn new(ports: &Ports, subjects: &Arc<Subjects>) -> Self {
        let this_node = |url: &String| NodeView {
            node: String::new(),
            url: url.clone(),
            started_at: rfc3339(ports.clock.now_ms()),
            n_partitions: u32::from(N_PARTITIONS),
        };
        let nodes = ports.nodes.iter().map(this_node).collect();
        let definitions = Definitions::new(
            Arc::clone(&ports.definitions),
            Arc::clone(&ports.clock),
            ports.second_person.clone(),
            ports.retention.clone(),
            ports.membership.is_none(),
        );
        let schedules = Schedules::new(
            Arc::clone(&ports.schedules),
            Arc::clone(subjects),
            Arc::clone(&ports.clock),
        );
        Self {
            store: Arc::clone(&ports.store),
            lists: Arc::clone(&ports.lists),
            retention: ports.retention.clone(),
            keys: Arc::clone(&ports.workflow_keys),
            definitions,
            clock: Arc::clone(&ports.clock),
            random: Arc::clone(&ports.random),
            cache: Cache::default(),
            courier: Courier::default(),
            dispatch: Dispatch::default(),
            operations: Arc::clone(&ports.operations),
            limits: LimitsInForce::new(ports.task_limits.clone()),
            admission: Admission::default(),
            n_live_nodes: AtomicU32::new(1),
            watchers: Watchers::default(),
            outbox: Outbox::all_dirty(),
            schedules,
            storage: Storage::default(),
            ownership: Ownership::new(ports.membership.is_some()),
            routes: Routes::new(nodes),
            n_lost: AtomicUsize::new(0),
        }
    }

    /// Forgets everything about a partition that somebody else may own.
    pub fn forget(&self, partition: u8) {
        self.ownership.drop_one(partition);
        self.cache.forget(partition);
        self.courier.forget(partition);
        self.dispatch.forget(partition);
        self.schedules.forget(partition);
        self.watchers.tell_partition(partition);
    }

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
        // Of what another node may have changed, only the store knows the last state.
        let owns = self.ownership.owns(id.partition());
        if let Some(workflow) = self.cache.get(id).filter(|_| owns) {
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
        // Of what another node may have changed, only the store knows the last state.
        let owns = self.ownership.owns(id.partition());
        match self.cache.get(id).filter(|_| owns) {
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
