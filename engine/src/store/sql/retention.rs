//! What may be deleted, and what was.

use std::collections::HashMap;

use sqlx::{Connection as _, QueryBuilder};

use btrust_schemas::ids::WorkflowId;

use super::reads::{COLUMNS, columns};
use super::rows::{IN_LIST_MAX, get, id, push_ids};
use super::{BEGIN, Db, FOR_UPDATE, Row, SqlStore, led_by, unavailable};
use crate::store::StoreError;
use crate::store::lists::{AuditRow, DeletedWorkflow, Ended, EndedQuery};

pub(super) async fn ended(store: &SqlStore, asked: &EndedQuery) -> Result<Vec<Ended>, StoreError> {
    let mut query = QueryBuilder::<Db>::new("SELECT workflow, closed_ms FROM workflow");
    query
        .push(led_by("workflow_by_end"))
        .push(" WHERE retention = ");
    query.push_bind(asked.retention.clone());
    query
        .push(" AND closed_ms < ")
        .push_bind(asked.closed_before_ms);
    if let Some(after) = asked.after {
        query.push(" AND closed_ms >= ").push_bind(after.closed_ms);
        query.push(" AND (closed_ms > ").push_bind(after.closed_ms);
        query
            .push(" OR workflow > ")
            .push_bind(after.workflow.to_string())
            .push(")");
    }
    query.push(" AND legal_hold = 0 ORDER BY closed_ms, workflow LIMIT ");
    query.push_bind(asked.limit);
    let rows = query
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    let read = |row: &Row| {
        Ok(Ended {
            workflow: id(row)?,
            closed_ms: get(row, "closed_ms")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn batches_of(
    store: &SqlStore,
    workflows: &[WorkflowId],
) -> Result<Vec<(WorkflowId, i64)>, StoreError> {
    let mut found = Vec::with_capacity(workflows.len());
    for chunk in workflows.chunks(IN_LIST_MAX) {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT workflow, MAX(batch) AS batch FROM journal WHERE workflow IN (",
        );
        push_ids(&mut query, chunk);
        query.push(" GROUP BY workflow");
        let rows = query
            .build()
            .fetch_all(store.pool())
            .await
            .map_err(unavailable)?;
        for row in &rows {
            found.push((id(row)?, get(row, "batch")?));
        }
    }
    Ok(found)
}

pub(super) async fn deleted(
    store: &SqlStore,
    (partition, batch): (u8, i64),
    limit: u32,
) -> Result<Vec<DeletedWorkflow>, StoreError> {
    let rows = sqlx::query(
        "SELECT d.workflow, d.tenant, d.batch FROM deleted_workflow d \
         JOIN relay_cursor c ON c.partition_no = d.partition_no \
         WHERE d.batch <= c.batch AND (d.partition_no > ? OR (d.partition_no = ? AND d.batch > ?)) \
         ORDER BY d.partition_no, d.batch LIMIT ?",
    )
    .bind(partition)
    .bind(partition)
    .bind(batch)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    let read = |row: &Row| {
        Ok(DeletedWorkflow {
            workflow: id(row)?,
            tenant: get(row, "tenant")?,
            batch: get(row, "batch")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Only rows that are published go, and the floor rises in the same transaction: whoever asks for the
/// last batch of the partition sees the row or the floor. So this needs no lease.
pub(super) async fn purge(
    store: &SqlStore,
    partition: u8,
    deleted: &[DeletedWorkflow],
) -> Result<(), StoreError> {
    let Some(last) = deleted.iter().map(|it| it.batch).max() else {
        return Ok(());
    };
    let mut writer = store.writer().await?;
    let mut transaction = writer
        .connection()
        .begin_with(BEGIN)
        .await
        .map_err(unavailable)?;
    // The lease first, as everybody locks rows.
    let lock = format!("SELECT epoch FROM partition_lease WHERE partition_no = ?{FOR_UPDATE}");
    sqlx::query(sqlx::AssertSqlSafe(lock))
        .bind(partition)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let floor =
        sqlx::query("SELECT batch, committed_ms FROM partition_floor WHERE partition_no = ?")
            .bind(partition)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
    let (floor, floor_ms): (i64, i64) = match &floor {
        Some(row) => (get(row, "batch")?, get(row, "committed_ms")?),
        None => (0, 0),
    };
    let committed =
        sqlx::query("SELECT committed_ms FROM journal WHERE partition_no = ? AND batch = ?")
            .bind(partition)
            .bind(last)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
    let committed_ms: i64 = match &committed {
        Some(row) => get(row, "committed_ms")?,
        None => 0,
    };
    sqlx::query(
        "REPLACE INTO partition_floor (partition_no, batch, committed_ms) VALUES (?, ?, ?)",
    )
    .bind(partition)
    .bind(floor.max(last))
    .bind(floor_ms.max(committed_ms))
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    for it in deleted {
        for statement in [
            "DELETE FROM journal WHERE partition_no = ? AND batch = ?",
            "DELETE FROM deleted_workflow WHERE partition_no = ? AND batch = ?",
        ] {
            sqlx::query(statement)
                .bind(partition)
                .bind(it.batch)
                .execute(&mut *transaction)
                .await
                .map_err(unavailable)?;
        }
    }
    transaction.commit().await.map_err(unavailable)?;
    writer.keep();
    Ok(())
}

pub(super) async fn audit_rows(
    store: &SqlStore,
    after: Option<WorkflowId>,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let mut query = QueryBuilder::<Db>::new(format!(
        "SELECT workflow, {COLUMNS} FROM workflow WHERE workflow > "
    ));
    query.push_bind(after.map(|it| it.to_string()).unwrap_or_default());
    query.push(" ORDER BY workflow LIMIT ").push_bind(limit);
    let rows = query
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    let mut audited = Vec::with_capacity(rows.len());
    for row in &rows {
        audited.push(AuditRow {
            workflow: id(row)?,
            columns: columns(row)?,
            attributes: Vec::new(),
        });
    }
    let (Some(first), Some(last)) = (audited.first(), audited.last()) else {
        return Ok(audited);
    };
    let attributes = sqlx::query(
        "SELECT workflow, name, value FROM search_attribute WHERE workflow >= ? AND workflow <= ? \
         ORDER BY workflow, name",
    )
    .bind(first.workflow.to_string())
    .bind(last.workflow.to_string())
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    let mut by_id: HashMap<WorkflowId, Vec<(String, String)>> = HashMap::new();
    for row in &attributes {
        let entry = (get(row, "name")?, get(row, "value")?);
        by_id.entry(id(row)?).or_default().push(entry);
    }
    for row in &mut audited {
        row.attributes = by_id.remove(&row.workflow).unwrap_or_default();
    }
    Ok(audited)
}
