//! Resume links and the one open code of each.

use sqlx::Row as _;

use super::{Store, StoreError, handoffs::Destination};

/// One row of `resume_link`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResumeLinkRow {
    pub destination: Destination,
    /// How many codes were sent over this link.
    pub n_sends: i64,
    /// When the latest was sent.
    pub sent_at: Option<i64>,
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

impl Store {
    /// Writes a new link.
    pub async fn put_resume_link(
        &self,
        link_digest: &str,
        destination: &Destination,
        expires_at: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO resume_link (link_digest, tenant, workflow, expires_at) VALUES (?, ?, ?, ?)",
        )
        .bind(link_digest)
        .bind(&destination.tenant)
        .bind(destination.workflow.to_string())
        .bind(expires_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Reads a link that is not over, or `None`.
    pub async fn resume_link(
        &self,
        link_digest: &str,
        now_ms: i64,
    ) -> Result<Option<ResumeLinkRow>, StoreError> {
        let row = sqlx::query(
            "SELECT tenant, workflow, n_sends, sent_at, contact, code_mac, code_expires_at \
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
            n_sends: row.try_get("n_sends")?,
            sent_at: row.try_get("sent_at")?,
            open_code,
        }))
    }

    /// Replaces the open code, unless another sender got there first: the link
    /// must still be as the caller read it. `true` if this caller may send.
    pub async fn put_code(
        &self,
        link_digest: &str,
        before: &ResumeLinkRow,
        n_sends: i64,
        code: &OpenCode,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "UPDATE resume_link SET n_sends = ?, sent_at = ?, contact = ?, code_mac = ?, \
             code_expires_at = ? WHERE link_digest = ? AND n_sends = ? AND COALESCE(sent_at, 0) = ?",
        )
        .bind(n_sends)
        .bind(now_ms)
        .bind(&code.contact)
        .bind(&code.mac)
        .bind(code.expires_at)
        .bind(link_digest)
        .bind(before.n_sends)
        .bind(before.sent_at.unwrap_or(0))
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Uses the open code up. `true` for exactly one caller.
    pub async fn take_code(&self, link_digest: &str, mac: &[u8]) -> Result<bool, StoreError> {
        let written = sqlx::query(
            "UPDATE resume_link SET code_mac = NULL, code_expires_at = NULL, n_sends = 0, \
             sent_at = NULL WHERE link_digest = ? AND code_mac = ?",
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
