//! The logs of tenants: reads here, the rounds of the sequencer in `audit_rounds.rs`.

use async_trait::async_trait;
use sqlx::QueryBuilder;

use btrust_integrity::tree::{Hash, Tile, TileId};
use btrust_schemas::ids::WorkflowId;

use super::rows::{IN_LIST_MAX, get, id};
use super::{Db, Row, SqlStore, audit_aside, audit_rounds, unavailable};
use crate::store::audit_log::{
    Appended, AuditKey, AuditLogStore, CheckpointRecord, LogRecord, PublicRow, RANGE_LEAVES_MAX,
    RangeRecord, Round, SetAside, Untold, UntoldPlace,
};
use crate::store::packing::unpacked;
use crate::store::{Cursor, OutboxRow, StoreError, Takeover};

#[async_trait]
impl AuditLogStore for SqlStore {
    async fn take_sequencer(
        &self,
        owner: &str,
        lease_ms: i64,
        takeover: Takeover,
    ) -> Result<Option<i64>, StoreError> {
        self.bounded(audit_rounds::take(self, owner, lease_ms, takeover))
            .await
    }

    async fn renew_sequencer(&self, epoch: i64, lease_ms: i64) -> Result<bool, StoreError> {
        self.bounded(audit_rounds::renew(self, epoch, lease_ms))
            .await
    }

    async fn sequenced(&self) -> Result<Vec<Cursor>, StoreError> {
        let text = "SELECT partition_no, batch FROM audit_cursor ORDER BY partition_no";
        let read = sqlx::query(text).fetch_all(self.pool());
        let rows = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        let cursor = |row: &Row| {
            Ok(Cursor {
                partition: get(row, "partition_no")?,
                batch: get(row, "batch")?,
            })
        };
        rows.iter().map(cursor).collect()
    }

    async fn logs(&self, tenant: &str) -> Result<Vec<LogRecord>, StoreError> {
        let read = sqlx::query(
            "SELECT incarnation, size, n_checkpoints, n_events, key_number FROM audit_log \
             WHERE tenant = ? ORDER BY incarnation",
        )
        .bind(tenant)
        .fetch_all(self.pool());
        let rows = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        let log = |row: &Row| {
            Ok(LogRecord {
                tenant: tenant.to_owned(),
                incarnation: get(row, "incarnation")?,
                size: get(row, "size")?,
                n_checkpoints: get(row, "n_checkpoints")?,
                n_events: get(row, "n_events")?,
                key_number: get(row, "key_number")?,
            })
        };
        rows.iter().map(log).collect()
    }

    async fn tiles(
        &self,
        tenant: &str,
        incarnation: i64,
        wanted: &[TileId],
    ) -> Result<Vec<Tile>, StoreError> {
        self.bounded(tiles(self, tenant, incarnation, wanted)).await
    }

    async fn append(&self, epoch: i64, round: &Round) -> Result<Appended, StoreError> {
        self.bounded(audit_rounds::append(self, epoch, round)).await
    }

    async fn untold(
        &self,
        after: Option<&UntoldPlace>,
        limit: u32,
    ) -> Result<Vec<Untold>, StoreError> {
        self.bounded(audit_aside::untold(self, after, limit)).await
    }

    async fn told(&self, told: &[Untold]) -> Result<(), StoreError> {
        self.bounded(audit_rounds::told(self, told)).await
    }

    async fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        self.bounded(audit_aside::set_aside(self)).await
    }

    async fn public_rows(
        &self,
        partition: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<PublicRow>, StoreError> {
        self.bounded(audit_aside::public_rows(self, partition, after, limit))
            .await
    }

    async fn tenant_of(&self, subject: &str) -> Result<Option<String>, StoreError> {
        self.bounded(audit_aside::tenant_of(self, subject)).await
    }

    async fn checkpoints(
        &self,
        tenant: &str,
        incarnation: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<CheckpointRecord>, StoreError> {
        let read = sqlx::query(
            "SELECT number, size, at_ms, note FROM audit_checkpoint \
             WHERE tenant = ? AND incarnation = ? AND ? < number ORDER BY number LIMIT ?",
        )
        .bind(tenant)
        .bind(incarnation)
        .bind(after)
        .bind(limit)
        .fetch_all(self.pool());
        let rows = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        let checkpoint = |row: &Row| {
            Ok(CheckpointRecord {
                tenant: tenant.to_owned(),
                incarnation,
                number: get(row, "number")?,
                size: get(row, "size")?,
                at_ms: get(row, "at_ms")?,
                note: get(row, "note")?,
            })
        };
        rows.iter().map(checkpoint).collect()
    }

    async fn ranges(
        &self,
        tenant: &str,
        incarnation: i64,
        from: i64,
        to: i64,
    ) -> Result<Vec<RangeRecord>, StoreError> {
        let read = sqlx::query(
            "SELECT incarnation, first_leaf, n_leaves, partition_no, first_batch, last_batch \
             FROM audit_range WHERE tenant = ? AND incarnation = ? AND first_leaf < ? AND ? < first_leaf \
             AND ? < first_leaf + n_leaves ORDER BY first_leaf",
        )
        .bind(tenant)
        .bind(incarnation)
        .bind(to)
        .bind(from - RANGE_LEAVES_MAX)
        .bind(from)
        .fetch_all(self.pool());
        let rows = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        rows.iter().map(range).collect()
    }

    async fn range_of(
        &self,
        tenant: &str,
        partition: u8,
        batch: i64,
    ) -> Result<Option<RangeRecord>, StoreError> {
        let read = sqlx::query(
            "SELECT incarnation, first_leaf, n_leaves, partition_no, first_batch, last_batch \
             FROM audit_range WHERE tenant = ? AND partition_no = ? AND first_batch <= ? \
             ORDER BY first_batch DESC LIMIT 1",
        )
        .bind(tenant)
        .bind(partition)
        .bind(batch)
        .fetch_optional(self.pool());
        let row = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        let found = row.as_ref().map(range).transpose()?;
        Ok(found.filter(|it| batch <= it.last_batch))
    }

    async fn public_of(&self, workflow: WorkflowId) -> Result<Vec<OutboxRow>, StoreError> {
        let text =
            "SELECT workflow, batch, public FROM journal WHERE workflow = ? ORDER BY sequence";
        let read = sqlx::query(text)
            .bind(workflow.to_string())
            .fetch_all(self.pool());
        let rows = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        rows.iter().map(outbox).collect()
    }

    async fn public_act(
        &self,
        log: WorkflowId,
        sequence: u64,
    ) -> Result<Option<OutboxRow>, StoreError> {
        let read = sqlx::query(
            "SELECT workflow, batch, public FROM journal WHERE workflow = ? AND sequence >= ? \
             ORDER BY sequence LIMIT 1",
        )
        .bind(log.to_string())
        .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
        .fetch_optional(self.pool());
        let row = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        row.as_ref().map(outbox).transpose()
    }

    async fn audit_keys(&self) -> Result<Vec<AuditKey>, StoreError> {
        let read = sqlx::query(
            "SELECT number, public_key, wrapped, sealed, statement, created_ms FROM audit_key \
             ORDER BY number",
        )
        .fetch_all(self.pool());
        let rows = self
            .bounded(async { read.await.map_err(unavailable) })
            .await?;
        let key = |row: &Row| {
            Ok(AuditKey {
                number: get(row, "number")?,
                public_key: get(row, "public_key")?,
                wrapped: get(row, "wrapped")?,
                sealed: get(row, "sealed")?,
                statement: get(row, "statement")?,
                created_ms: get(row, "created_ms")?,
            })
        };
        rows.iter().map(key).collect()
    }

    async fn put_audit_key(&self, key: &AuditKey) -> Result<bool, StoreError> {
        self.bounded(audit_rounds::put_key(self, key)).await
    }
}

/// A row of the journal as the streams take it.
pub(super) fn outbox(row: &Row) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        workflow: id(row)?,
        batch: get(row, "batch")?,
        public: unpacked(get(row, "public")?)?,
    })
}

fn range(row: &Row) -> Result<RangeRecord, StoreError> {
    Ok(RangeRecord {
        incarnation: get(row, "incarnation")?,
        first_leaf: get(row, "first_leaf")?,
        n_leaves: get(row, "n_leaves")?,
        partition: get(row, "partition_no")?,
        first_batch: get(row, "first_batch")?,
        last_batch: get(row, "last_batch")?,
    })
}

async fn tiles(
    store: &SqlStore,
    tenant: &str,
    incarnation: i64,
    wanted: &[TileId],
) -> Result<Vec<Tile>, StoreError> {
    let mut found = Vec::with_capacity(wanted.len());
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    for level in wanted.chunk_by(|a, b| a.level == b.level) {
        for chunk in level.chunks(IN_LIST_MAX) {
            let mut query =
                QueryBuilder::<Db>::new("SELECT place, hashes FROM audit_tile WHERE tenant = ");
            query.push_bind(tenant.to_owned());
            query.push(" AND incarnation = ").push_bind(incarnation);
            query
                .push(" AND level = ")
                .push_bind(i16::from(chunk[0].level));
            query.push(" AND place IN (");
            let mut places = query.separated(", ");
            for id in chunk {
                places.push_bind(id.index.cast_signed());
            }
            query.push(") ORDER BY place");
            let rows = query
                .build()
                .fetch_all(store.pool())
                .await
                .map_err(unavailable)?;
            for row in &rows {
                let (place, bytes): (i64, Vec<u8>) = (get(row, "place")?, get(row, "hashes")?);
                let hashes = Hash::many(&bytes).ok_or_else(|| StoreError::Corrupt {
                    what: "the column `hashes`".to_owned(),
                })?;
                let id = TileId {
                    level: chunk[0].level,
                    index: place.cast_unsigned(),
                };
                found.push(Tile { id, hashes });
            }
        }
    }
    Ok(found)
}
