//! What the engine reads of workflows.

use sqlx::QueryBuilder;

use btrust_schemas::ids::WorkflowId;

use super::rows::{IN_LIST_MAX, get, id, push_ids};
use super::{Db, Row, SqlStore, unavailable};
use crate::store::{
    JournalRow, ListFilter, Listed, OpenWorkflow, SnapshotColumns, StartKey, StartRecord,
    StoreError, WorkflowColumns, WorkflowRecord,
};
use crate::workflow::OPERATOR;

pub(super) async fn load(
    store: &SqlStore,
    workflows: &[WorkflowId],
) -> Result<Vec<WorkflowRecord>, StoreError> {
    let mut records = Vec::with_capacity(workflows.len());
    for chunk in workflows.chunks(IN_LIST_MAX) {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT w.workflow, tenant, definition, version, subject, locale, status, waiting_for, \
             decision, started_ms, closed_ms, restart_of, sequence, chain, n_audit, n_analytics, \
             is_open, n_turns, n_prompts, n_signals, wake_at_ms, n_owed, children, incident, sealed \
             FROM workflow w JOIN snapshot s ON s.workflow = w.workflow WHERE w.workflow IN (",
        );
        push_ids(&mut query, chunk);
        for row in query
            .build()
            .fetch_all(store.pool())
            .await
            .map_err(unavailable)?
        {
            records.push(workflow_record(&row)?);
        }
    }
    Ok(records)
}

pub(super) async fn open_workflows(
    store: &SqlStore,
    partition: u8,
    after: Option<WorkflowId>,
    limit: u32,
) -> Result<Vec<OpenWorkflow>, StoreError> {
    let rows = sqlx::query(
        "SELECT workflow, n_turns, n_prompts, n_signals, wake_at_ms, n_owed, children, incident \
         FROM snapshot WHERE partition_no = ? AND is_open = 1 AND ? < workflow ORDER BY workflow LIMIT ?",
    )
    .bind(partition)
    .bind(after.map(|it| it.to_string()).unwrap_or_default())
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    rows.iter()
        .map(|row| {
            Ok(OpenWorkflow {
                workflow: id(row)?,
                n_turns: get(row, "n_turns")?,
                n_prompts: get(row, "n_prompts")?,
                n_signals: get(row, "n_signals")?,
                wake_at_ms: get(row, "wake_at_ms")?,
                n_owed: get(row, "n_owed")?,
                children: get(row, "children")?,
                incident: get(row, "incident")?,
            })
        })
        .collect()
}

pub(super) async fn history(
    store: &SqlStore,
    workflow: WorkflowId,
    after: i64,
    limit: u32,
) -> Result<Vec<JournalRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT first_sequence, sequence, sealed FROM journal \
         WHERE workflow = ? AND ? < sequence ORDER BY sequence LIMIT ?",
    )
    .bind(workflow.to_string())
    .bind(after)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .map_err(unavailable)?;
    rows.iter()
        .map(|row| {
            Ok(JournalRow {
                first_sequence: get(row, "first_sequence")?,
                sequence: get(row, "sequence")?,
                sealed_events: get(row, "sealed")?,
            })
        })
        .collect()
}

pub(super) async fn list(store: &SqlStore, filter: &ListFilter) -> Result<Vec<Listed>, StoreError> {
    let rows = list_query(filter)
        .build()
        .fetch_all(store.pool())
        .await
        .map_err(unavailable)?;
    rows.iter()
        .map(|row| {
            Ok(Listed {
                started_ms: get(row, "started_ms")?,
                workflow: id(row)?,
            })
        })
        .collect()
}

pub(super) async fn find_starts(
    store: &SqlStore,
    keys: &[StartKey],
) -> Result<Vec<StartRecord>, StoreError> {
    let mut records = Vec::new();
    for chunk in keys.chunks(IN_LIST_MAX) {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT tenant, key_hash, digest, workflow FROM start_key WHERE ",
        );
        let mut alternatives = query.separated(" OR ");
        for key in chunk {
            alternatives
                .push("(tenant = ")
                .push_bind_unseparated(key.tenant.clone());
            alternatives.push_unseparated(" AND key_hash = ");
            alternatives
                .push_bind_unseparated(key.key_hash.clone())
                .push_unseparated(")");
        }
        for row in query
            .build()
            .fetch_all(store.pool())
            .await
            .map_err(unavailable)?
        {
            records.push(StartRecord {
                key: StartKey {
                    tenant: get(&row, "tenant")?,
                    key_hash: get(&row, "key_hash")?,
                },
                digest: get(&row, "digest")?,
                workflow: id(&row)?,
                replaces: None,
            });
        }
    }
    Ok(records)
}

fn list_query(filter: &ListFilter) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new("SELECT started_ms, workflow FROM workflow WHERE tenant = ");
    query.push_bind(filter.tenant.clone());
    let equalities = [
        (" AND status = ", &filter.status),
        (" AND definition = ", &filter.definition),
        (" AND decision = ", &filter.decision),
        (" AND waiting_for = ", &filter.waiting_for),
    ];
    for (sql, value) in equalities {
        if let Some(value) = value {
            query.push(sql).push_bind(value.clone());
        }
    }
    match filter.paused {
        Some(true) => {
            query.push(" AND waiting_for = ").push_bind(OPERATOR);
        }
        Some(false) => {
            query
                .push(" AND (waiting_for IS NULL OR waiting_for <> ")
                .push_bind(OPERATOR)
                .push(")");
        }
        None => {}
    }
    if let Some(version) = filter.version {
        query.push(" AND version = ").push_bind(version);
    }
    if let Some(from_ms) = filter.started_from_ms {
        query.push(" AND started_ms >= ").push_bind(from_ms);
    }
    if let Some(until_ms) = filter.started_until_ms {
        query.push(" AND started_ms < ").push_bind(until_ms);
    }
    if let Some(after) = filter.after {
        query
            .push(" AND (started_ms < ")
            .push_bind(after.started_ms);
        query.push(" OR (started_ms = ").push_bind(after.started_ms);
        query
            .push(" AND workflow < ")
            .push_bind(after.workflow.to_string())
            .push("))");
    }
    query
        .push(" ORDER BY started_ms DESC, workflow DESC LIMIT ")
        .push_bind(filter.limit);
    query
}

fn workflow_record(row: &Row) -> Result<WorkflowRecord, StoreError> {
    Ok(WorkflowRecord {
        workflow: id(row)?,
        columns: WorkflowColumns {
            tenant: get(row, "tenant")?,
            definition: get(row, "definition")?,
            version: get(row, "version")?,
            subject: get(row, "subject")?,
            locale: get(row, "locale")?,
            status: get(row, "status")?,
            waiting_for: get(row, "waiting_for")?,
            decision: get(row, "decision")?,
            started_ms: get(row, "started_ms")?,
            closed_ms: get(row, "closed_ms")?,
            restart_of: restart_of(row)?,
        },
        sequence: get(row, "sequence")?,
        snapshot: SnapshotColumns {
            chain: get(row, "chain")?,
            n_audit: get(row, "n_audit")?,
            n_analytics: get(row, "n_analytics")?,
            is_open: get(row, "is_open")?,
            n_turns: get(row, "n_turns")?,
            n_prompts: get(row, "n_prompts")?,
            n_signals: get(row, "n_signals")?,
            wake_at_ms: get(row, "wake_at_ms")?,
            n_owed: get(row, "n_owed")?,
            children: get(row, "children")?,
        },
        incident: get(row, "incident")?,
        sealed_snapshot: get(row, "sealed")?,
    })
}

fn restart_of(row: &Row) -> Result<Option<WorkflowId>, StoreError> {
    let text: Option<String> = get(row, "restart_of")?;
    let corrupt = |_| StoreError::Corrupt {
        what: "the column `restart_of`".to_owned(),
    };
    text.map(|it| it.parse().map_err(corrupt)).transpose()
}
