//! How far the relay is, and what it reads.

use sqlx::Connection as _;

use super::audit_log::outbox as outbox_row;
use super::leases::lost;
use super::rows::get;
use super::{BEGIN, SqlStore, unavailable};
use crate::store::{Committed, Cursor, Fence, OutboxRow, StoreError};

pub(super) async fn outbox(
    store: &SqlStore,
    partition: u8,
    after: i64,
    limit: u32,
) -> Result<Vec<OutboxRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT workflow, batch, public FROM journal \
         WHERE partition_no = ? AND ? < batch ORDER BY batch LIMIT ?",
    )
    .bind(partition)
    .bind(after)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    rows.iter().map(outbox_row).collect()
}

pub(super) async fn cursors(store: &SqlStore) -> Result<Vec<Cursor>, StoreError> {
    let rows = sqlx::query("SELECT partition_no, batch FROM relay_cursor ORDER BY partition_no")
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    rows.iter()
        .map(|row| {
            Ok(Cursor {
                partition: get(row, "partition_no")?,
                batch: get(row, "batch")?,
            })
        })
        .collect()
}

pub(super) async fn put_cursors(
    store: &SqlStore,
    cursors: &[Cursor],
    fences: &[Fence],
) -> Result<Committed, StoreError> {
    // In the order of keys, as everybody locks rows.
    let mut cursors = cursors.to_vec();
    cursors.sort_by_key(|it| it.partition);
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let taken = lost(&mut transaction, fences).await?;
    for cursor in cursors {
        let is_fenced = |it: &Fence| it.partition == cursor.partition;
        if taken.contains(&cursor.partition) || !fences.iter().any(is_fenced) {
            continue;
        }
        sqlx::query("REPLACE INTO relay_cursor (partition_no, batch) VALUES (?, ?)")
            .bind(cursor.partition)
            .bind(cursor.batch)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(Committed { fenced: taken })
}
