//! The database of the consumers.

use std::sync::LazyLock;

use sqlx::migrate::Migrator;

use crate::config::{ConfigError, Settings};
use crate::data_dir::DataDir;
use crate::database_url::{self, DATABASE, DatabaseUrl};
use crate::relational::{OpenError, Relational};

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite/consumers");
/// On MySQL the tables lie beside those of the engine, so what has been migrated is noted apart.
static MYSQL_MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("../migrations/mysql/consumers");
    migrations.dangerous_set_table_name("_consumer_migrations");
    migrations
});

/// Where consumers keep their leases and what they make of events: the MySQL database that `DATABASE_URL`
/// names, otherwise a file of their own in the data folder.
///
/// # Errors
///
/// [`ConfigError`] for a URL that is not understood.
pub fn location(settings: &Settings, data_dir: &DataDir) -> Result<DatabaseUrl, ConfigError> {
    Ok(match database_url::read(settings, DATABASE)? {
        Some(DatabaseUrl::MySql(address)) => DatabaseUrl::MySql(address),
        Some(DatabaseUrl::Sqlite(_)) | None => DatabaseUrl::Sqlite(data_dir.consumers_db()),
    })
}

/// Opens the database and brings its tables up to date.
///
/// # Errors
///
/// [`OpenError`].
pub async fn open(location: &DatabaseUrl) -> Result<Relational, OpenError> {
    Relational::open(location, &SQLITE_MIGRATIONS, &MYSQL_MIGRATIONS).await
}
