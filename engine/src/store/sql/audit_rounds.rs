//! What the sequencer writes: each round in one transaction, under the lock of its epoch.

use sqlx::query_builder::Separated;
use sqlx::{Connection as _, QueryBuilder};

use btrust_integrity::tree::Hash;

use super::rows::get;
use super::{BEGIN, Connection, Db, FOR_UPDATE, SELECT_NOW_MS, SqlStore, unavailable};
use crate::store::audit_log::{Appended, AuditKey, LogRound, Round, Untold};
use crate::store::packing::packed;
use crate::store::{StoreError, Takeover};

/// Most rows of one statement.
///
/// Source: 64 full tiles are 512 KiB, far below what a server takes as a packet; a round has 4,096 rows of the
/// journal at most, so it is some dozens of statements.
const ROWS_MAX: usize = 64;

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
    for mut statement in statements(round) {
        // Its length is that of the round: nothing to keep prepared.
        let query = statement.build().persistent(false);
        query
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(Appended::Written)
}

/// Everything of a round: a few statements, however many logs and partitions it is about.
fn statements(round: &Round) -> Vec<QueryBuilder<Db>> {
    let mut statements = Vec::new();
    put_rows(
        &mut statements,
        "REPLACE INTO audit_cursor (partition_no, batch) ",
        round.cursors.iter(),
        |mut row, it| {
            row.push_bind(it.partition).push_bind(it.batch);
        },
    );
    put_logs(&mut statements, &round.logs);
    put_rows(
        &mut statements,
        "REPLACE INTO audit_set_aside (tenant, partition_no, batch, code, since_ms) ",
        round.aside.iter(),
        |mut row, it| {
            row.push_bind(it.tenant.clone()).push_bind(it.partition);
            row.push_bind(it.batch).push_bind(it.code.clone());
            row.push_bind(it.since_ms);
        },
    );
    for (tenant, partition) in &round.resumed {
        let mut query = QueryBuilder::new("DELETE FROM audit_set_aside WHERE tenant = ");
        query.push_bind(tenant.clone());
        query.push(" AND partition_no = ").push_bind(*partition);
        statements.push(query);
    }
    if let Some(signed_ms) = round.logs.iter().map(|it| it.checkpoint.at_ms).max() {
        let mut query = QueryBuilder::new("UPDATE audit_sequencer SET signed_ms = ");
        query.push_bind(signed_ms);
        query.push(" WHERE name = 'sequencer' AND signed_ms < ");
        query.push_bind(signed_ms);
        statements.push(query);
    }
    statements
}

fn put_logs(statements: &mut Vec<QueryBuilder<Db>>, rounds: &[LogRound]) {
    put_rows(
        statements,
        "REPLACE INTO audit_log (tenant, incarnation, size, n_checkpoints, n_events, key_number) ",
        rounds.iter().map(|it| &it.log),
        |mut row, log| {
            row.push_bind(log.tenant.clone()).push_bind(log.incarnation);
            row.push_bind(log.size).push_bind(log.n_checkpoints);
            row.push_bind(log.n_events).push_bind(log.key_number);
        },
    );
    put_rows(
        statements,
        "REPLACE INTO audit_tile (tenant, incarnation, level, place, hashes) ",
        rounds
            .iter()
            .flat_map(|round| round.tiles.iter().map(move |it| (&round.log, it))),
        |mut row, (log, tile)| {
            row.push_bind(log.tenant.clone()).push_bind(log.incarnation);
            row.push_bind(i16::from(tile.id.level));
            row.push_bind(tile.id.index.cast_signed());
            row.push_bind(Hash::joined(&tile.hashes));
        },
    );
    put_rows(
        statements,
        "INSERT INTO audit_range (tenant, incarnation, first_leaf, n_leaves, partition_no, \
         first_batch, last_batch) ",
        rounds
            .iter()
            .flat_map(|round| round.ranges.iter().map(move |it| (&round.log, it))),
        |mut row, (log, range)| {
            row.push_bind(log.tenant.clone())
                .push_bind(range.incarnation);
            row.push_bind(range.first_leaf).push_bind(range.n_leaves);
            row.push_bind(range.partition);
            row.push_bind(range.first_batch).push_bind(range.last_batch);
        },
    );
    put_rows(
        statements,
        "INSERT INTO audit_checkpoint (tenant, incarnation, number, size, at_ms, note) ",
        rounds.iter().map(|it| &it.checkpoint),
        |mut row, it| {
            row.push_bind(it.tenant.clone()).push_bind(it.incarnation);
            row.push_bind(it.number).push_bind(it.size);
            row.push_bind(it.at_ms).push_bind(it.note.clone());
        },
    );
    put_rows(
        statements,
        "INSERT INTO audit_untold (tenant, incarnation, number, events) ",
        rounds.iter(),
        |mut row, it| {
            row.push_bind(it.log.tenant.clone())
                .push_bind(it.log.incarnation);
            row.push_bind(it.checkpoint.number)
                .push_bind(packed(&it.events));
        },
    );
}

/// Adds statements that write rows, [`ROWS_MAX`] each.
fn put_rows<T>(
    statements: &mut Vec<QueryBuilder<Db>>,
    into: &'static str,
    rows: impl Iterator<Item = T>,
    mut bind: impl FnMut(Separated<'_, Db, &'static str>, T),
) {
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let mut query = QueryBuilder::new(into);
        query.push_values(rows.by_ref().take(ROWS_MAX), &mut bind);
        statements.push(query);
    }
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
            .bind(&it.at.tenant)
            .bind(it.at.incarnation)
            .bind(it.at.number)
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
    let signed_ms: i64 = sqlx::query_scalar("SELECT signed_ms FROM audit_sequencer")
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let is_next = last.unwrap_or_default() + 1 == key.number;
    if !is_next || key.created_ms < signed_ms {
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
