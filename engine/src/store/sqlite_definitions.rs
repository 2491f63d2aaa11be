//! Versions of definitions in the engine's SQLite file.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use btrust_schemas::definition::VersionStatus;

use super::StoreError;
use super::definitions::{Act, DefinitionStore, LiveRecord, NewVersion, VersionKey, VersionRecord};
use super::sqlite::{BEGIN, SqliteStore, unavailable};

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
impl DefinitionStore for SqliteStore {
    async fn draft(&self, new: &NewVersion) -> Result<(VersionRecord, bool), StoreError> {
        let mut writer = self.writer().await?;
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
            None => insert_version(&mut transaction, new)
                .await
                .map_err(unavailable)?,
        };
        transaction.commit().await.map_err(unavailable)?;
        writer.keep();
        let record = self.version(&new.tenant, &new.name, Some(version)).await?;
        let what = format!("version {version} of `{}`", new.name);
        Ok((record.ok_or(StoreError::Corrupt { what })?, known.is_none()))
    }

    async fn publish(
        &self,
        key: VersionKey<'_>,
        act: &Act,
        to_live: bool,
    ) -> Result<bool, StoreError> {
        let mut writer = self.writer().await?;
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
            insert_move(&mut transaction, key, revision + 1, act)
                .await
                .map_err(unavailable)?;
        }
        transaction.commit().await.map_err(unavailable)?;
        writer.keep();
        Ok(is_published)
    }

    async fn retire(&self, key: VersionKey<'_>, act: &Act) -> Result<bool, StoreError> {
        let mut writer = self.writer().await?;
        // One statement, so that the alias cannot move between looking and writing.
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
        .execute(writer.connection())
        .await
        .map_err(unavailable)?;
        writer.keep();
        Ok(retired.rows_affected() == 1)
    }

    async fn move_live(
        &self,
        key: VersionKey<'_>,
        revision: i64,
        act: &Act,
    ) -> Result<bool, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer
            .connection()
            .begin_with(BEGIN)
            .await
            .map_err(unavailable)?;
        let status: Option<String> = sqlx::query_scalar(
            "SELECT status FROM definition_version WHERE tenant = ? AND name = ? AND version = ?",
        )
        .bind(key.tenant)
        .bind(key.name)
        .bind(key.version)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let is_published = status.as_deref() == Some(VersionStatus::Published.as_str());
        let seen = self::revision(&mut transaction, key)
            .await
            .map_err(unavailable)?;
        let may_move = is_published && seen == revision;
        if may_move {
            insert_move(&mut transaction, key, revision + 1, act)
                .await
                .map_err(unavailable)?;
        }
        transaction.commit().await.map_err(unavailable)?;
        writer.keep();
        Ok(may_move)
    }

    async fn version(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i64>,
    ) -> Result<Option<VersionRecord>, StoreError> {
        let one = "WHERE d.tenant = ? AND d.name = ? AND d.version = COALESCE(?, ";
        let row = sqlx::query(AssertSqlSafe([VERSION, one, STANDS, ")"].concat()))
            .bind(tenant)
            .bind(name)
            .bind(version)
            .fetch_optional(self.pool())
            .await
            .map_err(unavailable)?;
        row.as_ref().map(record).transpose()
    }

    async fn envelope(&self, key: VersionKey<'_>) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar(
            "SELECT envelope FROM definition_version WHERE tenant = ? AND name = ? AND version = ?",
        )
        .bind(key.tenant)
        .bind(key.name)
        .bind(key.version)
        .fetch_optional(self.pool())
        .await
        .map_err(unavailable)
    }

    async fn all_definitions(&self, tenant: &str) -> Result<Vec<VersionRecord>, StoreError> {
        let all = "WHERE d.tenant = ? AND d.version = ";
        let rows = sqlx::query(AssertSqlSafe(
            [VERSION, all, STANDS, " ORDER BY d.name"].concat(),
        ))
        .bind(tenant)
        .fetch_all(self.pool())
        .await
        .map_err(unavailable)?;
        rows.iter().map(record).collect()
    }

    async fn versions(
        &self,
        tenant: &str,
        name: &str,
        limit: u32,
    ) -> Result<Vec<VersionRecord>, StoreError> {
        let newest = "WHERE d.tenant = ? AND d.name = ? ORDER BY d.version DESC LIMIT ?";
        let rows = sqlx::query(AssertSqlSafe([VERSION, newest].concat()))
            .bind(tenant)
            .bind(name)
            .bind(limit)
            .fetch_all(self.pool())
            .await
            .map_err(unavailable)?;
        rows.iter().map(record).collect()
    }

    async fn live_moves(
        &self,
        tenant: &str,
        name: &str,
        limit: u32,
    ) -> Result<Vec<LiveRecord>, StoreError> {
        let rows: Vec<(i64, i64, Option<String>, i64)> = sqlx::query_as(
            "SELECT version, revision, moved_by, moved_ms FROM definition_live \
             WHERE tenant = ? AND name = ? ORDER BY revision DESC LIMIT ?",
        )
        .bind(tenant)
        .bind(name)
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .map_err(unavailable)?;
        let record = |(version, revision, moved_by, moved_ms)| LiveRecord {
            version,
            revision,
            moved_by,
            moved_ms,
        };
        Ok(rows.into_iter().map(record).collect())
    }
}

async fn insert_version(
    connection: &mut SqliteConnection,
    new: &NewVersion,
) -> Result<i64, sqlx::Error> {
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

/// How often the alias has moved.
async fn revision(
    connection: &mut SqliteConnection,
    key: VersionKey<'_>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT COALESCE(MAX(revision), 0) FROM definition_live WHERE tenant = ? AND name = ?",
    )
    .bind(key.tenant)
    .bind(key.name)
    .fetch_one(connection)
    .await
}

async fn insert_move(
    connection: &mut SqliteConnection,
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

fn record(row: &SqliteRow) -> Result<VersionRecord, StoreError> {
    let read = || -> Result<(VersionRecord, String), sqlx::Error> {
        let version: i64 = row.try_get("version")?;
        let record = VersionRecord {
            name: row.try_get("name")?,
            version,
            title: row.try_get("title")?,
            digest: row.try_get("digest")?,
            status: VersionStatus::Draft,
            created_by: row.try_get("created_by")?,
            created_ms: row.try_get("created_ms")?,
            published_by: row.try_get("published_by")?,
            published_ms: row.try_get("published_ms")?,
            retired_by: row.try_get("retired_by")?,
            retired_ms: row.try_get("retired_ms")?,
            is_live: row.try_get::<Option<i64>, _>("live")? == Some(version),
        };
        Ok((record, row.try_get("status")?))
    };
    let (record, status) = read().map_err(unavailable)?;
    let what = || format!("version {} of `{}`", record.version, record.name);
    let status =
        VersionStatus::parse(&status).ok_or_else(|| StoreError::Corrupt { what: what() })?;
    Ok(VersionRecord { status, ..record })
}

#[cfg(test)]
mod tests {
    use btrust_platform::sqlite::SqlitePool;
    use sqlx::migrate::Migrator;

    use super::*;
    use crate::store::sqlite::STATE_MIGRATIONS;

    #[tokio::test]
    async fn what_was_published_before_versions_had_a_life_is_published_and_live() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let before = STATE_MIGRATIONS.iter().filter(|it| it.version == 1);
        let before = Migrator {
            migrations: before.cloned().collect(),
            ..Migrator::DEFAULT
        };
        before.run(&pool).await.unwrap();
        for (version, title) in [(1, "Old"), (2, "New")] {
            sqlx::query("INSERT INTO definition_version VALUES ('acme', 'flow', ?, ?, ?, ?)")
                .bind(version)
                .bind(title)
                .bind(format!("{{\"title\":\"{title}\"}}"))
                .bind(10 * version)
                .execute(&pool)
                .await
                .unwrap();
        }
        sqlx::query("INSERT INTO definition_alias VALUES ('acme', 'flow', 'live', 2)")
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;

        let store = SqliteStore::open(&path).await.unwrap();
        let live = store.version("acme", "flow", None).await.unwrap().unwrap();
        assert_eq!((live.version, live.title.as_str()), (2, "New"));
        assert_eq!(live.status, VersionStatus::Published);
        assert_eq!((live.created_by, live.published_ms), (None, Some(20)));
        let moves = store.live_moves("acme", "flow", 9).await.unwrap();
        let first = LiveRecord {
            version: 2,
            revision: 1,
            moved_by: None,
            moved_ms: 20,
        };
        assert_eq!(moves, [first]);
        let old = store.version("acme", "flow", Some(1)).await.unwrap();
        assert!(!old.unwrap().is_live);
    }
}
