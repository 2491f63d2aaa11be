//! What the engine reads of workflows.

use sqlx::QueryBuilder;

use btrust_schemas::ids::WorkflowId;

use super::rows::{IN_LIST_MAX, get, id, push_ids};
use super::{Db, Row, SqlStore, unavailable};
use crate::store::{
    JournalRow, OpenWorkflow, SnapshotColumns, StartKey, StartRecord, StartRequests, StoreError,
    WorkflowColumns, WorkflowRecord,
};

/// The columns that [`columns`] reads.
pub(super) const COLUMNS: &str = "tenant, definition, version, subject, locale, status, waiting_for, \
     decision, started_ms, closed_ms, restart_of, attributes, retention, legal_hold";

/// The list columns of a row that has all of [`COLUMNS`].
pub(super) fn columns(row: &Row) -> Result<WorkflowColumns, StoreError> {
    let legal_hold: i16 = get(row, "legal_hold")?;
    Ok(WorkflowColumns {
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
        attributes: get(row, "attributes")?,
        retention: get(row, "retention")?,
        legal_hold: legal_hold != 0,
    })
}

pub(super) async fn load(
    store: &SqlStore,
    workflows: &[WorkflowId],
) -> Result<Vec<WorkflowRecord>, StoreError> {
    let mut records = Vec::with_capacity(workflows.len());
    for chunk in workflows.chunks(IN_LIST_MAX) {
        let mut query = QueryBuilder::<Db>::new(format!(
            "SELECT w.workflow, {COLUMNS}, sequence, chain, n_audit, n_analytics, is_open, \
             n_turns, n_prompts, n_signals, wake_at_ms, n_owed, children, incident, sealed \
             FROM workflow w JOIN snapshot s ON s.workflow = w.workflow WHERE w.workflow IN ("
        ));
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

pub(super) async fn find_starts(
    store: &SqlStore,
    keys: &[StartKey],
) -> Result<Vec<StartRecord>, StoreError> {
    let mut records = Vec::new();
    for chunk in keys.chunks(IN_LIST_MAX) {
        let mut query = QueryBuilder::<Db>::new(
            "SELECT tenant, key_hash, digest, workflow, requests FROM start_key WHERE ",
        );
        let mut alternatives = query.separated(" OR ");
        // The last key fills the list up to a power of two, so that few texts are ever prepared.
        let padding = chunk.last().into_iter().cycle();
        for key in chunk
            .iter()
            .chain(padding)
            .take(chunk.len().next_power_of_two())
        {
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
            let requests: Option<String> = get(&row, "requests")?;
            let requests = StartRequests::of_column(requests.as_deref());
            records.push(StartRecord {
                key: StartKey {
                    tenant: get(&row, "tenant")?,
                    key_hash: get(&row, "key_hash")?,
                },
                digest: get(&row, "digest")?,
                workflow: id(&row)?,
                replaces: None,
                requests: requests.ok_or_else(|| StoreError::Corrupt {
                    what: "the requests of the key of a start".to_owned(),
                })?,
            });
        }
    }
    Ok(records)
}

fn workflow_record(row: &Row) -> Result<WorkflowRecord, StoreError> {
    Ok(WorkflowRecord {
        workflow: id(row)?,
        columns: columns(row)?,
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
