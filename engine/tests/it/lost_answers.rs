//! A store of schedules that carries out an act, and whose answer to it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use btrust_engine::store::StoreError;
use btrust_engine::store::schedules::{FiredRecord, ScheduleRecord, ScheduleStore};

pub struct LostAnswers {
    inner: Arc<dyn ScheduleStore>,
    n_left: AtomicUsize,
}

impl LostAnswers {
    /// Loses the answers to the first `n` acts of people.
    pub fn of(inner: Arc<dyn ScheduleStore>, n: usize) -> Arc<dyn ScheduleStore> {
        let n_left = AtomicUsize::new(n);
        Arc::new(Self { inner, n_left })
    }

    fn heard(&self, answer: Result<bool, StoreError>) -> Result<bool, StoreError> {
        let less = |n: usize| n.checked_sub(1);
        let counted = self
            .n_left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        match counted {
            Ok(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
            Err(_) => answer,
        }
    }
}

#[async_trait]
impl ScheduleStore for LostAnswers {
    async fn insert_schedule(&self, record: &ScheduleRecord) -> Result<bool, StoreError> {
        self.heard(self.inner.insert_schedule(record).await)
    }

    async fn replace_schedule(&self, record: &ScheduleRecord) -> Result<bool, StoreError> {
        self.heard(self.inner.replace_schedule(record).await)
    }

    async fn delete_schedule(
        &self,
        tenant: &str,
        name: &str,
        revision: i64,
    ) -> Result<bool, StoreError> {
        let deleted = self.inner.delete_schedule(tenant, name, revision).await;
        self.heard(deleted)
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
