//! Stores that fail a few times: schedules whose acts are not heard of, a registry that takes nothing back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use btrust_engine::store::nodes::{NodeEntry, NodeStore, Survey};
use btrust_engine::store::schedules::{FiredRecord, ScheduleRecord, ScheduleStore};
use btrust_engine::store::{Acquired, Fence, StoreError};

/// Schedules: an act is carried out, and its answer is lost.
pub struct LostAnswers {
    inner: Arc<dyn ScheduleStore>,
    n_left: AtomicUsize,
    n_silent: AtomicUsize,
}

impl LostAnswers {
    /// Loses the answers to the first acts of people: to `n_silent` it never answers, and after these `n`
    /// fail.
    pub fn of(inner: Arc<dyn ScheduleStore>, n: usize, n_silent: usize) -> Arc<dyn ScheduleStore> {
        Arc::new(Self {
            inner,
            n_left: n.into(),
            n_silent: n_silent.into(),
        })
    }

    async fn heard(&self, answer: Result<bool, StoreError>) -> Result<bool, StoreError> {
        if counts_down(&self.n_silent) {
            std::future::pending::<()>().await;
        }
        if counts_down(&self.n_left) {
            return Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
        }
        answer
    }
}

#[async_trait]
impl ScheduleStore for LostAnswers {
    async fn insert_schedule(&self, record: &ScheduleRecord) -> Result<bool, StoreError> {
        self.heard(self.inner.insert_schedule(record).await).await
    }

    async fn replace_schedule(&self, record: &ScheduleRecord) -> Result<bool, StoreError> {
        self.heard(self.inner.replace_schedule(record).await).await
    }

    async fn delete_schedule(
        &self,
        tenant: &str,
        name: &str,
        revision: i64,
    ) -> Result<bool, StoreError> {
        let deleted = self.inner.delete_schedule(tenant, name, revision).await;
        self.heard(deleted).await
    }

    async fn find_schedule(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<ScheduleRecord>, StoreError> {
        self.inner.find_schedule(tenant, name).await
    }

    async fn list_schedules(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.inner.list_schedules(tenant, after, limit).await
    }

    async fn count_schedules(&self, tenant: &str) -> Result<i64, StoreError> {
        self.inner.count_schedules(tenant).await
    }

    async fn schedules_of(&self, partition: u8) -> Result<Vec<ScheduleRecord>, StoreError> {
        self.inner.schedules_of(partition).await
    }

    async fn put_fired(&self, fired: &FiredRecord) -> Result<bool, StoreError> {
        self.inner.put_fired(fired).await
    }
}

/// A registry of nodes that fails to take partitions back a few times.
pub struct Reluctant {
    inner: Arc<dyn NodeStore>,
    n_left: AtomicUsize,
}

impl Reluctant {
    /// Fails the first `n` times that somebody gives partitions back.
    pub fn of(inner: Arc<dyn NodeStore>, n: usize) -> Arc<dyn NodeStore> {
        let n_left = AtomicUsize::new(n);
        Arc::new(Self { inner, n_left })
    }
}

#[async_trait]
impl NodeStore for Reluctant {
    async fn join(
        &self,
        entry: &NodeEntry,
        earlier: Option<&str>,
        lease_ms: i64,
    ) -> Result<i64, StoreError> {
        self.inner.join(entry, earlier, lease_ms).await
    }

    async fn renew(&self, node: &str, lease_ms: i64) -> Result<bool, StoreError> {
        self.inner.renew(node, lease_ms).await
    }

    async fn survey(&self) -> Result<Survey, StoreError> {
        self.inner.survey().await
    }

    async fn take(&self, node: &str, partitions: &[u8]) -> Result<Acquired, StoreError> {
        self.inner.take(node, partitions).await
    }

    async fn give_back(&self, node: &str, fences: &[Fence]) -> Result<(), StoreError> {
        if counts_down(&self.n_left) {
            return Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
        }
        self.inner.give_back(node, fences).await
    }

    async fn leave(&self, node: &str) -> Result<(), StoreError> {
        self.inner.leave(node).await
    }
}

/// Whether there was something left.
fn counts_down(n_left: &AtomicUsize) -> bool {
    let less = |n: usize| n.checked_sub(1);
    let counted = n_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    counted.is_ok()
}
