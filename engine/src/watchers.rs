//! Who waits for something to happen to a workflow; they park here, never at the database.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use btrust_schemas::ids::WorkflowId;

/// Most workflows that are waited for at once; a long poll above it is answered at once instead.
pub const WATCHED_MAX: usize = 20_000;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Awaited {
    /// Anything that is committed.
    Change,
    /// The end; a workflow has many changes before it, and most who wait do not care for them.
    End,
}

type Key = (WorkflowId, Awaited);
type Registry = Mutex<HashMap<Key, Arc<News>>>;

/// What is told of one workflow; whoever waits is woken in the order of coming, which a `watch` does not do.
#[derive(Default)]
struct News {
    n_told: AtomicU64,
    told: Notify,
}

#[derive(Clone, Default)]
pub struct Watchers(Arc<Registry>);

impl Watchers {
    /// Begins to watch; what happens from now on is not missed. `None` when too many are watching.
    pub fn watch(&self, workflow: WorkflowId, awaited: Awaited) -> Option<Watch> {
        let mut registry = lock(&self.0);
        let key = (workflow, awaited);
        if WATCHED_MAX <= registry.len() && !registry.contains_key(&key) {
            return None;
        }
        let news = Arc::clone(registry.entry(key).or_default());
        Some(Watch {
            key,
            n_heard: news.n_told.load(Ordering::SeqCst),
            news: Some(news),
            registry: Arc::clone(&self.0),
        })
    }

    /// Tells everybody who watches `workflow` that it has gone on, and whether it has ended.
    pub fn tell(&self, workflow: WorkflowId, has_ended: bool) {
        let registry = lock(&self.0);
        let ended = has_ended.then_some(Awaited::End);
        for awaited in [Some(Awaited::Change), ended].into_iter().flatten() {
            if let Some(news) = registry.get(&(workflow, awaited)) {
                news.n_told.fetch_add(1, Ordering::SeqCst);
                news.told.notify_waiters();
            }
        }
    }

    /// Wakes everybody who watches a workflow of a partition, so that they look where it is now.
    pub fn tell_partition(&self, partition: u8) {
        let registry = lock(&self.0);
        let workflows = registry.keys().map(|(workflow, _)| *workflow);
        // In one order, whatever that of the registry is.
        let told: BTreeSet<WorkflowId> =
            workflows.filter(|it| it.partition() == partition).collect();
        drop(registry);
        for workflow in told {
            self.tell(workflow, true);
        }
    }
}

/// One party that watches one workflow.
pub struct Watch {
    key: Key,
    /// Until it is dropped.
    news: Option<Arc<News>>,
    n_heard: u64,
    registry: Arc<Registry>,
}

impl Watch {
    /// Waits for the next commit of the workflow.
    pub async fn changed(&mut self) {
        let Some(news) = &self.news else { return };
        // Begun before the look, so that nothing falls between the two.
        let told = news.told.notified();
        if news.n_told.load(Ordering::SeqCst) == self.n_heard {
            told.await;
        }
        self.n_heard = news.n_told.load(Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut registry = lock(&self.registry);
        self.news = None;
        // The registry's own is the last one.
        if registry
            .get(&self.key)
            .is_some_and(|it| Arc::strong_count(it) == 1)
        {
            registry.remove(&self.key);
        }
    }
}

fn lock(registry: &Registry) -> MutexGuard<'_, HashMap<Key, Arc<News>>> {
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_hears_of_its_workflow_and_leaves_nothing_behind() {
        let watchers = Watchers::default();
        let id = WorkflowId::new(1, [1; 15]);
        let mut first = watchers.watch(id, Awaited::Change).unwrap();
        let second = watchers.watch(id, Awaited::Change).unwrap();
        watchers.tell(WorkflowId::new(1, [2; 15]), false);
        watchers.tell(id, false);
        first.changed().await;
        drop(first);
        assert_eq!(lock(&watchers.0).len(), 1);
        drop(second);
        assert_eq!(lock(&watchers.0).len(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_the_end_hears_of_nothing_else() {
        let watchers = Watchers::default();
        let id = WorkflowId::new(1, [1; 15]);
        let mut end = watchers.watch(id, Awaited::End).unwrap();
        watchers.tell(id, false);
        let news = Arc::clone(end.news.as_ref().unwrap());
        assert_eq!(news.n_told.load(Ordering::SeqCst), 0);
        watchers.tell(id, true);
        end.changed().await;
    }
}
