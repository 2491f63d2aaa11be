//! One data key a workflow, so that erasing a person is destroying a key.
//!
//! Wrapped keys live in a database of their own, because its backups are kept for at most 35 days: erasing
//! is complete when the last backup with the key is gone. So `KEYS_DATABASE_URL` never names the database
//! of the state, and where several nodes share a state on MySQL they share the keys on MySQL too.

mod cache;
mod mysql;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use btrust_schemas::ids::WorkflowId;

use crate::config::{ConfigError, Settings};
use crate::data_dir::DataDir;
use crate::database_url::{self, DATABASE, DatabaseUrl, KEYS_DATABASE};
use crate::keys::{KeyError, Keys};
use crate::mysql::MySqlError;
use crate::sealing::Sealer;
use crate::sqlite::DbError;

pub use cache::CACHED_FOR;
pub use mysql::MySqlWorkflowKeys;
pub use sqlite::SqliteWorkflowKeys;

/// The data keys of workflows.
#[async_trait]
pub trait WorkflowKeys: Send + Sync {
    /// Mints keys for those of these (tenant, workflow) that never had one.
    ///
    /// All or none of them are stored when this returns; calling it again
    /// changes nothing, and a destroyed key stays destroyed.
    async fn create_many(&self, workflows: &[(String, WorkflowId)]) -> Result<(), KeyError>;

    /// What seals and opens for a workflow; `None` if it has no key or its key was destroyed.
    async fn sealer(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<Option<Arc<Sealer>>, KeyError>;

    /// Makes everything sealed for a workflow unreadable for good, a key that comes later included.
    ///
    /// After an error the key may be destroyed already; call it again.
    /// Other processes that used the key lately may use it for [`CACHED_FOR`] more.
    async fn destroy(&self, tenant: &str, workflow: WorkflowId) -> Result<(), KeyError>;
}

/// Where the wrapped keys are.
///
/// # Errors
///
/// [`ConfigError`] for a URL that is not understood; where the state is on MySQL, also when
/// `KEYS_DATABASE_URL` is absent, names a file (the next node would not have it) or the state's own database
/// (its backups would keep what was erased).
pub fn location(settings: &Settings, data_dir: &DataDir) -> Result<DatabaseUrl, ConfigError> {
    let invalid = |expected: &str| ConfigError::Invalid {
        name: KEYS_DATABASE.url.to_owned(),
        expected: expected.to_owned(),
    };
    let state = database_url::read(settings, DATABASE)?;
    let keys = database_url::read(settings, KEYS_DATABASE)?;
    match (state, keys) {
        (Some(DatabaseUrl::MySql(_)), None) => Err(ConfigError::Missing {
            name: KEYS_DATABASE.url.to_owned(),
        }),
        (Some(DatabaseUrl::MySql(_)), Some(DatabaseUrl::Sqlite(_))) => Err(invalid(
            "a MySQL database, as DATABASE_URL is: nodes that share the state share its keys",
        )),
        (Some(DatabaseUrl::MySql(state)), Some(DatabaseUrl::MySql(keys)))
            if state.is_same_database(&keys) =>
        {
            Err(invalid(
                "another database than DATABASE_URL: backups of keys are kept for 35 days at most",
            ))
        }
        (_, Some(keys)) => Ok(keys),
        (_, None) => Ok(DatabaseUrl::Sqlite(data_dir.keys_db())),
    }
}

/// Why the keys of workflows cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Sqlite(#[from] DbError),
    #[error(transparent)]
    MySql(#[from] MySqlError),
    /// This process would make keys that no other node can open, and cannot open theirs.
    #[error("the master key of this node is not the one that the stored keys are wrapped under")]
    OtherMasterKey(#[source] KeyError),
    #[error("the keys do not answer")]
    Keys(#[from] KeyError),
}

/// Opens the keys where [`location`] says.
///
/// # Errors
///
/// [`OpenError`].
pub async fn open(
    settings: &Settings,
    data_dir: &DataDir,
    keys: Arc<dyn Keys>,
) -> Result<Arc<dyn WorkflowKeys>, OpenError> {
    open_at(&location(settings, data_dir)?, keys).await
}

/// Opens the keys in a database.
///
/// # Errors
///
/// [`OpenError`].
pub async fn open_at(
    location: &DatabaseUrl,
    keys: Arc<dyn Keys>,
) -> Result<Arc<dyn WorkflowKeys>, OpenError> {
    Ok(match location {
        DatabaseUrl::Sqlite(path) => Arc::new(SqliteWorkflowKeys::open(path, keys).await?),
        DatabaseUrl::MySql(address) => {
            Arc::new(MySqlWorkflowKeys::open((**address).clone(), keys).await?)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn locate(state: &str, keys: &str) -> Result<DatabaseUrl, ConfigError> {
        let settings = Settings::from_table([("DATABASE_URL", state), ("KEYS_DATABASE_URL", keys)]);
        location(&settings, &DataDir::new("/data"))
    }

    #[test]
    fn one_machine_keeps_its_keys_in_a_file_of_their_own() {
        for (state, keys, path) in [
            ("", "", "/data/keys.sqlite"),
            ("sqlite:/other/state.sqlite", "", "/data/keys.sqlite"),
            ("", "sqlite:/other/keys.sqlite", "/other/keys.sqlite"),
        ] {
            let found = locate(state, keys).unwrap();
            assert!(matches!(found, DatabaseUrl::Sqlite(it) if it == Path::new(path)));
        }
    }

    #[test]
    fn a_state_on_mysql_has_its_keys_on_mysql_in_another_database() {
        let state = "mysql://db/state";
        assert!(matches!(
            locate(state, "mysql://db/keys"),
            Ok(DatabaseUrl::MySql(_))
        ));
        for keys in ["", "sqlite:/keys.sqlite", "jdbc:mysql://DB:3306/state"] {
            let error = locate(state, keys).unwrap_err();
            assert!(error.to_string().contains("KEYS_DATABASE_URL"), "{error}");
        }
    }
}
