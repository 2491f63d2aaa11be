//! What the sequencer writes: each round in one transaction, under the lock of its epoch.

use sqlx::{Connection as _, QueryBuilder};

use btrust_integrity::tree::Hash;

use super::rows::get;
use super::{BEGIN, Connection, Db, FOR_UPDATE, SELECT_NOW_MS, SqlStore, unavailable};
use crate::store::audit_log::{Appended, AuditKey, LogRound, Round, Untold};
use crate::store::packing::packed;
use crate::store::{StoreError, Takeover};

/// The epoch and the end of the lease, under the lock of the one row.
async fn lock(connection: &mut Connection) -> Result<(i64, i64), StoreError> {
    let text = format!(
        "SELECT epoch, lease_until_ms FROM audit_sequencer WHERE name = 'sequencer'{FOR_UPDATE}"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .fetch_one(connection)
        .await
        .map_err(unavailable)?;
    Ok((get(&row, "epoch")?, get(&row, "lease_until_ms")?))
}

pub(super) async fn take(
    store: &SqlStore,
    owner: &str,
    lease_ms: i64,
    takeover: Takeover,
) -> Result<Option<i64>, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let (epoch, until_ms) = lock(&mut transaction).await?;
    let now_ms: i64 = sqlx::query_scalar(SELECT_NOW_MS)
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let is_free = takeover == Takeover::Always || until_ms <= now_ms;
    if is_free {
        sqlx::query(
            "UPDATE audit_sequencer SET owner = ?, epoch = ?, lease_until_ms = ? \
             WHERE name = 'sequencer'",
        )
        .bind(owner)
        .bind(epoch + 1)
        .bind(now_ms.saturating_add(lease_ms))
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(is_free.then_some(epoch + 1))
}

pub(super) async fn renew(store: &SqlStore, epoch: i64, lease_ms: i64) -> Result<bool, StoreError> {
    let mut writer = store.writer().await?;
    let mut query = QueryBuilder::<Db>::new("UPDATE audit_sequencer SET lease_until_ms = (");
    query.push(SELECT_NOW_MS).push(") + ").push_bind(lease_ms);
    query
        .push(" WHERE name = 'sequencer' AND epoch = ")
        .push_bind(epoch);
    let renewed = query
        .build()
        .execute(writer.connection())
        .await
        .map_err(unavailable)?;
    writer.keep();
    Ok(renewed.rows_affected() == 1)
}

pub(super) async fn append(
    store: &SqlStore,
    epoch: i64,
    round: &Round,
) -> Result<Appended, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    let (current, _) = lock(&mut transaction).await?;
    let key: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM audit_key")
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let refused = if current != epoch {
        Some(Appended::Fenced)
    } else if key != Some(round.key_number) {
        Some(Appended::KeyEnded)
    } else {
        None
    };
    if let Some(refused) = refused {
        transaction.rollback().await.map_err(unavailable)?;
        writer.keep();
        return Ok(refused);
    }
    for cursor in &round.cursors {
        sqlx::query("REPLACE INTO audit_cursor (partition_no, batch) VALUES (?, ?)")
            .bind(cursor.partition)
            .bind(cursor.batch)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
    }
    for log in &round.logs {
        put_log(&mut transaction, log).await.map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(Appended::Written)
}

async fn put_log(connection: &mut Connection, round: &LogRound) -> Result<(), sqlx::Error> {
    let (log, it) = (&round.log, &round.checkpoint);
    sqlx::query(
        "REPLACE INTO audit_log (tenant, incarnation, size, n_checkpoints, n_events, key_number) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&log.tenant)
    .bind(log.incarnation)
    .bind(log.size)
    .bind(log.n_checkpoints)
    .bind(log.n_events)
    .bind(log.key_number)
    .execute(&mut *connection)
    .await?;
    for tile in &round.tiles {
        sqlx::query(
            "REPLACE INTO audit_tile (tenant, incarnation, level, place, hashes) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&log.tenant)
        .bind(log.incarnation)
        .bind(i16::from(tile.id.level))
        .bind(tile.id.index.cast_signed())
        .bind(Hash::joined(&tile.hashes))
        .execute(&mut *connection)
        .await?;
    }
    for range in &round.ranges {
        sqlx::query(
            "INSERT INTO audit_range (tenant, incarnation, first_leaf, n_leaves, partition_no, \
             first_batch, last_batch) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&log.tenant)
        .bind(range.incarnation)
        .bind(range.first_leaf)
        .bind(range.n_leaves)
        .bind(range.partition)
        .bind(range.first_batch)
        .bind(range.last_batch)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "INSERT INTO audit_checkpoint (tenant, incarnation, number, size, at_ms, note) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&log.tenant)
    .bind(log.incarnation)
    .bind(it.number)
    .bind(it.size)
    .bind(it.at_ms)
    .bind(&it.note)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO audit_untold (tenant, incarnation, number, events) VALUES (?, ?, ?, ?)",
    )
    .bind(&log.tenant)
    .bind(log.incarnation)
    .bind(it.number)
    .bind(packed(&round.events))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

pub(super) async fn told(store: &SqlStore, told: &[Untold]) -> Result<(), StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    for it in told {
        sqlx::query("DELETE FROM audit_untold WHERE tenant = ? AND incarnation = ? AND number = ?")
            .bind(&it.tenant)
            .bind(it.incarnation)
            .bind(it.number)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(())
}

pub(super) async fn put_key(store: &SqlStore, key: &AuditKey) -> Result<bool, StoreError> {
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    // Whoever signs holds the same row.
    lock(&mut transaction).await?;
    let last: Option<i64> = sqlx::query_scalar("SELECT MAX(number) FROM audit_key")
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let signed_ms: Option<i64> = sqlx::query_scalar("SELECT MAX(at_ms) FROM audit_checkpoint")
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let is_next = last.unwrap_or_default() + 1 == key.number;
    if !is_next || signed_ms.is_some_and(|it| key.created_ms < it) {
        transaction.rollback().await.map_err(unavailable)?;
        writer.keep();
        return Ok(false);
    }
    sqlx::query("UPDATE audit_key SET wrapped = ?, sealed = ? WHERE number < ?")
        .bind(Vec::<u8>::new())
        .bind(Vec::<u8>::new())
        .bind(key.number)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    sqlx::query(
        "INSERT INTO audit_key (number, public_key, wrapped, sealed, statement, created_ms) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(key.number)
    .bind(&key.public_key)
    .bind(&key.wrapped)
    .bind(&key.sealed)
    .bind(&key.statement)
    .bind(key.created_ms)
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(true)
}
