//! Incidents as operators see them, and the limits that they set.

use async_trait::async_trait;
use sqlx::QueryBuilder;

use btrust_schemas::ids::WorkflowId;

use super::rows::{get, id};
use super::{Db, Row, SqlStore, unavailable};
use crate::store::StoreError;
use crate::store::operations::{
    IncidentFilter, IncidentRow, LimitsRow, OperationStore, Raised, Resolution,
};

const COLUMNS: &str = "SELECT workflow, task, tenant, definition, version, code, state, step, \
                       attempt, turn, raised_ms, is_open, resolved_ms, resolved_by, action, note \
                       FROM incident WHERE ";

#[async_trait]
impl OperationStore for SqlStore {
    async fn raise_incident(&self, it: &Raised) -> Result<(), StoreError> {
        self.bounded(raise_incident(self, it)).await
    }

    async fn incidents(&self, filter: &IncidentFilter) -> Result<Vec<IncidentRow>, StoreError> {
        self.bounded(incidents(self, filter)).await
    }

    async fn incident(
        &self,
        workflow: WorkflowId,
        task: i64,
    ) -> Result<Option<IncidentRow>, StoreError> {
        self.bounded(find_incident(self, workflow, task)).await
    }

    async fn close_incident(
        &self,
        workflow: WorkflowId,
        task: i64,
        resolution: &Resolution,
    ) -> Result<bool, StoreError> {
        self.bounded(close_incident(self, workflow, task, resolution))
            .await
    }

    async fn task_limits(&self) -> Result<Option<LimitsRow>, StoreError> {
        self.bounded(task_limits(self)).await
    }

    async fn put_task_limits(&self, row: &LimitsRow) -> Result<bool, StoreError> {
        self.bounded(put_task_limits(self, row)).await
    }
}

async fn raise_incident(store: &SqlStore, it: &Raised) -> Result<(), StoreError> {
    let known = find_incident(store, it.workflow, it.task).await?;
    if known.is_some_and(|it| it.resolution.is_none()) {
        return Ok(());
    }
    let mut writer = store.writer().await?;
    sqlx::query(
        "REPLACE INTO incident (workflow, task, tenant, definition, version, code, state, step, \
         attempt, turn, raised_ms, is_open) \
         SELECT workflow, ?, tenant, definition, version, ?, ?, ?, ?, ?, ?, 1 \
         FROM workflow WHERE workflow = ?",
    )
    .bind(it.task)
    .bind(&it.code)
    .bind(&it.state)
    .bind(&it.step)
    .bind(it.attempt)
    .bind(it.turn)
    .bind(it.at_ms)
    .bind(it.workflow.to_string())
    .execute(writer.connection())
    .await
    .map_err(unavailable)?;
    writer.keep();
    Ok(())
}

async fn incidents(
    store: &SqlStore,
    filter: &IncidentFilter,
) -> Result<Vec<IncidentRow>, StoreError> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push("tenant = ").push_bind(filter.tenant.as_str());
    query.push(" AND is_open = ").push_bind(filter.is_open);
    let equalities = [
        (" AND code = ", &filter.code),
        (" AND step = ", &filter.step),
        (" AND definition = ", &filter.definition),
    ];
    for (text, value) in equalities {
        if let Some(value) = value {
            query.push(text).push_bind(value.as_str());
        }
    }
    if let Some((raised_ms, workflow, task)) = filter.after {
        query.push(" AND (raised_ms < ").push_bind(raised_ms);
        query.push(" OR (raised_ms = ").push_bind(raised_ms);
        query
            .push(" AND (workflow < ")
            .push_bind(workflow.to_string());
        query
            .push(" OR (workflow = ")
            .push_bind(workflow.to_string());
        query.push(" AND task < ").push_bind(task).push("))))");
    }
    query.push(" ORDER BY raised_ms DESC, workflow DESC, task DESC LIMIT ");
    query.push_bind(i64::from(filter.limit));
    let rows = query.build().fetch_all(store.pool()).await;
    rows.map_err(unavailable)?.iter().map(incident).collect()
}

async fn find_incident(
    store: &SqlStore,
    workflow: WorkflowId,
    task: i64,
) -> Result<Option<IncidentRow>, StoreError> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push("workflow = ").push_bind(workflow.to_string());
    query.push(" AND task = ").push_bind(task);
    let row = query.build().fetch_optional(store.pool()).await;
    row.map_err(unavailable)?.as_ref().map(incident).transpose()
}

async fn close_incident(
    store: &SqlStore,
    workflow: WorkflowId,
    task: i64,
    resolution: &Resolution,
) -> Result<bool, StoreError> {
    let mut writer = store.writer().await?;
    let done = sqlx::query(
        "UPDATE incident SET is_open = 0, resolved_ms = ?, resolved_by = ?, action = ?, note = ? \
         WHERE workflow = ? AND task = ? AND is_open = 1",
    )
    .bind(resolution.at_ms)
    .bind(&resolution.by)
    .bind(&resolution.action)
    .bind(&resolution.note)
    .bind(workflow.to_string())
    .bind(task)
    .execute(writer.connection())
    .await
    .map_err(unavailable)?;
    writer.keep();
    Ok(done.rows_affected() == 1)
}

async fn task_limits(store: &SqlStore) -> Result<Option<LimitsRow>, StoreError> {
    let text = "SELECT revision, document, changed_by, changed_ms FROM task_limits WHERE id = 1";
    let row = sqlx::query(text).fetch_optional(store.pool()).await;
    let limits = |row: &Row| {
        Ok(LimitsRow {
            revision: get(row, "revision")?,
            document: get(row, "document")?,
            changed_by: get(row, "changed_by")?,
            changed_ms: get(row, "changed_ms")?,
        })
    };
    row.map_err(unavailable)?.as_ref().map(limits).transpose()
}

async fn put_task_limits(store: &SqlStore, row: &LimitsRow) -> Result<bool, StoreError> {
    let mut writer = store.writer().await?;
    let text = if row.revision == 1 {
        "INSERT INTO task_limits (revision, document, changed_by, changed_ms, id) \
         VALUES (?, ?, ?, ?, 1)"
    } else {
        "UPDATE task_limits SET revision = ?, document = ?, changed_by = ?, changed_ms = ? \
         WHERE id = 1 AND revision = ?"
    };
    let mut query = sqlx::query(text)
        .bind(row.revision)
        .bind(&row.document)
        .bind(&row.changed_by)
        .bind(row.changed_ms);
    if row.revision != 1 {
        query = query.bind(row.revision - 1);
    }
    match query.execute(writer.connection()).await {
        Ok(done) => {
            writer.keep();
            Ok(done.rows_affected() == 1)
        }
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            writer.keep();
            Ok(false)
        }
        Err(error) => Err(unavailable(error)),
    }
}

fn incident(row: &Row) -> Result<IncidentRow, StoreError> {
    let is_open: bool = get(row, "is_open")?;
    let resolution = if is_open {
        None
    } else {
        Some(Resolution {
            at_ms: get::<Option<i64>>(row, "resolved_ms")?.unwrap_or_default(),
            by: get::<Option<String>>(row, "resolved_by")?.unwrap_or_default(),
            action: get::<Option<String>>(row, "action")?.unwrap_or_default(),
            note: get(row, "note")?,
        })
    };
    Ok(IncidentRow {
        workflow: id(row)?,
        task: get(row, "task")?,
        tenant: get(row, "tenant")?,
        definition: get(row, "definition")?,
        version: get(row, "version")?,
        code: get(row, "code")?,
        state: get(row, "state")?,
        step: get(row, "step")?,
        attempt: get(row, "attempt")?,
        turn: get(row, "turn")?,
        raised_ms: get(row, "raised_ms")?,
        resolution,
    })
}
