//! Secrets of endpoints, as they are kept: sealed.

use btrust_platform::relational::Transaction;

use super::{SECRETS_MAX, Store, StoreError, endpoints};

/// One row of `webhook_secret`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretRecord {
    pub endpoint: String,
    /// Counts the secrets of the endpoint from 1; never used again.
    pub number: i64,
    /// The key that [`SecretRecord::sealed`] opens with, wrapped under the tenant's.
    pub wrapped_key: Vec<u8>,
    pub sealed: Vec<u8>,
    pub created_ms: i64,
    /// Until when it signs; `None` for the current one.
    pub expires_ms: Option<i64>,
}

impl Store {
    /// The secrets that sign at a time, the current one first.
    pub async fn secrets(
        &self,
        endpoint: &str,
        now_ms: i64,
    ) -> Result<Vec<SecretRecord>, StoreError> {
        let sql = "SELECT number, wrapped_key, sealed, created_ms, expires_ms FROM webhook_secret \
                   WHERE endpoint = ? AND (expires_ms IS NULL OR expires_ms > ?) ORDER BY number DESC";
        let rows = self
            .db
            .fetch(sql, &[endpoint.into(), now_ms.into()])
            .await?;
        let mut secrets = Vec::with_capacity(rows.len());
        for row in &rows {
            secrets.push(SecretRecord {
                endpoint: endpoint.to_owned(),
                number: row.int(0)?,
                wrapped_key: row.bytes(1)?,
                sealed: row.bytes(2)?,
                created_ms: row.int(3)?,
                expires_ms: row.int_if_any(4)?,
            });
        }
        Ok(secrets)
    }

    /// Makes `secret` the current one; those before sign until `others_until_ms` at most.
    ///
    /// `false`, and nothing is changed, when more than [`SECRETS_MAX`] would sign, or the number is taken.
    pub async fn rotate_secret(
        &self,
        secret: &SecretRecord,
        others_until_ms: i64,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.db.begin().await?;
        let endpoint = secret.endpoint.as_str();
        if endpoints::locked(&mut transaction, endpoint)
            .await?
            .is_none()
        {
            return Ok(false);
        }
        // Looked up before any of them goes: a number never means another secret.
        let sql =
            "SELECT number FROM webhook_secret WHERE endpoint = ? ORDER BY number DESC LIMIT 1";
        let rows = transaction.fetch(sql, &[endpoint.into()]).await?;
        let latest = rows.first().map(|it| it.int(0)).transpose()?;
        if latest.is_some_and(|it| secret.number <= it) {
            return Ok(false);
        }
        let sql = "UPDATE webhook_secret SET expires_ms = ? \
                   WHERE endpoint = ? AND (expires_ms IS NULL OR expires_ms > ?)";
        let until = others_until_ms.into();
        transaction
            .execute(sql, &[until, endpoint.into(), until])
            .await?;
        let sql = "DELETE FROM webhook_secret WHERE endpoint = ? AND expires_ms <= ?";
        let now = secret.created_ms.into();
        transaction.execute(sql, &[endpoint.into(), now]).await?;
        let sql = "SELECT number FROM webhook_secret WHERE endpoint = ?";
        let rows = transaction.fetch(sql, &[endpoint.into()]).await?;
        if SECRETS_MAX <= rows.len() {
            return Ok(false);
        }
        insert(&mut transaction, secret).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Forgets the secrets that sign no more.
    pub async fn delete_expired_secrets(&self, now_ms: i64) -> Result<(), StoreError> {
        let sql = "DELETE FROM webhook_secret WHERE expires_ms <= ?";
        self.db.execute(sql, &[now_ms.into()]).await?;
        Ok(())
    }
}

pub(super) async fn insert(
    transaction: &mut Transaction,
    secret: &SecretRecord,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO webhook_secret (endpoint, number, wrapped_key, sealed, created_ms, expires_ms) \
               VALUES (?, ?, ?, ?, ?, ?)";
    let values = [
        (&secret.endpoint).into(),
        secret.number.into(),
        secret.wrapped_key.as_slice().into(),
        secret.sealed.as_slice().into(),
        secret.created_ms.into(),
        secret.expires_ms.into(),
    ];
    transaction.execute(sql, &values).await?;
    Ok(())
}
