//! The store that `DATABASE_URL` names.

use std::sync::Arc;

use btrust_platform::config::{ConfigError, Settings};
use btrust_platform::data_dir::DataDir;
use btrust_platform::database_url::{self, DATABASE, DatabaseUrl};
use btrust_platform::health::{Check, MySqlCheck, SqliteCheck};
use btrust_platform::mysql::MySqlError;
use btrust_platform::sqlite::DbError;

use super::Store;
use super::audit_log::AuditLogStore;
use super::definitions::DefinitionStore;
use super::lists::ListStore;
use super::mysql::MySqlStore;
use super::nodes::NodeStore;
use super::operations::OperationStore;
use super::restore::RestoreStore;
use super::schedules::ScheduleStore;
use super::sqlite::SqliteStore;
use super::tenants::TenantStore;

/// Where the engine's state is: what `DATABASE_URL` says, or a file in the data folder.
///
/// # Errors
///
/// A URL that is not understood.
pub fn location(settings: &Settings, data_dir: &DataDir) -> Result<DatabaseUrl, ConfigError> {
    let location = database_url::read(settings, DATABASE)?;
    Ok(location.unwrap_or_else(|| DatabaseUrl::Sqlite(data_dir.state_db())))
}

/// Why the engine's state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Sqlite(#[from] DbError),
    #[error(transparent)]
    MySql(#[from] MySqlError),
}

/// One database behind all the traits of this folder.
#[derive(Clone)]
pub struct Stores {
    pub store: Arc<dyn Store>,
    pub lists: Arc<dyn ListStore>,
    pub definitions: Arc<dyn DefinitionStore>,
    pub operations: Arc<dyn OperationStore>,
    pub schedules: Arc<dyn ScheduleStore>,
    pub audit_log: Arc<dyn AuditLogStore>,
    pub tenants: Arc<dyn TenantStore>,
    pub nodes: Arc<dyn NodeStore>,
    /// Whether several nodes may share the database; a file belongs to one.
    pub is_shared: bool,
    pub restore: Arc<dyn RestoreStore>,
    /// Whether the database answers.
    pub check: Arc<dyn Check>,
}

impl Stores {
    /// Opens the database and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; of its cases only a server that cannot be reached goes away by itself.
    pub async fn open(location: &DatabaseUrl) -> Result<Self, OpenError> {
        Ok(match location {
            DatabaseUrl::Sqlite(path) => {
                let store = Arc::new(SqliteStore::open(path).await?);
                let check = Arc::new(SqliteCheck(store.pool().clone()));
                Self::of(store, check, false)
            }
            DatabaseUrl::MySql(address) => {
                let store = Arc::new(MySqlStore::open((**address).clone()).await?);
                let check = Arc::new(MySqlCheck(store.pool().clone()));
                Self::of(store, check, true)
            }
        })
    }

    fn of<S>(store: Arc<S>, check: Arc<dyn Check>, is_shared: bool) -> Self
    where
        S: Store
            + AuditLogStore
            + ListStore
            + DefinitionStore
            + NodeStore
            + OperationStore
            + RestoreStore
            + ScheduleStore
            + TenantStore
            + 'static,
    {
        Self {
            store: Arc::clone(&store) as _,
            lists: Arc::clone(&store) as _,
            definitions: Arc::clone(&store) as _,
            operations: Arc::clone(&store) as _,
            schedules: Arc::clone(&store) as _,
            audit_log: Arc::clone(&store) as _,
            tenants: Arc::clone(&store) as _,
            nodes: Arc::clone(&store) as _,
            is_shared,
            restore: store,
            check,
        }
    }
}
