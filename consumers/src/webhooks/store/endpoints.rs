//! Endpoints.

use btrust_platform::relational::{Row, Transaction, Value};

use super::{ENDPOINTS_MAX, NEVER_MS, SecretRecord, Store, StoreError};
use crate::webhooks::delivery::{FAILED, Stop};
use crate::webhooks::event::Topic;

/// Whether an endpoint is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Enabled,
    /// By its owner: what happens meanwhile is not kept for it.
    Disabled,
    /// By us: what happens meanwhile is kept, and can be replayed.
    Stopped(Stop),
}

impl Status {
    /// How it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Stopped(stop) => stop.as_str(),
        }
    }

    fn of(word: &str) -> Option<Self> {
        [
            Self::Enabled,
            Self::Disabled,
            Self::Stopped(Stop::Failing),
            Self::Stopped(Stop::Gone),
        ]
        .into_iter()
        .find(|it| it.as_str() == word)
    }
}

/// One row of `webhook_endpoint`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointRecord {
    pub id: String,
    pub tenant: String,
    pub url: String,
    /// Sorted, without repetitions.
    pub topics: Vec<Topic>,
    pub description: String,
    pub status: Status,
    pub revision: i64,
    pub sequence: i64,
    pub failing_since_ms: Option<i64>,
    pub created_by: String,
    pub created_ms: i64,
    pub changed_by: String,
    pub changed_ms: i64,
}

pub(super) const COLUMNS: &str = "id, tenant, url, topics, description, status, revision, sequence, \
     next_due_ms, failing_since_ms, created_by, created_ms, changed_by, changed_ms";

/// Deliveries that are deleted by one transaction.
const DELETED_AT_ONCE: i64 = 500;

impl Store {
    /// The endpoints of a tenant, by id.
    pub async fn endpoints(&self, tenant: &str) -> Result<Vec<EndpointRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_endpoint WHERE tenant = ? ORDER BY id");
        let rows = self.db.fetch(&sql, &[tenant.into()]).await?;
        rows.iter().map(read).collect()
    }

    /// One endpoint; `None` too when it is another tenant's.
    pub async fn endpoint(
        &self,
        tenant: &str,
        id: &str,
    ) -> Result<Option<EndpointRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_endpoint WHERE id = ? AND tenant = ?");
        let rows = self.db.fetch(&sql, &[id.into(), tenant.into()]).await?;
        rows.first().map(read).transpose()
    }

    /// Adds an endpoint with its first secret; `false` when the tenant has [`ENDPOINTS_MAX`].
    pub async fn insert_endpoint(
        &self,
        it: &EndpointRecord,
        secret: &SecretRecord,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.db.begin().await?;
        // Two that are added at the same moment may both see room for one: a limit, not an invariant.
        let sql = "SELECT id FROM webhook_endpoint WHERE tenant = ?";
        let present = transaction
            .fetch_locked(sql, &[(&it.tenant).into()])
            .await?;
        if ENDPOINTS_MAX <= present.len() {
            return Ok(false);
        }
        let topics = words(&it.topics);
        let sql = format!(
            "INSERT INTO webhook_endpoint ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        let values: [Value<'_>; 14] = [
            (&it.id).into(),
            (&it.tenant).into(),
            (&it.url).into(),
            (&topics).into(),
            (&it.description).into(),
            it.status.as_str().into(),
            it.revision.into(),
            it.sequence.into(),
            NEVER_MS.into(),
            it.failing_since_ms.into(),
            (&it.created_by).into(),
            it.created_ms.into(),
            (&it.changed_by).into(),
            it.changed_ms.into(),
        ];
        transaction.execute(&sql, &values).await?;
        super::secrets::insert(&mut transaction, secret).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Writes what its owner may change; `false` unless the stored revision is the one before.
    ///
    /// One that is disabled gives up what was due; one that is enabled anew is healthy until it fails.
    pub async fn replace_endpoint(&self, it: &EndpointRecord) -> Result<bool, StoreError> {
        let mut transaction = self.db.begin().await?;
        let locked = locked(&mut transaction, &it.id).await?;
        if locked.is_none_or(|before| before.revision != it.revision - 1) {
            return Ok(false);
        }
        let topics = words(&it.topics);
        let sql = "UPDATE webhook_endpoint SET url = ?, topics = ?, description = ?, status = ?, \
                   revision = ?, failing_since_ms = ?, changed_by = ?, changed_ms = ? WHERE id = ?";
        let values: [Value<'_>; 9] = [
            (&it.url).into(),
            (&topics).into(),
            (&it.description).into(),
            it.status.as_str().into(),
            it.revision.into(),
            it.failing_since_ms.into(),
            (&it.changed_by).into(),
            it.changed_ms.into(),
            (&it.id).into(),
        ];
        transaction.execute(sql, &values).await?;
        if it.status != Status::Enabled {
            give_up(&mut transaction, &it.id, it.changed_ms).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Removes an endpoint and all it had; `false` when there is none.
    pub async fn delete_endpoint(&self, tenant: &str, id: &str) -> Result<bool, StoreError> {
        let mut transaction = self.db.begin().await?;
        let sql = "DELETE FROM webhook_endpoint WHERE id = ? AND tenant = ?";
        let n_deleted = transaction
            .execute(sql, &[id.into(), tenant.into()])
            .await?;
        if n_deleted == 0 {
            return Ok(false);
        }
        let sql = "DELETE FROM webhook_secret WHERE endpoint = ?";
        transaction.execute(sql, &[id.into()]).await?;
        transaction.commit().await?;
        // Nobody finds the deliveries any more; what a crash leaves of them ends with their retention.
        while self.delete_some(id).await? {}
        Ok(true)
    }

    /// Deletes some deliveries of an endpoint that is gone; `false` when there were none.
    async fn delete_some(&self, endpoint: &str) -> Result<bool, StoreError> {
        let sql = "SELECT id FROM webhook_delivery WHERE endpoint = ? LIMIT ?";
        let rows = self
            .db
            .fetch(sql, &[endpoint.into(), DELETED_AT_ONCE.into()])
            .await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            ids.push(row.text(0)?);
        }
        let mut transaction = self.db.begin().await?;
        super::deliveries::delete(&mut transaction, endpoint, &ids).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// The row of an endpoint, which nobody else changes until the transaction ends.
pub(super) async fn locked(
    transaction: &mut Transaction,
    id: &str,
) -> Result<Option<EndpointRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM webhook_endpoint WHERE id = ?");
    let rows = transaction.fetch_locked(&sql, &[id.into()]).await?;
    rows.first().map(read).transpose()
}

/// Gives up what is due at an endpoint that is not called any more.
pub(super) async fn give_up(
    transaction: &mut Transaction,
    id: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "UPDATE webhook_delivery SET state = ?, due_ms = 0, finished_ms = ? \
               WHERE endpoint = ? AND state = 'due'";
    transaction
        .execute(sql, &[FAILED.into(), now_ms.into(), id.into()])
        .await?;
    let sql = "UPDATE webhook_endpoint SET next_due_ms = ? WHERE id = ?";
    transaction
        .execute(sql, &[NEVER_MS.into(), id.into()])
        .await?;
    Ok(())
}

fn words(topics: &[Topic]) -> String {
    let words: Vec<&str> = topics.iter().map(|it| it.as_str()).collect();
    words.join(" ")
}

pub(super) fn read(row: &Row) -> Result<EndpointRecord, StoreError> {
    let topics = row.text(3)?;
    let topics = topics
        .split_whitespace()
        .map(Topic::of)
        .collect::<Option<Vec<_>>>();
    Ok(EndpointRecord {
        id: row.text(0)?,
        tenant: row.text(1)?,
        url: row.text(2)?,
        topics: topics.ok_or(StoreError::Unreadable("topics"))?,
        description: row.text(4)?,
        status: Status::of(&row.text(5)?).ok_or(StoreError::Unreadable("status"))?,
        revision: row.int(6)?,
        sequence: row.int(7)?,
        failing_since_ms: row.int_if_any(9)?,
        created_by: row.text(10)?,
        created_ms: row.int(11)?,
        changed_by: row.text(12)?,
        changed_ms: row.int(13)?,
    })
}
