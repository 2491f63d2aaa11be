//! Resume links and the one open code of each.

use sqlx::Row as _;

use super::{Store, StoreError, handoffs::Destination};

/// One row of `resume_link`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeLinkRow {
    pub destination: Destination,
    /// The code that may be redeemed now.
    pub open_code: Option<OpenCode>,
}

/// A code that was sent and not yet used; a newer one replaces it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenCode {
    /// HMAC of code, link and purpose.
    pub mac: Vec<u8>,
    /// The keyed digest of the address it went to: whose guesses are counted.
    pub contact: String,
    pub expires_at: i64,
}

/// What was sent to one contact since it last proved itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sends {
    pub n: i64,
    /// When the latest was sent.
    pub latest_at: i64,
}

/// Links of one workflow that are not over: one for each that was lost, and not
/// without end.
pub const OPEN_LINKS_MAX: i64 = 5;

impl Store {
    /// Writes a new link; `false` if the workflow has enough that are not over.
    pub async fn put_resume_link(
        &self,
        link_digest: &str,
        destination: &Destination,
        expires_at: i64,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "INSERT INTO resume_link (link_digest, tenant, workflow, expires_at) \
             SELECT ?, ?, ?, ? FROM (SELECT 1) AS one WHERE (SELECT COUNT(*) FROM resume_link \
             WHERE tenant = ? AND workflow = ? AND ? < expires_at) < ?",
        )
        .bind(link_digest)
        .bind(&destination.tenant)
        .bind(destination.workflow.to_string())
        .bind(expires_at)
        .bind(&destination.tenant)
        .bind(destination.workflow.to_string())
        .bind(now_ms)
        .bind(OPEN_LINKS_MAX)
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Reads a link that is not over, or `None`.
    pub async fn resume_link(
        &self,
        link_digest: &str,
        now_ms: i64,
    ) -> Result<Option<ResumeLinkRow>, StoreError> {
        let row = sqlx::query(
            "SELECT tenant, workflow, contact, code_mac, code_expires_at \
             FROM resume_link WHERE link_digest = ? AND ? < expires_at",
        )
        .bind(link_digest)
        .bind(now_ms)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mac: Option<Vec<u8>> = row.try_get("code_mac")?;
        let contact: Option<String> = row.try_get("contact")?;
        let code_expires_at: Option<i64> = row.try_get("code_expires_at")?;
        let open_code = match (mac, contact, code_expires_at) {
            (Some(mac), Some(contact), Some(expires_at)) if now_ms < expires_at => Some(OpenCode {
                mac,
                contact,
                expires_at,
            }),
            _ => None,
        };
        Ok(Some(ResumeLinkRow {
            destination: Destination::from_row(&row)?,
            open_code,
        }))
    }

    /// Replaces the open code.
    pub async fn put_code(&self, link_digest: &str, code: &OpenCode) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE resume_link SET contact = ?, code_mac = ?, code_expires_at = ? \
             WHERE link_digest = ?",
        )
        .bind(&code.contact)
        .bind(&code.mac)
        .bind(code.expires_at)
        .bind(link_digest)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was sent to a contact, over whatever links.
    pub async fn sends(&self, contact: &str) -> Result<Option<Sends>, StoreError> {
        let row = sqlx::query("SELECT n, latest_at FROM contact_sends WHERE contact = ?")
            .bind(contact)
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Sends {
            n: row.try_get("n")?,
            latest_at: row.try_get("latest_at")?,
        }))
    }

    /// Notes a send, unless another sender got there first: all must still be as
    /// the caller read it. `true` if this caller may send.
    pub async fn note_send(
        &self,
        contact: &str,
        before: Option<Sends>,
        after: Sends,
    ) -> Result<bool, StoreError> {
        let statement = match before {
            Some(before) => sqlx::query(
                "UPDATE contact_sends SET n = ?, latest_at = ? \
                 WHERE contact = ? AND n = ? AND latest_at = ?",
            )
            .bind(after.n)
            .bind(after.latest_at)
            .bind(contact)
            .bind(before.n)
            .bind(before.latest_at),
            None => sqlx::query(
                "INSERT INTO contact_sends (n, latest_at, contact) \
                 SELECT ?, ?, ? FROM (SELECT 1) AS one \
                 WHERE NOT EXISTS (SELECT 1 FROM contact_sends WHERE contact = ?)",
            )
            .bind(after.n)
            .bind(after.latest_at)
            .bind(contact)
            .bind(contact),
        };
        Ok(statement.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Forgets what was sent to a contact: the person has proved themselves.
    pub async fn forget_sends(&self, contact: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM contact_sends WHERE contact = ?")
            .bind(contact)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Uses the open code up. `true` for exactly one caller.
    pub async fn take_code(&self, link_digest: &str, mac: &[u8]) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "UPDATE resume_link SET code_mac = NULL, code_expires_at = NULL \
             WHERE link_digest = ? AND code_mac = ?",
        )
        .bind(link_digest)
        .bind(mac)
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Voids the open code: its guesses are used up.
    pub async fn void_code(&self, link_digest: &str) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE resume_link SET code_mac = NULL, code_expires_at = NULL WHERE link_digest = ?",
        )
        .bind(link_digest)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
