//! Acts on the disk of the service that saw them, until core has recorded them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::{Row as _, SqlitePool};
use tokio::sync::Notify;

use btrust_schemas::events::ReportedAct;

/// Acts that wait for core; more are refused, so that a service whose core is away does not fill its disk.
///
/// Source: 50 MiB; a bank of ours does that much in a day.
pub const WAITING_MAX: i64 = 100_000;

/// What a row says of its act.
const BEGUN: i64 = 0;
const SETTLED: i64 = 1;
const SET_ASIDE: i64 = 2;

/// The queue of one service; clones share it.
#[derive(Clone)]
pub struct Outbox {
    pool: SqlitePool,
    n_waiting: Arc<AtomicI64>,
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
    pub tenant: String,
    pub act: ReportedAct,
}

impl Outbox {
    /// Takes up what an earlier run has left: acts that had begun then have an end that nobody knows.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn open(pool: SqlitePool) -> Result<Self, OutboxError> {
        sqlx::query("UPDATE act_outbox SET is_settled = ? WHERE is_settled = ?")
            .bind(SETTLED)
            .bind(BEGUN)
            .execute(&pool)
            .await?;
        let n_waiting = sqlx::query_scalar("SELECT COUNT(*) FROM act_outbox")
            .fetch_one(&pool)
            .await?;
        Ok(Self {
            pool,
            n_waiting: Arc::new(AtomicI64::new(n_waiting)),
            filled: Arc::new(Notify::new()),
        })
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

    async fn insert(&self, tenant: &str, act: &ReportedAct, state: i64) -> Result<(), OutboxError> {
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
        .execute(&self.pool)
        .await?;
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
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

    /// The oldest acts that wait and have ended, all of one tenant.
    pub async fn oldest(&self, limit: i64) -> Result<Vec<Waiting>, OutboxError> {
        let rows = sqlx::query(
            "SELECT tenant, reported FROM act_outbox WHERE is_settled = ? ORDER BY place LIMIT ?",
        )
        .bind(SETTLED)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let mut oldest: Vec<Waiting> = Vec::with_capacity(rows.len());
        for row in rows {
            let (tenant, text): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let act = serde_json::from_str(&text);
            let act = act.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            if oldest.first().is_some_and(|it| it.tenant != tenant) {
                break;
            }
            oldest.push(Waiting { tenant, act });
        }
        Ok(oldest)
    }

    /// Forgets acts that core has recorded.
    pub(super) async fn forget(&self, acts: &[Waiting]) -> Result<(), OutboxError> {
        let mut transaction = self.pool.begin().await?;
        for it in acts {
            sqlx::query("DELETE FROM act_outbox WHERE act = ?")
                .bind(&it.act.id)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        let n_gone = i64::try_from(acts.len()).unwrap_or(i64::MAX);
        self.n_waiting.fetch_sub(n_gone, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps an act that core will never take, out of the way of the others.
    pub(super) async fn set_aside(&self, act: &Waiting) -> Result<(), OutboxError> {
        sqlx::query("UPDATE act_outbox SET is_settled = ? WHERE act = ?")
            .bind(SET_ASIDE)
            .bind(&act.act.id)
            .execute(&self.pool)
            .await?;
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

fn text(act: &ReportedAct) -> String {
    serde_json::to_string(act).expect("an act is plain JSON")
}
