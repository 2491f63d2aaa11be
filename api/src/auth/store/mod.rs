//! The rows of `auth.sqlite`, one file a table.
//!
//! Every statement is one SQL text that SQLite and MySQL both take: `?`
//! parameters, times as milliseconds, ids as text.

pub mod clients;
pub mod counters;
pub mod handoffs;
pub mod keys;
pub mod resume_links;

use sqlx::{SqlitePool, migrate::Migrator};

use super::contact_codes::SESSION_MS;

/// The schema of `auth.sqlite`.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite/auth");

/// The database of the auth service.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
}

/// The database did not answer, or holds what this program cannot read.
#[derive(Debug, thiserror::Error)]
#[error("the auth store did not answer")]
pub struct StoreError(#[from] sqlx::Error);

impl Store {
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// Begins to write; dropped without a commit, nothing has happened.
    pub async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.pool.begin().await?)
    }

    /// Whether the database answers; what health asks.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Deletes links, codes and counters whose time is over.
    pub async fn sweep(&self, now_ms: i64) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM handoff WHERE expires_at <= ?",
            "DELETE FROM resume_link WHERE expires_at <= ?",
            "DELETE FROM counter WHERE resets_at <= ?",
        ] {
            sqlx::query(statement)
                .bind(now_ms)
                .execute(&self.pool)
                .await?;
        }
        sqlx::query("DELETE FROM contact_sends WHERE latest_at <= ?")
            .bind(now_ms - SESSION_MS)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// A store in memory-backed temporary storage, for the tests of this folder.
#[cfg(test)]
pub(crate) async fn for_tests() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let pool = btrust_platform::sqlite::open(&folder.path().join("auth.sqlite"), &MIGRATIONS)
        .await
        .unwrap();
    (folder, Store::new(pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the scopes of clients, in the order of their ids, become from migration `version` on.
    async fn migrated(version: i64, clients: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let before = MIGRATIONS.iter().filter(|it| it.version < version);
        let before = Migrator {
            migrations: before.cloned().collect(),
            ..Migrator::DEFAULT
        };
        before.run(&pool).await.unwrap();
        for (id, scopes) in clients {
            sqlx::query("INSERT INTO client VALUES (?, 'bank', 'x', 'client', ?, 'x', 0)")
                .bind(id)
                .bind(scopes)
                .execute(&pool)
                .await
                .unwrap();
        }
        pool.close().await;
        let pool = btrust_platform::sqlite::open(&path, &MIGRATIONS).await;
        sqlx::query_scalar("SELECT scopes FROM client ORDER BY id")
            .fetch_all(&pool.unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn who_could_publish_before_publishing_had_a_scope_still_can() {
        let scopes = migrated(
            3,
            &[
                (
                    "admin",
                    "clients:write definitions:read definitions:write tenant:read",
                ),
                ("author", "definitions:write"),
                ("bank", "definitions:read workflows:read"),
            ],
        );
        let expected = [
            "analytics:read audit:read clients:write definitions:publish definitions:read definitions:write tenant:read webhooks:read webhooks:write workflows:operate",
            "definitions:publish definitions:write",
            "definitions:read workflows:read",
        ];
        assert_eq!(scopes.await, expected);
    }

    #[tokio::test]
    async fn who_makes_clients_may_operate_workflows() {
        let scopes = migrated(
            5,
            &[
                ("admin", "clients:write tenant:write workflows:read"),
                ("bank", "workflows:read workflows:write"),
                ("maker", "clients:write tenant:read"),
                ("starter", "clients:write workflows:write"),
            ],
        );
        let expected = [
            "analytics:read audit:read clients:write tenant:write webhooks:read webhooks:write workflows:operate workflows:read",
            "workflows:read workflows:write",
            "analytics:read audit:read clients:write tenant:read webhooks:read webhooks:write workflows:operate",
            "analytics:read audit:read clients:write webhooks:read webhooks:write workflows:operate workflows:write",
        ];
        assert_eq!(scopes.await, expected);
    }

    #[tokio::test]
    async fn who_makes_clients_may_have_webhooks() {
        let scopes = migrated(
            8,
            &[
                (
                    "admin",
                    "clients:write tenant:write workflows:operate workflows:read",
                ),
                ("bank", "workflows:read workflows:write"),
                ("maker", "clients:write tenant:read"),
                ("reader", "clients:write workflows:read workflows:write"),
                ("starter", "clients:write workflows:write"),
            ],
        );
        let expected = [
            "audit:read clients:write tenant:write webhooks:read webhooks:write workflows:operate workflows:read",
            "workflows:read workflows:write",
            "audit:read clients:write tenant:read webhooks:read webhooks:write",
            "audit:read clients:write webhooks:read webhooks:write workflows:read workflows:write",
            "audit:read clients:write webhooks:read webhooks:write workflows:write",
        ];
        assert_eq!(scopes.await, expected);
    }

    #[tokio::test]
    async fn who_starts_workflows_may_send_tokens_of_tasks_back() {
        let scopes = migrated(
            4,
            &[
                (
                    "bank",
                    "definitions:read tenant:read tenant:write workflows:read workflows:write",
                ),
                ("other", "workflows:read workflows:write"),
                ("reader", "tenant:read workflows:read"),
                ("starter", "workflows:write"),
            ],
        );
        let expected = [
            "definitions:read tasks:write tenant:read tenant:write workflows:read workflows:write",
            "tasks:write workflows:read workflows:write",
            "tenant:read workflows:read",
            "tasks:write workflows:write",
        ];
        assert_eq!(scopes.await, expected);
    }
}
