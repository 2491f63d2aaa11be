//! Who waits for something to happen to a workflow; they park here, never at the database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use btrust_schemas::ids::WorkflowId;

/// Most workflows that are waited for at once; a long poll above it is answered at once instead.
pub const WATCHED_MAX: usize = 20_000;

type Registry = Mutex<HashMap<WorkflowId, Arc<News>>>;

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
    pub fn watch(&self, workflow: WorkflowId) -> Option<Watch> {
        let mut registry = lock(&self.0);
        if WATCHED_MAX <= registry.len() && !registry.contains_key(&workflow) {
            return None;
        }
        let news = Arc::clone(registry.entry(workflow).or_default());
        Some(Watch {
            workflow,
            n_heard: news.n_told.load(Ordering::SeqCst),
            news: Some(news),
            registry: Arc::clone(&self.0),
        })
    }

    /// Tells everybody who watches `workflow` that it has gone on.
    pub fn tell(&self, workflow: WorkflowId) {
        if let Some(news) = lock(&self.0).get(&workflow) {
            news.n_told.fetch_add(1, Ordering::SeqCst);
            news.told.notify_waiters();
        }
    }
}

/// One party that watches one workflow.
pub struct Watch {
    workflow: WorkflowId,
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
            .get(&self.workflow)
            .is_some_and(|it| Arc::strong_count(it) == 1)
        {
            registry.remove(&self.workflow);
        }
    }
}

fn lock(registry: &Registry) -> MutexGuard<'_, HashMap<WorkflowId, Arc<News>>> {
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
        watchers.tell(WorkflowId::new(1, [2; 15]));
        watchers.tell(id);
        first.changed().await;
        drop(first);
        assert_eq!(lock(&watchers.0).len(), 1);
        drop(second);
        assert_eq!(lock(&watchers.0).len(), 0);
    }
}
