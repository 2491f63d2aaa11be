//! Acknowledgements and digest keys in the engine's SQLite file.

use async_trait::async_trait;

use super::StoreError;
use super::sqlite::{SqliteStore, unavailable};
use super::tenants::{AcknowledgementRecord, TenantStore};

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
