//! Hand-off codes: single use, kept as digests.

use sqlx::{Row as _, sqlite::SqliteRow};

use btrust_schemas::ids::WorkflowId;

use super::{Store, StoreError};

/// The workflow that a link or a code leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    pub tenant: String,
    pub workflow: WorkflowId,
}

impl Destination {
    /// Reads the columns `tenant` and `workflow`.
    pub(super) fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let workflow: String = row.try_get("workflow")?;
        let workflow = workflow
            .parse()
            .map_err(|it| sqlx::Error::Decode(Box::new(it)))?;
        Ok(Self {
            tenant: row.try_get("tenant")?,
            workflow,
        })
    }
}

impl Store {
    /// Writes a hand-off code of a sitting that ends at `session_end`, in seconds
    /// since the epoch.
    pub async fn put_handoff(
        &self,
        code_digest: &str,
        destination: &Destination,
        session_end: i64,
        expires_at: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO handoff (code_digest, tenant, workflow, session_end, expires_at) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(code_digest)
        .bind(&destination.tenant)
        .bind(destination.workflow.to_string())
        .bind(session_end)
        .bind(expires_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes a code out of the store, with the end of its sitting: whoever deletes the row has redeemed it,
    /// so that two that come at once cannot both succeed.
    pub async fn take_handoff(
        &self,
        code_digest: &str,
        now_ms: i64,
    ) -> Result<Option<(Destination, i64)>, StoreError> {
        let row = sqlx::query(
            "SELECT tenant, workflow, session_end FROM handoff WHERE code_digest = ? AND ? < expires_at",
        )
        .bind(code_digest)
        .bind(now_ms)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let deleted = sqlx::query("DELETE FROM handoff WHERE code_digest = ?")
            .bind(code_digest)
            .execute(&self.pool)
            .await?;
        if deleted.rows_affected() == 0 {
            return Ok(None);
        }
        let session_end = row.try_get("session_end")?;
        Ok(Some((Destination::from_row(&row)?, session_end)))
    }

    /// How many open hand-off codes a workflow has.
    pub async fn n_handoffs(&self, to: &Destination, now_ms: i64) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM handoff WHERE tenant = ? AND workflow = ? AND ? < expires_at",
        )
        .bind(&to.tenant)
        .bind(to.workflow.to_string())
        .bind(now_ms)
        .fetch_one(&self.pool)
        .await?;
        Ok(row.try_get("n")?)
    }
}
