//! Counters that guard a subject: relational, so that neither a lost cache, a
//! restart nor a new link brings new guesses.

use sqlx::Row as _;

use super::{Store, StoreError};

/// What is counted, for how long and up to where.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Names the counter; written into rows, so it can never be reused.
    pub purpose: &'static str,
    /// How many there may be in one window.
    pub n_max: i64,
    /// How long a window lasts from its first count, in milliseconds.
    pub window_ms: i64,
}

impl Store {
    /// Counts one, unless the allowance is used up. `true` if it was counted.
    ///
    /// One statement decides and counts, so that parallel callers cannot share
    /// the last one.
    pub async fn count(
        &self,
        subject: &str,
        allowance: Allowance,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let Allowance {
            purpose,
            n_max,
            window_ms,
        } = allowance;
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM counter WHERE subject = ? AND purpose = ? AND resets_at <= ?")
            .bind(subject)
            .bind(purpose)
            .bind(now_ms)
            .execute(&mut *transaction)
            .await?;
        let counted =
            sqlx::query("UPDATE counter SET n = n + 1 WHERE subject = ? AND purpose = ? AND n < ?")
                .bind(subject)
                .bind(purpose)
                .bind(n_max)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
        let allowed = if counted == 0 {
            // Either there is no row yet, or it is full: only the first can insert.
            let inserted = sqlx::query(
                "INSERT INTO counter (subject, purpose, n, resets_at) \
                 SELECT ?, ?, 1, ? FROM (SELECT 1) AS one \
                 WHERE NOT EXISTS (SELECT 1 FROM counter WHERE subject = ? AND purpose = ?)",
            )
            .bind(subject)
            .bind(purpose)
            .bind(now_ms + window_ms)
            .bind(subject)
            .bind(purpose)
            .execute(&mut *transaction)
            .await?;
            inserted.rows_affected() != 0
        } else {
            true
        };
        transaction.commit().await?;
        Ok(allowed)
    }

    /// How many have been counted in the window that is open.
    pub async fn counted(
        &self,
        subject: &str,
        allowance: Allowance,
        now_ms: i64,
    ) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "SELECT n FROM counter WHERE subject = ? AND purpose = ? AND ? < resets_at",
        )
        .bind(subject)
        .bind(allowance.purpose)
        .bind(now_ms)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(0) };
        Ok(row.try_get("n")?)
    }

    /// Forgets what was counted: the person has proved themselves.
    pub async fn forget(&self, subject: &str, allowance: Allowance) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM counter WHERE subject = ? AND purpose = ?")
            .bind(subject)
            .bind(allowance.purpose)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::store::for_tests;

    const TWO: Allowance = Allowance {
        purpose: "test",
        n_max: 2,
        window_ms: 1_000,
    };

    #[tokio::test]
    async fn an_allowance_is_used_up_and_comes_back_with_its_window() {
        let (_folder, store) = for_tests().await;
        let mut counted = Vec::new();
        for now_ms in [0, 1, 2, 999, 1_000, 1_001, 1_002] {
            counted.push(store.count("subject", TWO, now_ms).await.unwrap());
        }
        assert_eq!(counted, [true, true, false, false, true, true, false]);
        assert_eq!(store.counted("subject", TWO, 1_002).await.unwrap(), 2);
        assert_eq!(store.counted("someone else", TWO, 1_002).await.unwrap(), 0);

        store.forget("subject", TWO).await.unwrap();
        assert!(store.count("subject", TWO, 1_003).await.unwrap());
    }

    #[tokio::test]
    async fn parallel_callers_never_count_more_than_the_allowance() {
        let (_folder, store) = for_tests().await;
        let all = futures_util::future::join_all(
            (0..16).map(|_| async { store.count("subject", TWO, 5).await.unwrap() }),
        )
        .await;
        assert_eq!(all.into_iter().filter(|&it| it).count(), 2);
    }
}
