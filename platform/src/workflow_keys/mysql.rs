//! Wrapped keys in a MySQL database that all nodes share.
//!
//! What is destroyed is overwritten in its row. Earlier versions of the row stay in the server's undo and
//! redo logs until those are reused, and in the binary log until it expires: keep that at 35 days or less,
//! as the backups.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use btrust_schemas::ids::WorkflowId;
use rand::RngExt;
use sqlx::migrate::Migrator;
use sqlx::mysql::MySqlRow;
use sqlx::{MySql, MySqlPool, QueryBuilder, Row};

use super::cache::SharedCache;
use super::{OpenError, WorkflowKeys};
use crate::database_url::MySqlAddress;
use crate::flushes::{self, Flushed};
use crate::keys::{DataKey, KeyError, Keys, WrappedKey};
use crate::mysql::{CALL_MAX, CONNECTIONS_MAX, Database, timed_out};
use crate::sealing::Sealer;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/mysql/keys");

/// Keys written by one statement; below the 65,535 values that a statement may bind.
const ROWS_MAX: usize = 500;
/// The tenant whose key shows that every node has the same master key. No tenant is called so.
const PROBE_TENANT: &str = "";
const PROBE: &str = "master";

/// Wrapped keys in a database of their own.
pub struct MySqlWorkflowKeys {
    pool: MySqlPool,
    keys: Arc<dyn Keys>,
    cache: SharedCache,
}

impl MySqlWorkflowKeys {
    /// Opens the database, and sees to it that this process wraps as the others do.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(address: MySqlAddress, keys: Arc<dyn Keys>) -> Result<Self, OpenError> {
        let database = Database::open(address, &MIGRATIONS).await?;
        let it = Self {
            pool: database.pool(CONNECTIONS_MAX),
            keys,
            cache: SharedCache::default(),
        };
        it.compare_master_keys().await?;
        Ok(it)
    }

    /// The database's connections, for a health check.
    #[must_use]
    pub fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    /// Unwraps what the first node of all has wrapped; or wraps it, being that node.
    async fn compare_master_keys(&self) -> Result<(), OpenError> {
        let wrapped = self.keys.wrap(PROBE_TENANT, &DataKey::generate()).await?;
        bounded(
            sqlx::query(
                "INSERT INTO workflow_key (tenant, workflow, key_id, wrapped) VALUES (?, ?, ?, ?) \
                 ON DUPLICATE KEY UPDATE workflow = workflow",
            )
            .bind(PROBE_TENANT)
            .bind(PROBE)
            .bind([0_u8; 8].as_slice())
            .bind(wrapped.0)
            .execute(&self.pool),
        )
        .await?;
        let (_, wrapped) = self.find(PROBE_TENANT, PROBE).await?.unwrap_or_default();
        let wrapped = WrappedKey(wrapped.unwrap_or_default());
        match self.keys.unwrap(PROBE_TENANT, &wrapped).await {
            Ok(_) => Ok(()),
            Err(error @ KeyError::Refused) => Err(OpenError::OtherMasterKey(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// The id and the wrapped key of a row, which is a tombstone without the latter.
    async fn find(
        &self,
        tenant: &str,
        workflow: &str,
    ) -> Result<Option<(Vec<u8>, Option<Vec<u8>>)>, KeyError> {
        let row = bounded(
            sqlx::query(
                "SELECT key_id, wrapped FROM workflow_key WHERE tenant = ? AND workflow = ?",
            )
            .bind(tenant)
            .bind(workflow)
            .fetch_optional(&self.pool),
        )
        .await?;
        let columns = |row: MySqlRow| Ok((row.try_get(0)?, row.try_get(1)?));
        row.map(columns)
            .transpose()
            .map_err(|error: sqlx::Error| error.into())
    }

    /// Stores keys where there are none; a key that is there already, or was, stays.
    async fn insert(&self, minted: &[Minted<'_>]) -> Result<(), KeyError> {
        let mut query = QueryBuilder::<MySql>::new(
            "INSERT INTO workflow_key (tenant, workflow, key_id, wrapped) ",
        );
        query.push_values(minted, |mut row, it| {
            row.push_bind(it.tenant)
                .push_bind(it.workflow.to_string())
                .push_bind(it.key_id.as_slice())
                .push_bind(it.wrapped.0.as_slice());
        });
        query.push(" ON DUPLICATE KEY UPDATE key_id = workflow_key.key_id");
        bounded(query.build().execute(&self.pool)).await?;
        Ok(())
    }

    /// Which of these keys are the stored ones.
    async fn stored(&self, minted: &[Minted<'_>]) -> Result<Vec<[u8; 8]>, KeyError> {
        let mut query = QueryBuilder::<MySql>::new("SELECT key_id FROM workflow_key WHERE ");
        let mut alternatives = query.separated(" OR ");
        for it in minted {
            alternatives
                .push("(tenant = ")
                .push_bind_unseparated(it.tenant);
            alternatives.push_unseparated(" AND workflow = ");
            alternatives
                .push_bind_unseparated(it.workflow.to_string())
                .push_unseparated(")");
        }
        let rows = bounded(query.build().fetch_all(&self.pool)).await?;
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            let id: Vec<u8> = row.try_get(0).map_err(KeyError::from)?;
            ids.extend(<[u8; 8]>::try_from(id));
        }
        Ok(ids)
    }
}

/// A key that is not stored yet.
struct Minted<'m> {
    tenant: &'m str,
    workflow: WorkflowId,
    key_id: [u8; 8],
    data_key: DataKey,
    wrapped: WrappedKey,
}

#[async_trait]
impl WorkflowKeys for MySqlWorkflowKeys {
    async fn create_many(&self, workflows: &[(String, WorkflowId)]) -> Result<(), KeyError> {
        let mut minted = Vec::with_capacity(workflows.len());
        for (tenant, workflow) in workflows {
            let data_key = DataKey::generate();
            let wrapped = self.keys.wrap(tenant, &data_key).await?;
            minted.push(Minted {
                tenant,
                workflow: *workflow,
                key_id: rand::rng().random(),
                data_key,
                wrapped,
            });
        }
        // In the order of keys, so that two nodes never wait for each other in a circle.
        minted.sort_by(|a, b| (a.tenant, a.workflow).cmp(&(b.tenant, b.workflow)));
        for rows in minted.chunks(ROWS_MAX) {
            self.insert(rows).await?;
            flushes::count(Flushed::Keys);
            let stored = self.stored(rows).await?;
            let now = Instant::now();
            let mut cache = self.cache.lock();
            for it in rows.iter().filter(|it| stored.contains(&it.key_id)) {
                let sealer = Arc::new(Sealer::new(it.data_key.clone(), it.key_id));
                cache.insert((it.tenant.to_owned(), it.workflow), sealer, now);
            }
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
        let Some((key_id, Some(wrapped))) = self.find(tenant, &workflow.to_string()).await? else {
            return Ok(None);
        };
        let key_id = key_id.try_into().map_err(|_| KeyError::Refused)?;
        let data_key = self.keys.unwrap(tenant, &WrappedKey(wrapped)).await?;
        let sealer = Arc::new(Sealer::new(data_key, key_id));
        self.cache.lock().insert(owner, Arc::clone(&sealer), now);
        Ok(Some(sealer))
    }

    async fn destroy(&self, tenant: &str, workflow: WorkflowId) -> Result<(), KeyError> {
        let destroyed = bounded(
            sqlx::query(
                "INSERT INTO workflow_key (tenant, workflow, key_id, wrapped) VALUES (?, ?, '', NULL) \
                 ON DUPLICATE KEY UPDATE key_id = '', wrapped = NULL",
            )
            .bind(tenant)
            .bind(workflow.to_string())
            .execute(&self.pool),
        )
        .await;
        self.cache.lock().remove(&(tenant.to_owned(), workflow));
        destroyed?;
        Ok(())
    }
}

/// Ends a call that hangs.
async fn bounded<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, KeyError> {
    let ended = tokio::time::timeout(CALL_MAX, work).await;
    Ok(ended.unwrap_or_else(|_| Err(timed_out()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::database_url::{self, DatabaseUrl, KEYS_DATABASE};
    use crate::keys::LocalKeyring;
    use crate::testing::MariaDb;

    fn address(url: &str) -> MySqlAddress {
        let settings = Settings::from_table([("KEYS_DATABASE_URL", url)]);
        match database_url::read(&settings, KEYS_DATABASE) {
            Ok(Some(DatabaseUrl::MySql(address))) => *address,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_mysql_keys_conform_and_are_shared_by_nodes_with_one_master_key() {
        let server = MariaDb::start();
        let address = address(&server.database().await);
        let dir = tempfile::tempdir().unwrap();
        let keyring = |name: &str| Arc::new(LocalKeyring::open(&dir.path().join(name)).unwrap());
        let ours = MySqlWorkflowKeys::open(address.clone(), keyring("keyring.json"))
            .await
            .unwrap();
        crate::conformance::workflow_keys(&ours).await;

        let theirs = MySqlWorkflowKeys::open(address.clone(), keyring("keyring.json"))
            .await
            .unwrap();
        let workflow = WorkflowId::new(9, [9; 15]);
        let owners = vec![("t".to_owned(), workflow); 1];
        tokio::try_join!(ours.create_many(&owners), theirs.create_many(&owners)).unwrap();
        let sealed = ours.sealer("t", workflow).await.unwrap().unwrap();
        let sealed = sealed.seal(b"x", b"plain");
        let opener = theirs.sealer("t", workflow).await.unwrap().unwrap();
        assert_eq!(opener.open(b"x", &sealed).unwrap(), b"plain");

        let many: Vec<_> = (0..1_200_u16)
            .map(|n| {
                let mut random = [0; 15];
                random[..2].copy_from_slice(&n.to_be_bytes());
                ("t".to_owned(), WorkflowId::new(3, random))
            })
            .collect();
        ours.create_many(&many).await.unwrap();
        assert!(theirs.sealer("t", many[1_199].1).await.unwrap().is_some());

        let stranger = MySqlWorkflowKeys::open(address, keyring("other.json")).await;
        assert!(matches!(stranger, Err(OpenError::OtherMasterKey(_))));
    }
}
