//! Versions of definitions.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection as _};

use btrust_schemas::definition::VersionStatus;

use super::rows::get;
use super::{BEGIN, Connection, FOR_UPDATE, Row, SqlStore, unavailable};
use crate::store::StoreError;
use crate::store::definitions::{
    Act, DefinitionStore, LiveRecord, NewVersion, VersionKey, VersionRecord,
};

/// How often an act begins anew when others have numbered a version or a move meanwhile.
///
/// Source: each time, one of those who are at it is done; above a few dozen at once somebody is at play.
const TRIES_MAX: usize = 32;

/// Columns of [`record`]; `a` is the alias `live` as it is now.
const VERSION: &str = "SELECT d.name, d.version, d.title, d.digest, d.status, d.created_by, \
     d.created_ms, d.published_by, d.published_ms, d.retired_by, d.retired_ms, a.version AS live \
     FROM definition_version d \
     LEFT JOIN definition_live a ON a.tenant = d.tenant AND a.name = d.name AND a.revision = \
     (SELECT MAX(revision) FROM definition_live WHERE tenant = d.tenant AND name = d.name) ";

/// The version that stands for its definition: the live one, or the newest where none is live.
const STANDS: &str = "COALESCE(a.version, \
     (SELECT MAX(version) FROM definition_version WHERE tenant = d.tenant AND name = d.name))";

#[async_trait]
impl DefinitionStore for SqlStore {
    async fn draft(&self, new: &NewVersion) -> Result<(VersionRecord, bool), StoreError> {
        self.bounded(async {
            for _ in 0..TRIES_MAX {
                let Some((version, is_new)) = try_draft(self, new).await? else {
                    continue;
                };
                let record = version_record(self, &new.tenant, &new.name, Some(version)).await?;
                let what = format!("version {version} of `{}`", new.name);
                return Ok((record.ok_or(StoreError::Corrupt { what })?, is_new));
            }
            Err(contended())
        })
        .await
    }

    async fn publish(
        &self,
        key: VersionKey<'_>,
        act: &Act,
        to_live: bool,
    ) -> Result<bool, StoreError> {
        self.bounded(async {
            for _ in 0..TRIES_MAX {
                if let Some(is_published) = try_publish(self, key, act, to_live).await? {
                    return Ok(is_published);
                }
            }
            Err(contended())
        })
        .await
    }

    async fn retire(&self, key: VersionKey<'_>, act: &Act) -> Result<bool, StoreError> {
        self.bounded(retire(self, key, act)).await
    }

    async fn move_live(
        &self,
        key: VersionKey<'_>,
        revision: i64,
        act: &Act,
    ) -> Result<bool, StoreError> {
        self.bounded(move_live(self, key, revision, act)).await
    }

    async fn version(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i64>,
    ) -> Result<Option<VersionRecord>, StoreError> {
        self.bounded(version_record(self, tenant, name, version))
            .await
    }

    async fn envelope(&self, key: VersionKey<'_>) -> Result<Option<String>, StoreError> {
        let text = "SELECT envelope FROM definition_version \
                    WHERE tenant = ? AND name = ? AND version = ?";
        self.bounded(async {
            sqlx::query_scalar(text)
                .bind(key.tenant)
                .bind(key.name)
                .bind(key.version)
                .fetch_optional(self.pool())
                .await
                .map_err(unavailable)
        })
        .await
    }

    async fn all_definitions(&self, tenant: &str) -> Result<Vec<VersionRecord>, StoreError> {
        let all = "WHERE d.tenant = ? AND d.version = ";
        let text = [VERSION, all, STANDS, " ORDER BY d.name"].concat();
        self.bounded(async {
            let rows = sqlx::query(AssertSqlSafe(text))
                .bind(tenant)
                .fetch_all(self.pool())
                .await
                .map_err(unavailable)?;
            rows.iter().map(record).collect()
        })
        .await
    }

    async fn versions(
        &self,
        tenant: &str,
        name: &str,
        limit: u32,
    ) -> Result<Vec<VersionRecord>, StoreError> {
        let newest = "WHERE d.tenant = ? AND d.name = ? ORDER BY d.version DESC LIMIT ?";
        self.bounded(async {
            let rows = sqlx::query(AssertSqlSafe([VERSION, newest].concat()))
                .bind(tenant)
                .bind(name)
                .bind(limit)
                .fetch_all(self.pool())
                .await
                .map_err(unavailable)?;
            rows.iter().map(record).collect()
        })
        .await
    }

    async fn live_moves(
        &self,
        tenant: &str,
        name: &str,
        limit: u32,
    ) -> Result<Vec<LiveRecord>, StoreError> {
        let text = "SELECT version, revision, moved_by, moved_ms FROM definition_live \
                    WHERE tenant = ? AND name = ? ORDER BY revision DESC LIMIT ?";
        self.bounded(async {
            let rows = sqlx::query(text)
                .bind(tenant)
                .bind(name)
                .bind(limit)
                .fetch_all(self.pool())
                .await
                .map_err(unavailable)?;
            let record = |row: &Row| {
                Ok(LiveRecord {
                    version: get(row, "version")?,
                    revision: get(row, "revision")?,
                    moved_by: get(row, "moved_by")?,
                    moved_ms: get(row, "moved_ms")?,
                })
            };
            rows.iter().map(record).collect()
        })
        .await
    }
}

/// The version with this content and whether it is new; `None` when somebody has taken its number.
async fn try_draft(store: &SqlStore, new: &NewVersion) -> Result<Option<(i64, bool)>, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let known: Option<i64> = sqlx::query_scalar(
        "SELECT version FROM definition_version WHERE tenant = ? AND name = ? AND digest = ?",
    )
    .bind(&new.tenant)
    .bind(&new.name)
    .bind(&new.digest)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(unavailable)?;
    let version = match known {
        Some(version) => version,
        None => match insert_version(&mut transaction, new).await {
            Err(error) if is_taken(&error) => {
                transaction.rollback().await.map_err(unavailable)?;
                writer.keep();
                return Ok(None);
            }
            inserted => inserted.map_err(unavailable)?,
        },
    };
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(Some((version, known.is_none())))
}

async fn insert_version(connection: &mut Connection, new: &NewVersion) -> Result<i64, sqlx::Error> {
    let version: i64 = sqlx::query_scalar(
        "SELECT COALESCE(MAX(version), 0) + 1 FROM definition_version WHERE tenant = ? AND name = ?",
    )
    .bind(&new.tenant)
    .bind(&new.name)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO definition_version \
         (tenant, name, version, title, digest, envelope, status, created_by, created_ms) \
         VALUES (?, ?, ?, ?, ?, ?, 'draft', ?, ?)",
    )
    .bind(&new.tenant)
    .bind(&new.name)
    .bind(version)
    .bind(&new.title)
    .bind(&new.digest)
    .bind(&new.envelope)
    .bind(&new.act.by)
    .bind(new.act.at_ms)
    .execute(&mut *connection)
    .await?;
    Ok(version)
}

/// Whether a draft has been published; `None` when somebody has moved the alias meanwhile.
async fn try_publish(
    store: &SqlStore,
    key: VersionKey<'_>,
    act: &Act,
    to_live: bool,
) -> Result<Option<bool>, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let published = sqlx::query(
        "UPDATE definition_version SET status = 'published', published_by = ?, published_ms = ? \
         WHERE tenant = ? AND name = ? AND version = ? AND status = 'draft'",
    )
    .bind(&act.by)
    .bind(act.at_ms)
    .bind(key.tenant)
    .bind(key.name)
    .bind(key.version)
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    let is_published = published.rows_affected() == 1;
    if is_published && to_live {
        let revision = revision(&mut transaction, key).await.map_err(unavailable)?;
        match insert_move(&mut transaction, key, revision + 1, act).await {
            Err(error) if is_taken(&error) => {
                transaction.rollback().await.map_err(unavailable)?;
                writer.keep();
                return Ok(None);
            }
            moved => moved.map_err(unavailable)?,
        }
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(Some(is_published))
}

/// Retires a published version that is not live. The lock on the version lets no alias move to it meanwhile.
async fn retire(store: &SqlStore, key: VersionKey<'_>, act: &Act) -> Result<bool, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    lock_status(&mut transaction, key).await?;
    let retired = sqlx::query(
        "UPDATE definition_version SET status = 'retired', retired_by = ?, retired_ms = ? \
         WHERE tenant = ? AND name = ? AND version = ? AND status = 'published' \
         AND version <> COALESCE((SELECT version FROM definition_live \
         WHERE tenant = ? AND name = ? ORDER BY revision DESC LIMIT 1), 0)",
    )
    .bind(&act.by)
    .bind(act.at_ms)
    .bind(key.tenant)
    .bind(key.name)
    .bind(key.version)
    .bind(key.tenant)
    .bind(key.name)
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(retired.rows_affected() == 1)
}

async fn move_live(
    store: &SqlStore,
    key: VersionKey<'_>,
    revision: i64,
    act: &Act,
) -> Result<bool, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let status = lock_status(&mut transaction, key).await?;
    let is_published = status.as_deref() == Some(VersionStatus::Published.as_str());
    let seen = self::revision(&mut transaction, key)
        .await
        .map_err(unavailable)?;
    let may_move = is_published && seen == revision;
    if may_move {
        match insert_move(&mut transaction, key, revision + 1, act).await {
            // Somebody else's move has this number.
            Err(error) if is_taken(&error) => {
                transaction.rollback().await.map_err(unavailable)?;
                writer.keep();
                return Ok(false);
            }
            moved => moved.map_err(unavailable)?,
        }
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(may_move)
}

/// The status of a version, which stays as it is until the end of the transaction.
async fn lock_status(
    connection: &mut Connection,
    key: VersionKey<'_>,
) -> Result<Option<String>, StoreError> {
    let text =
        "SELECT status FROM definition_version WHERE tenant = ? AND name = ? AND version = ?";
    sqlx::query_scalar(AssertSqlSafe([text, FOR_UPDATE].concat()))
        .bind(key.tenant)
        .bind(key.name)
        .bind(key.version)
        .fetch_optional(connection)
        .await
        .map_err(unavailable)
}

/// How often the alias has moved.
async fn revision(connection: &mut Connection, key: VersionKey<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT COALESCE(MAX(revision), 0) FROM definition_live WHERE tenant = ? AND name = ?",
    )
    .bind(key.tenant)
    .bind(key.name)
    .fetch_one(connection)
    .await
}

async fn insert_move(
    connection: &mut Connection,
    key: VersionKey<'_>,
    revision: i64,
    act: &Act,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO definition_live (tenant, name, revision, version, moved_by, moved_ms) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(key.tenant)
    .bind(key.name)
    .bind(revision)
    .bind(key.version)
    .bind(&act.by)
    .bind(act.at_ms)
    .execute(connection)
    .await?;
    Ok(())
}

async fn version_record(
    store: &SqlStore,
    tenant: &str,
    name: &str,
    version: Option<i64>,
) -> Result<Option<VersionRecord>, StoreError> {
    let one = "WHERE d.tenant = ? AND d.name = ? AND d.version = COALESCE(?, ";
    let row = sqlx::query(AssertSqlSafe([VERSION, one, STANDS, ")"].concat()))
        .bind(tenant)
        .bind(name)
        .bind(version)
        .fetch_optional(store.pool())
        .await
        .map_err(unavailable)?;
    row.as_ref().map(record).transpose()
}

fn record(row: &Row) -> Result<VersionRecord, StoreError> {
    let version: i64 = get(row, "version")?;
    let name: String = get(row, "name")?;
    let status: String = get(row, "status")?;
    let what = || format!("version {version} of `{name}`");
    let status =
        VersionStatus::parse(&status).ok_or_else(|| StoreError::Corrupt { what: what() })?;
    Ok(VersionRecord {
        version,
        title: get(row, "title")?,
        digest: get(row, "digest")?,
        status,
        created_by: get(row, "created_by")?,
        created_ms: get(row, "created_ms")?,
        published_by: get(row, "published_by")?,
        published_ms: get(row, "published_ms")?,
        retired_by: get(row, "retired_by")?,
        retired_ms: get(row, "retired_ms")?,
        is_live: get::<Option<i64>>(row, "live")? == Some(version),
        name,
    })
}

/// Whether somebody else has written a row with this key already.
fn is_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Others were faster every time.
fn contended() -> StoreError {
    StoreError::Unavailable(sqlx::Error::PoolTimedOut)
}
