//! The keys of the auth service, their private halves sealed.

use sqlx::Row as _;

use super::{Store, StoreError};

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyPurpose {
    /// Signs tokens (Ed25519).
    Sign,
    /// Authenticates codes and hides contacts in counters (HMAC-SHA-256).
    Mac,
}

impl KeyPurpose {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Mac => "mac",
        }
    }
}

/// One row of `auth_key`.
#[derive(Clone)]
pub struct KeyRow {
    pub kid: String,
    pub public_key: Vec<u8>,
    pub wrapped_key: Vec<u8>,
    pub sealed_key: Vec<u8>,
    pub created_at: i64,
    pub retired_at: Option<i64>,
}

impl Store {
    /// Every key of a purpose, newest first.
    pub async fn keys(&self, purpose: KeyPurpose) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT kid, public_key, wrapped_key, sealed_key, created_at, retired_at \
             FROM auth_key WHERE purpose = ? ORDER BY created_at DESC, kid",
        )
        .bind(purpose.as_str())
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(KeyRow {
                    kid: row.try_get("kid")?,
                    public_key: row.try_get("public_key")?,
                    wrapped_key: row.try_get("wrapped_key")?,
                    sealed_key: row.try_get("sealed_key")?,
                    created_at: row.try_get("created_at")?,
                    retired_at: row.try_get("retired_at")?,
                })
            })
            .collect()
    }

    /// Makes `key` the one in use of its purpose and retires the ones before it.
    pub async fn put_key(&self, purpose: KeyPurpose, key: &KeyRow) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("UPDATE auth_key SET retired_at = ? WHERE purpose = ? AND retired_at IS NULL")
            .bind(key.created_at)
            .bind(purpose.as_str())
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO auth_key (kid, purpose, public_key, wrapped_key, sealed_key, created_at) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&key.kid)
        .bind(purpose.as_str())
        .bind(&key.public_key)
        .bind(&key.wrapped_key)
        .bind(&key.sealed_key)
        .bind(key.created_at)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}
