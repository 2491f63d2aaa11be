//! Acts on the disk of the service that saw them, until core has recorded them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use prometheus::{IntGaugeVec, register_int_gauge_vec};
use serde_json::{Map, Value, json};
use sqlx::{Row as _, SqliteConnection, SqlitePool};
use tokio::sync::Notify;

use btrust_platform::health::Check;

use btrust_schemas::events::ReportedAct;

/// Acts that wait for core; more are refused, so that a service whose core is away does not fill its disk.
///
/// Source: 50 MiB; a bank of ours does that much in a day.
pub const WAITING_MAX: i64 = 100_000;

/// Acts that core did not take and that are kept for the next start; more of them wait like the others, until the
/// queue is full.
pub const SET_ASIDE_MAX: i64 = 100_000;

static WAITING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Acts on the disk of a service that core has not recorded yet.";
    register_int_gauge_vec!("acts_waiting", help, &["service"]).expect("it is registered once")
});
static SET_ASIDE_NOW: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Acts that core did not take, or that cannot be read; they are tried again at the next start.";
    register_int_gauge_vec!("acts_set_aside", help, &["service"]).expect("it is registered once")
});

/// What a row says of its act.
const BEGUN: i64 = 0;
const SETTLED: i64 = 1;
const SET_ASIDE: i64 = 2;

/// The queue of one service; clones share it.
#[derive(Clone)]
pub struct Outbox {
    pool: SqlitePool,
    service: &'static str,
    n_waiting: Arc<AtomicI64>,
    n_aside: Arc<AtomicI64>,
    filled: Arc<Notify>,
}

/// Why an act could not be noted.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error("the queue of acts did not answer")]
    Store(#[from] sqlx::Error),
    #[error("too many acts wait for core")]
    Full,
}

/// An act that waits.
pub struct Waiting {
    place: i64,
    pub tenant: String,
    pub act: ReportedAct,
}

impl Outbox {
    /// Opens the queue, maybe beside the service whose queue it is.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn open(pool: SqlitePool, service: &'static str) -> Result<Self, OutboxError> {
        let outbox = Self {
            pool,
            service,
            n_waiting: Arc::default(),
            n_aside: Arc::default(),
            filled: Arc::new(Notify::new()),
        };
        outbox.count().await?;
        Ok(outbox)
    }

    /// Takes up what an earlier run has left: acts that had begun then have an end that nobody knows, and what was
    /// set aside is tried again. Only the service itself may: the acts of one that runs have not ended.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn take_up(&self) -> Result<(), OutboxError> {
        sqlx::query("UPDATE act_outbox SET is_settled = ? WHERE is_settled <> ?")
            .bind(SETTLED)
            .bind(SETTLED)
            .execute(&self.pool)
            .await?;
        self.count().await
    }

    async fn count(&self) -> Result<(), OutboxError> {
        let count = "SELECT COUNT(*), COUNT(CASE WHEN is_settled = ? THEN 1 END) FROM act_outbox";
        let row = sqlx::query(count).bind(SET_ASIDE).fetch_one(&self.pool);
        let row = row.await?;
        let (n_all, n_aside): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        self.n_waiting.store(n_all - n_aside, Ordering::Relaxed);
        self.n_aside.store(n_aside, Ordering::Relaxed);
        self.observe();
        Ok(())
    }

    fn observe(&self) {
        let at = &[self.service];
        let gauge = |it: &AtomicI64| it.load(Ordering::Relaxed);
        WAITING.with_label_values(at).set(gauge(&self.n_waiting));
        SET_ASIDE_NOW
            .with_label_values(at)
            .set(gauge(&self.n_aside));
    }

    /// Notes an act that begins.
    pub async fn begin(&self, tenant: &str, act: &ReportedAct) -> Result<(), OutboxError> {
        self.insert(tenant, act, BEGUN).await
    }

    /// Notes an act whose end is known.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]; the act is not noted.
    pub async fn put(&self, tenant: &str, act: &ReportedAct) -> Result<(), OutboxError> {
        self.insert(tenant, act, SETTLED).await?;
        self.filled.notify_one();
        Ok(())
    }

    /// Notes an act in a transaction of the queue's database; [`Outbox::has_put`] is said after its commit.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]; the transaction is not to be committed.
    pub async fn put_within(
        &self,
        transaction: &mut SqliteConnection,
        tenant: &str,
        act: &ReportedAct,
    ) -> Result<(), OutboxError> {
        self.write(transaction, tenant, act, SETTLED).await
    }

    /// Counts an act that was noted by [`Outbox::put_within`].
    pub fn has_put(&self) {
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        self.observe();
        self.filled.notify_one();
    }

    async fn insert(&self, tenant: &str, act: &ReportedAct, state: i64) -> Result<(), OutboxError> {
        let mut connection = self.pool.acquire().await?;
        self.write(&mut connection, tenant, act, state).await?;
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        self.observe();
        Ok(())
    }

    async fn write(
        &self,
        connection: &mut SqliteConnection,
        tenant: &str,
        act: &ReportedAct,
        state: i64,
    ) -> Result<(), OutboxError> {
        if WAITING_MAX <= self.n_waiting.load(Ordering::Relaxed) {
            return Err(OutboxError::Full);
        }
        sqlx::query(
            "INSERT INTO act_outbox (act, tenant, noted_ms, is_settled, reported) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&act.id)
        .bind(tenant)
        .bind(act.act.at_ms)
        .bind(state)
        .bind(text(act))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Notes how an act has ended that had begun.
    pub(super) async fn settle(&self, act: &ReportedAct) -> Result<(), OutboxError> {
        sqlx::query("UPDATE act_outbox SET is_settled = ?, reported = ? WHERE act = ?")
            .bind(SETTLED)
            .bind(text(act))
            .bind(&act.id)
            .execute(&self.pool)
            .await?;
        self.filled.notify_one();
        Ok(())
    }

    /// The first tenant after `after` of whom acts wait that have ended.
    pub(super) async fn tenant_after(&self, after: &str) -> Result<Option<String>, OutboxError> {
        let found = sqlx::query_scalar(
            "SELECT tenant FROM act_outbox WHERE is_settled = ? AND tenant > ? ORDER BY tenant LIMIT 1",
        )
        .bind(SETTLED)
        .bind(after)
        .fetch_optional(&self.pool);
        Ok(found.await?)
    }

    /// The oldest acts of a tenant that wait and have ended. What cannot be read is set aside.
    pub(super) async fn oldest_of(
        &self,
        tenant: &str,
        limit: i64,
    ) -> Result<Vec<Waiting>, OutboxError> {
        let rows = sqlx::query(
            "SELECT place, reported FROM act_outbox WHERE is_settled = ? AND tenant = ? \
             ORDER BY place LIMIT ?",
        )
        .bind(SETTLED)
        .bind(tenant)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let mut oldest = Vec::with_capacity(rows.len());
        for row in rows {
            let (place, text): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            match serde_json::from_str(&text) {
                Ok(act) => oldest.push(Waiting {
                    place,
                    tenant: tenant.to_owned(),
                    act,
                }),
                Err(error) => {
                    let (service, code) = (self.service, "act_set_aside");
                    tracing::error!(
                        service,
                        code,
                        place,
                        %error,
                        "an act cannot be read: it is tried again at the next start"
                    );
                    self.set_place_aside(place).await?;
                }
            }
        }
        Ok(oldest)
    }

    /// The oldest acts that wait and have ended, whoever's they are.
    #[cfg(test)]
    pub async fn oldest(&self, limit: i64) -> Result<Vec<Waiting>, OutboxError> {
        let mut oldest = Vec::new();
        let mut after = String::new();
        while let Some(tenant) = self.tenant_after(&after).await? {
            oldest.extend(self.oldest_of(&tenant, limit).await?);
            after = tenant;
        }
        oldest.sort_by_key(|it| it.place);
        oldest.truncate(usize::try_from(limit).unwrap());
        Ok(oldest)
    }

    /// Forgets acts that core has recorded.
    pub(super) async fn forget(&self, acts: &[Waiting]) -> Result<(), OutboxError> {
        let mut transaction = self.pool.begin().await?;
        for it in acts {
            sqlx::query("DELETE FROM act_outbox WHERE place = ?")
                .bind(it.place)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        let n_gone = i64::try_from(acts.len()).unwrap_or(i64::MAX);
        self.n_waiting.fetch_sub(n_gone, Ordering::Relaxed);
        self.observe();
        Ok(())
    }

    /// Keeps an act that core does not take, out of the way of the others.
    pub(super) async fn set_aside(&self, act: &Waiting) -> Result<(), OutboxError> {
        self.set_place_aside(act.place).await
    }

    async fn set_place_aside(&self, place: i64) -> Result<(), OutboxError> {
        if SET_ASIDE_MAX <= self.n_aside.load(Ordering::Relaxed) {
            return Err(OutboxError::Full);
        }
        sqlx::query("UPDATE act_outbox SET is_settled = ? WHERE place = ?")
            .bind(SET_ASIDE)
            .bind(place)
            .execute(&self.pool)
            .await?;
        self.n_waiting.fetch_sub(1, Ordering::Relaxed);
        self.n_aside.fetch_add(1, Ordering::Relaxed);
        self.observe();
        Ok(())
    }

    /// Waits until something was noted.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// The database of the queue.
    #[cfg(test)]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

#[async_trait]
impl Check for Outbox {
    async fn check(&self) -> Result<(), String> {
        match self.n_aside.load(Ordering::Relaxed) {
            0 => Ok(()),
            n_aside => Err(format!("act_set_aside: core did not take {n_aside} acts")),
        }
    }

    fn details(&self) -> Map<String, Value> {
        let count = |it: &AtomicI64| json!(it.load(Ordering::Relaxed));
        Map::from_iter([
            ("waiting".to_owned(), count(&self.n_waiting)),
            ("setAside".to_owned(), count(&self.n_aside)),
        ])
    }
}

fn text(act: &ReportedAct) -> String {
    serde_json::to_string(act).expect("an act is plain JSON")
}
