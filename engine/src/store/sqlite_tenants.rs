//! Definitions, acknowledgements and digest keys in the engine's SQLite file.

use async_trait::async_trait;
use sqlx::{Connection, Row};

use super::StoreError;
use super::sqlite::{BEGIN, SqliteStore, unavailable};
use super::tenants::{
    AcknowledgementRecord, DefinitionRecord, DefinitionStore, NewDefinition, TenantStore,
};

/// Columns of [`record`]; `a` is the alias `live`.
const DEFINITION: &str = "SELECT d.name, d.version, d.digest, d.envelope, d.published_ms, \
     a.version AS live FROM definition_version d \
     JOIN definition_alias a ON a.tenant = d.tenant AND a.name = d.name AND a.alias = 'live' ";

#[async_trait]
impl DefinitionStore for SqliteStore {
    async fn publish(&self, new: &NewDefinition) -> Result<(DefinitionRecord, bool), StoreError> {
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
        let record = self
            .definition(&new.tenant, &new.name, Some(version))
            .await?;
        let what = format!("version {version} of `{}`", new.name);
        Ok((record.ok_or(StoreError::Corrupt { what })?, known.is_none()))
    }

    async fn definition(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i64>,
    ) -> Result<Option<DefinitionRecord>, StoreError> {
        const ONE: &str =
            "WHERE d.tenant = ? AND d.name = ? AND d.version = COALESCE(?, a.version)";
        let row = sqlx::query(sqlx::AssertSqlSafe([DEFINITION, ONE].concat()))
            .bind(tenant)
            .bind(name)
            .bind(version)
            .fetch_optional(self.pool())
            .await
            .map_err(unavailable)?;
        row.as_ref().map(record).transpose().map_err(unavailable)
    }

    async fn live_definitions(&self, tenant: &str) -> Result<Vec<DefinitionRecord>, StoreError> {
        const LIVE: &str = "WHERE d.tenant = ? AND d.version = a.version ORDER BY d.name";
        let rows = sqlx::query(sqlx::AssertSqlSafe([DEFINITION, LIVE].concat()))
            .bind(tenant)
            .fetch_all(self.pool())
            .await
            .map_err(unavailable)?;
        rows.iter()
            .map(record)
            .collect::<Result<_, _>>()
            .map_err(unavailable)
    }
}

async fn insert_version(
    connection: &mut sqlx::SqliteConnection,
    new: &NewDefinition,
) -> Result<i64, sqlx::Error> {
    let version: i64 = sqlx::query_scalar(
        "SELECT COALESCE(MAX(version), 0) + 1 FROM definition_version WHERE tenant = ? AND name = ?",
    )
    .bind(&new.tenant)
    .bind(&new.name)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO definition_version (tenant, name, version, digest, envelope, published_ms) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.tenant)
    .bind(&new.name)
    .bind(version)
    .bind(&new.digest)
    .bind(&new.envelope)
    .bind(new.published_ms)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "REPLACE INTO definition_alias (tenant, name, alias, version) VALUES (?, ?, 'live', ?)",
    )
    .bind(&new.tenant)
    .bind(&new.name)
    .bind(version)
    .execute(&mut *connection)
    .await?;
    Ok(version)
}

fn record(row: &sqlx::sqlite::SqliteRow) -> Result<DefinitionRecord, sqlx::Error> {
    let version: i64 = row.try_get("version")?;
    Ok(DefinitionRecord {
        name: row.try_get("name")?,
        version,
        digest: row.try_get("digest")?,
        envelope: row.try_get("envelope")?,
        published_ms: row.try_get("published_ms")?,
        is_live: row.try_get::<i64, _>("live")? == version,
    })
}

#[async_trait]
impl TenantStore for SqliteStore {
    async fn acknowledge(&self, it: &AcknowledgementRecord) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let inserted = sqlx::query(
            "INSERT INTO acknowledgement (tenant, kind, statement, acknowledged_by, acknowledged_ms) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&it.tenant)
        .bind(&it.kind)
        .bind(&it.statement)
        .bind(&it.by)
        .bind(it.at_ms)
        .execute(writer.connection())
        .await;
        keep_first(inserted)?;
        writer.keep();
        Ok(())
    }

    async fn acknowledgements(&self) -> Result<Vec<AcknowledgementRecord>, StoreError> {
        let rows: Vec<(String, String, String, String, i64)> = sqlx::query_as(
            "SELECT tenant, kind, statement, acknowledged_by, acknowledged_ms FROM acknowledgement \
             ORDER BY tenant, kind",
        )
        .fetch_all(self.pool())
        .await
        .map_err(unavailable)?;
        let record = |(tenant, kind, statement, by, at_ms)| AcknowledgementRecord {
            tenant,
            kind,
            statement,
            by,
            at_ms,
        };
        Ok(rows.into_iter().map(record).collect())
    }

    async fn digest_key(&self, tenant: &str, wrapped: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut writer = self.writer().await?;
        let inserted = sqlx::query("INSERT INTO tenant_digest_key (tenant, wrapped) VALUES (?, ?)")
            .bind(tenant)
            .bind(wrapped)
            .execute(writer.connection())
            .await;
        keep_first(inserted)?;
        writer.keep();
        let kept = self.find_digest_key(tenant).await?;
        kept.ok_or_else(|| StoreError::Corrupt {
            what: "the digest key of a tenant".to_owned(),
        })
    }

    async fn find_digest_key(&self, tenant: &str) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar("SELECT wrapped FROM tenant_digest_key WHERE tenant = ?")
            .bind(tenant)
            .fetch_optional(self.pool())
            .await
            .map_err(unavailable)
    }
}

/// Takes "there is one already" for success.
fn keep_first(
    inserted: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>,
) -> Result<(), StoreError> {
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(()),
        Err(error) => Err(StoreError::Unavailable(error)),
        Ok(_) => Ok(()),
    }
}
