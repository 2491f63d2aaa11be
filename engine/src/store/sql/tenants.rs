//! Acknowledgements and digest keys.

use async_trait::async_trait;

use super::rows::get;
use super::{Db, Row, SqlStore, unavailable};
use crate::store::StoreError;
use crate::store::tenants::{AcknowledgementRecord, TenantStore};

#[async_trait]
impl TenantStore for SqlStore {
    async fn acknowledge(&self, it: &AcknowledgementRecord) -> Result<(), StoreError> {
        let text = "INSERT INTO acknowledgement \
                    (tenant, kind, statement, acknowledged_by, acknowledged_ms) \
                    VALUES (?, ?, ?, ?, ?)";
        self.bounded(async {
            let mut writer = self.writer().await?;
            let inserted = sqlx::query(text)
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
        })
        .await
    }

    async fn acknowledgements(&self) -> Result<Vec<AcknowledgementRecord>, StoreError> {
        let text = "SELECT tenant, kind, statement, acknowledged_by, acknowledged_ms \
                    FROM acknowledgement ORDER BY tenant, kind";
        self.bounded(async {
            let rows = sqlx::query(text)
                .fetch_all(self.pool())
                .await
                .map_err(unavailable)?;
            let record = |row: &Row| {
                Ok(AcknowledgementRecord {
                    tenant: get(row, "tenant")?,
                    kind: get(row, "kind")?,
                    statement: get(row, "statement")?,
                    by: get(row, "acknowledged_by")?,
                    at_ms: get(row, "acknowledged_ms")?,
                })
            };
            rows.iter().map(record).collect()
        })
        .await
    }

    async fn digest_key(&self, tenant: &str, wrapped: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.bounded(async {
            let mut writer = self.writer().await?;
            let inserted =
                sqlx::query("INSERT INTO tenant_digest_key (tenant, wrapped) VALUES (?, ?)")
                    .bind(tenant)
                    .bind(wrapped)
                    .execute(writer.connection())
                    .await;
            keep_first(inserted)?;
            writer.keep();
            let kept = find_digest_key(self, tenant).await?;
            kept.ok_or_else(|| StoreError::Corrupt {
                what: "the digest key of a tenant".to_owned(),
            })
        })
        .await
    }

    async fn find_digest_key(&self, tenant: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.bounded(find_digest_key(self, tenant)).await
    }
}

async fn find_digest_key(store: &SqlStore, tenant: &str) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query_scalar("SELECT wrapped FROM tenant_digest_key WHERE tenant = ?")
        .bind(tenant)
        .fetch_optional(store.pool())
        .await
        .map_err(unavailable)
}

/// Takes "there is one already" for success.
fn keep_first(
    inserted: Result<<Db as sqlx::Database>::QueryResult, sqlx::Error>,
) -> Result<(), StoreError> {
    match inserted {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(()),
        Err(error) => Err(StoreError::Unavailable(error)),
        Ok(_) => Ok(()),
    }
}
