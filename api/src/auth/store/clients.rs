//! The clients that may ask for a token.

use sqlx::{Row as _, SqliteConnection};

use super::{Store, StoreError};

/// What a client is; it bounds the scopes that it may have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientKind {
    /// A bank's own backend or administrator.
    Client,
    /// A person who decides reviews.
    Reviewer,
    /// One of our own services.
    Service,
}

impl ClientKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Reviewer => "reviewer",
            Self::Service => "service",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Client, Self::Reviewer, Self::Service]
            .into_iter()
            .find(|it| it.as_str() == text)
    }
}

/// One row of `client`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRow {
    pub id: String,
    pub tenant: String,
    pub name: String,
    pub kind: ClientKind,
    /// Space separated, sorted.
    pub scopes: String,
    /// An argon2id PHC string.
    pub secret_hash: String,
    pub created_at: i64,
}

impl Store {
    /// Reads a client, or `None` if there is none.
    pub async fn client(&self, id: &str) -> Result<Option<ClientRow>, StoreError> {
        let row = sqlx::query(
            "SELECT tenant, name, kind, scopes, secret_hash, created_at FROM client WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let kind: String = row.try_get("kind")?;
        let kind = ClientKind::parse(&kind)
            .ok_or_else(|| sqlx::Error::Decode("a client of an unknown kind".into()))?;
        Ok(Some(ClientRow {
            id: id.to_owned(),
            tenant: row.try_get("tenant")?,
            name: row.try_get("name")?,
            kind,
            scopes: row.try_get("scopes")?,
            secret_hash: row.try_get("secret_hash")?,
            created_at: row.try_get("created_at")?,
        }))
    }

    /// Writes a client, replacing one of the same id.
    pub async fn put_client(&self, client: &ClientRow) -> Result<(), StoreError> {
        put_client(&mut *self.pool.acquire().await?, client).await
    }

    /// Deletes a client of a tenant; `false` if it has none of this id. Our own
    /// services are nobody's to withdraw.
    pub async fn delete_client(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        let deleted =
            sqlx::query("DELETE FROM client WHERE id = ? AND tenant = ? AND kind <> 'service'")
                .bind(id)
                .bind(tenant)
                .execute(&self.pool)
                .await?;
        Ok(deleted.rows_affected() == 1)
    }

    /// How many clients a tenant has.
    pub async fn n_clients(&self, tenant: &str) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS n FROM client WHERE tenant = ?")
            .bind(tenant)
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get("n")?)
    }
}

/// Writes a client, replacing one of the same id.
pub async fn put_client(
    connection: &mut SqliteConnection,
    client: &ClientRow,
) -> Result<(), StoreError> {
    sqlx::query(
        "REPLACE INTO client (id, tenant, name, kind, scopes, secret_hash, created_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&client.id)
    .bind(&client.tenant)
    .bind(&client.name)
    .bind(client.kind.as_str())
    .bind(&client.scopes)
    .bind(&client.secret_hash)
    .bind(client.created_at)
    .execute(connection)
    .await?;
    Ok(())
}
