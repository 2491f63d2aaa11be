//! Who waits for something to happen to a workflow; they park here, never at the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use btrust_schemas::ids::WorkflowId;

/// Most workflows that are waited for at once; a long poll above it is answered at once instead.
pub const WATCHED_MAX: usize = 20_000;

type Registry = Mutex<HashMap<WorkflowId, watch::Sender<u64>>>;

#[derive(Clone, Default)]
pub struct Watchers(Arc<Registry>);

impl Watchers {
    /// Begins to watch; what happens from now on is not missed. `None` when too many are watching.
    pub fn watch(&self, workflow: WorkflowId) -> Option<Watch> {
        let mut registry = lock(&self.0);
        if WATCHED_MAX <= registry.len() && !registry.contains_key(&workflow) {
            return None;
        }
        let sender = registry
            .entry(workflow)
            .or_insert_with(|| watch::Sender::new(0));
        Some(Watch {
            workflow,
            changes: Some(sender.subscribe()),
            registry: Arc::clone(&self.0),
        })
    }

    /// Tells everybody who watches `workflow` that it has come to event `sequence`.
    pub fn tell(&self, workflow: WorkflowId, sequence: u64) {
        if let Some(sender) = lock(&self.0).get(&workflow) {
            sender.send_replace(sequence);
        }
    }
}

/// One party that watches one workflow.
pub struct Watch {
    workflow: WorkflowId,
    changes: Option<watch::Receiver<u64>>,
    registry: Arc<Registry>,
}

impl Watch {
    /// Waits for the next commit of the workflow.
    pub async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes {
            // An error would mean that the sender is gone; the registry keeps it while we watch.
            let _ = changes.changed().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut registry = lock(&self.registry);
        self.changes = None;
        if registry
            .get(&self.workflow)
            .is_some_and(|it| it.receiver_count() == 0)
        {
            registry.remove(&self.workflow);
        }
    }
}

fn lock(registry: &Registry) -> MutexGuard<'_, HashMap<WorkflowId, watch::Sender<u64>>> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_hears_of_its_workflow_and_leaves_nothing_behind() {
        let watchers = Watchers::default();
        let id = WorkflowId::new(1, [1; 15]);
        let mut first = watchers.watch(id).unwrap();
        let second = watchers.watch(id).unwrap();
        watchers.tell(WorkflowId::new(1, [2; 15]), 5);
        watchers.tell(id, 7);
        first.changed().await;
        drop(first);
        assert_eq!(lock(&watchers.0).len(), 1);
        drop(second);
        assert_eq!(lock(&watchers.0).len(), 0);
    }
}
