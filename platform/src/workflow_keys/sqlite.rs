//! Wrapped keys in an SQLite file.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use btrust_schemas::ids::WorkflowId;
use rand::RngExt;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::WorkflowKeys;
use super::cache::SharedCache;
use crate::flushes::{self, Flushed};
use crate::keys::{DataKey, KeyError, Keys, WrappedKey};
use crate::sealing::Sealer;
use crate::sqlite::{self, DbError, KEYS_MIGRATIONS};

/// Wrapped keys in an SQLite file of their own.
pub struct SqliteWorkflowKeys {
    pool: SqlitePool,
    keys: Arc<dyn Keys>,
    cache: SharedCache,
}

impl SqliteWorkflowKeys {
    /// Opens the file, and creates it if it is not there.
    ///
    /// # Errors
    ///
    /// [`DbError`] as [`sqlite::open`] says.
    pub async fn open(keys_db: &Path, keys: Arc<dyn Keys>) -> Result<Self, DbError> {
        let pool = sqlite::open(keys_db, &KEYS_MIGRATIONS).await?;
        Ok(Self {
            pool,
            keys,
            cache: SharedCache::default(),
        })
    }

    /// The file's connections, for a health check.
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }
}

/// Most keys written by one statement.
const ROWS_MAX: usize = 64;

/// How many of `n_rows` go into the next statement: a power of two, so that few texts are ever prepared.
fn rows_at_once(n_rows: usize) -> usize {
    ROWS_MAX.min(1 << n_rows.ilog2())
}

#[async_trait]
impl WorkflowKeys for SqliteWorkflowKeys {
    async fn create_many(&self, workflows: &[(String, WorkflowId)]) -> Result<(), KeyError> {
        let mut minted = Vec::with_capacity(workflows.len());
        for (tenant, workflow) in workflows {
            let data_key = DataKey::generate();
            let wrapped = self.keys.wrap(tenant, &data_key).await?;
            let key_id: [u8; 8] = rand::rng().random();
            minted.push((tenant, *workflow, key_id, data_key, wrapped));
        }

        let mut created = Vec::with_capacity(minted.len());
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        while !minted.is_empty() {
            let rest = minted.split_off(rows_at_once(minted.len()));
            let rows = std::mem::replace(&mut minted, rest);
            let mut query = QueryBuilder::<Sqlite>::new(
                "INSERT INTO workflow_key (tenant, workflow, key_id, wrapped) ",
            );
            query.push_values(&rows, |mut row, (tenant, workflow, key_id, _, wrapped)| {
                row.push_bind(tenant.as_str())
                    .push_bind(workflow.to_string())
                    .push_bind(key_id.as_slice())
                    .push_bind(wrapped.0.as_slice());
            });
            query.push(" ON CONFLICT DO NOTHING");
            let inserted = query.build().execute(&mut *transaction).await?;
            // Where some were there already, or destroyed, whoever needs one reads which it is.
            if inserted.rows_affected() == rows.len() as u64 {
                created.extend(
                    rows.into_iter()
                        .map(|(tenant, workflow, key_id, data_key, _)| {
                            ((tenant.clone(), workflow), Sealer::new(data_key, key_id))
                        }),
                );
            }
        }
        transaction.commit().await?;
        flushes::count(Flushed::Keys);

        let now = Instant::now();
        let mut cache = self.cache.lock();
        for (owner, sealer) in created {
            cache.insert(owner, Arc::new(sealer), now);
        }
        Ok(())
    }

    async fn sealer(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<Option<Arc<Sealer>>, KeyError> {
        let owner = (tenant.to_owned(), workflow);
        let now = Instant::now();
        if let Some(sealer) = self.cache.lock().get(&owner, now) {
            return Ok(Some(sealer));
        }
        let row: Option<(Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
            "SELECT key_id, wrapped FROM workflow_key WHERE tenant = ? AND workflow = ?",
        )
        .bind(tenant)
        .bind(workflow.to_string())
        .fetch_optional(&self.pool)
        .await?;
        let Some((key_id, Some(wrapped))) = row else {
            return Ok(None);
        };

        let key_id = key_id.try_into().map_err(|_| KeyError::Refused)?;
        let data_key = self.keys.unwrap(tenant, &WrappedKey(wrapped)).await?;
        let sealer = Arc::new(Sealer::new(data_key, key_id));
        self.cache.lock().insert(owner, Arc::clone(&sealer), now);
        Ok(Some(sealer))
    }

    async fn destroy(&self, tenant: &str, workflow: WorkflowId) -> Result<(), KeyError> {
        let destroyed = sqlx::query(
            "INSERT INTO workflow_key (tenant, workflow, key_id, wrapped) VALUES (?, ?, x'', NULL)
             ON CONFLICT DO UPDATE SET key_id = x'', wrapped = NULL",
        )
        .bind(tenant)
        .bind(workflow.to_string())
        .execute(&self.pool)
        .await;
        self.cache.lock().remove(&(tenant.to_owned(), workflow));
        destroyed?;
        // The write-ahead log still has the page as it was.
        let (is_busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.pool)
            .await?;
        if is_busy != 0 {
            return Err(KeyError::Unavailable(
                "the key is destroyed, but the log that had it is still being read".into(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::CACHED_FOR;
    use super::*;
    use crate::keys::LocalKeyring;

    const WORKFLOW: [u8; 15] = [3; 15];

    async fn open(dir: &Path) -> SqliteWorkflowKeys {
        let keyring = LocalKeyring::open(&dir.join("keyring.json")).unwrap();
        SqliteWorkflowKeys::open(&dir.join("keys.sqlite"), Arc::new(keyring))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn the_sqlite_keys_conform() {
        let dir = tempfile::tempdir().unwrap();
        crate::conformance::workflow_keys(&open(dir.path()).await).await;
    }

    #[tokio::test]
    async fn a_key_made_by_one_process_opens_in_another_until_it_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let workflow = WorkflowId::new(1, WORKFLOW);
        let (ours, theirs) = (open(dir.path()).await, open(dir.path()).await);
        assert!(theirs.sealer("t", workflow).await.unwrap().is_none());

        ours.create_many(&[("t".to_owned(), workflow)])
            .await
            .unwrap();
        let ciphertext = ours
            .sealer("t", workflow)
            .await
            .unwrap()
            .unwrap()
            .seal(b"x", b"plain");
        let sealer = theirs.sealer("t", workflow).await.unwrap().unwrap();
        assert_eq!(sealer.open(b"x", &ciphertext).unwrap(), b"plain");

        ours.destroy("t", workflow).await.unwrap();
        let later = Instant::now() + CACHED_FOR;
        assert!(
            theirs
                .cache
                .lock()
                .get(&("t".to_owned(), workflow), later)
                .is_none()
        );
        assert!(
            open(dir.path())
                .await
                .sealer("t", workflow)
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn a_destroyed_key_leaves_no_byte_in_any_file() {
        let dir = tempfile::tempdir().unwrap();
        let workflow = WorkflowId::new(1, WORKFLOW);
        let keys = open(dir.path()).await;
        keys.create_many(&[("t".to_owned(), workflow)])
            .await
            .unwrap();
        let (wrapped,): (Vec<u8>,) = sqlx::query_as("SELECT wrapped FROM workflow_key")
            .fetch_one(keys.pool())
            .await
            .unwrap();
        let is_anywhere = || {
            std::fs::read_dir(dir.path()).unwrap().any(|file| {
                let bytes = std::fs::read(file.unwrap().path()).unwrap();
                bytes.windows(wrapped.len()).any(|it| it == wrapped)
            })
        };
        assert!(is_anywhere());
        keys.destroy("t", workflow).await.unwrap();
        assert!(!is_anywhere());
    }
}
