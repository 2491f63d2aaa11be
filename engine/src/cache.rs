//! Committed workflows that are likely to be asked for again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use btrust_schemas::ids::WorkflowId;

use crate::workflow::Workflow;

/// Workflows kept in memory; the others cost a row each and are read when somebody wants them.
///
/// Source: 20 kB a workflow with its definition shared, so about 100 MB at most.
pub const WORKFLOWS_CACHED_MAX: usize = 5_000;

/// The least recently used workflow leaves first. Only the committer puts workflows in, after their
/// commit, so that nobody ever reads an older state from here than from the store.
#[derive(Default)]
pub struct Cache(Mutex<Lru<Arc<Workflow>>>);

impl Cache {
    pub fn get(&self, id: WorkflowId) -> Option<Arc<Workflow>> {
        self.lock().get(id).cloned()
    }

    pub fn put(&self, workflow: Arc<Workflow>) {
        let mut lru = self.lock();
        lru.put(workflow.id, workflow);
        lru.shrink(WORKFLOWS_CACHED_MAX);
    }

    pub fn remove(&self, id: WorkflowId) {
        self.lock().remove(id);
    }

    /// Forgets every workflow of a partition.
    pub fn forget(&self, partition: u8) {
        let mut lru = self.lock();
        let ids = lru.entries.keys().copied();
        let of_partition: Vec<WorkflowId> = ids.filter(|it| it.partition() == partition).collect();
        for id in of_partition {
            lru.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lru<Arc<Workflow>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Lru<T> {
    entries: HashMap<WorkflowId, (u64, T)>,
    by_use: BTreeMap<u64, WorkflowId>,
    n_uses: u64,
}

impl<T> Default for Lru<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            n_uses: 0,
        }
    }
}

impl<T> Lru<T> {
    fn get(&mut self, id: WorkflowId) -> Option<&T> {
        let (used, value) = self.entries.get_mut(&id)?;
        self.by_use.remove(used);
        self.n_uses += 1;
        *used = self.n_uses;
        self.by_use.insert(self.n_uses, id);
        Some(value)
    }

    fn put(&mut self, id: WorkflowId, value: T) {
        self.remove(id);
        self.n_uses += 1;
        self.entries.insert(id, (self.n_uses, value));
        self.by_use.insert(self.n_uses, id);
    }

    fn remove(&mut self, id: WorkflowId) {
        if let Some((used, _)) = self.entries.remove(&id) {
            self.by_use.remove(&used);
        }
    }

    fn shrink(&mut self, n_max: usize) {
        while n_max < self.entries.len()
            && let Some((_, id)) = self.by_use.pop_first()
        {
            self.entries.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_leaves_first() {
        let ids = [1, 2, 3].map(|n| WorkflowId::new(0, [n; 15]));
        let mut lru = Lru::default();
        for id in ids {
            lru.put(id, id);
        }
        assert!(lru.get(ids[0]).is_some());
        lru.put(ids[2], ids[2]);
        lru.shrink(2);
        assert_eq!(ids.map(|id| lru.get(id).is_some()), [true, false, true]);
        lru.remove(ids[0]);
        assert_eq!(lru.by_use.len(), lru.entries.len());
    }
}
