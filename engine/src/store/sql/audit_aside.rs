//! What the sequencer reads that may be damaged: a row that cannot be read is shown as such, and no error.

use super::rows::get;
use super::{Row, SqlStore, unavailable};
use crate::store::StoreError;
use crate::store::audit_log::{PublicRow, SetAside, Untold, UntoldPlace};
use crate::store::packing::unpacked;

/// A packed text, if it can be read.
fn readable(row: &Row, column: &'static str) -> Option<String> {
    unpacked(get(row, column).ok()?).ok()
}

pub(super) async fn untold(
    store: &SqlStore,
    after: Option<&UntoldPlace>,
    limit: u32,
) -> Result<Vec<Untold>, StoreError> {
    let (tenant, incarnation, number) =
        after.map_or(("", 0, 0), |it| (&*it.tenant, it.incarnation, it.number));
    let rows = sqlx::query(
        "SELECT tenant, incarnation, number, events FROM audit_untold \
         WHERE tenant > ? OR (tenant = ? AND (incarnation > ? OR (incarnation = ? AND number > ?))) \
         ORDER BY tenant, incarnation, number LIMIT ?",
    )
    .bind(tenant.to_owned())
    .bind(tenant.to_owned())
    .bind(incarnation)
    .bind(incarnation)
    .bind(number)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    let untold = |row: &Row| {
        Ok(Untold {
            at: UntoldPlace {
                tenant: get(row, "tenant")?,
                incarnation: get(row, "incarnation")?,
                number: get(row, "number")?,
            },
            events: readable(row, "events"),
        })
    };
    rows.iter().map(untold).collect()
}

pub(super) async fn set_aside(store: &SqlStore) -> Result<Vec<SetAside>, StoreError> {
    let rows = sqlx::query(
        "SELECT tenant, partition_no, batch, code, since_ms FROM audit_set_aside \
         ORDER BY tenant, partition_no",
    )
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    let aside = |row: &Row| {
        Ok(SetAside {
            tenant: get(row, "tenant")?,
            partition: get(row, "partition_no")?,
            batch: get(row, "batch")?,
            code: get(row, "code")?,
            since_ms: get(row, "since_ms")?,
        })
    };
    rows.iter().map(aside).collect()
}

pub(super) async fn public_rows(
    store: &SqlStore,
    partition: u8,
    after: i64,
    limit: u32,
) -> Result<Vec<PublicRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT workflow, batch, committed_ms, public FROM journal \
         WHERE partition_no = ? AND ? < batch ORDER BY batch LIMIT ?",
    )
    .bind(partition)
    .bind(after)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    let public = |row: &Row| {
        Ok(PublicRow {
            subject: get(row, "workflow")?,
            batch: get(row, "batch")?,
            committed_ms: get(row, "committed_ms")?,
            public: readable(row, "public"),
        })
    };
    rows.iter().map(public).collect()
}

pub(super) async fn tenant_of(
    store: &SqlStore,
    subject: &str,
) -> Result<Option<String>, StoreError> {
    for statement in [
        "SELECT tenant FROM workflow WHERE workflow = ?",
        "SELECT tenant FROM act_log WHERE log = ?",
        "SELECT tenant FROM deleted_workflow WHERE workflow = ?",
    ] {
        let row = sqlx::query(statement)
            .bind(subject.to_owned())
            .fetch_optional(store.pool())
            .await
            .map_err(unavailable)?;
        if let Some(row) = row {
            return Ok(Some(get(&row, "tenant")?));
        }
    }
    Ok(None)
}
