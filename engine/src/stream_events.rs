//! The public side of a commit: what the two streams are told, without personal data.
//!
//! Each commit of a workflow makes one audit record and an analytics record for everything that
//! analytics counts. They are serialised here, once, and stored beside the sealed events; the relay
//! publishes these very bytes.
//!
//! An audit record ends with its own hash: `..,"hash":"<64 hex digits>"}}`. The hash is SHA-256 of the
//! record's bytes before `,"hash"`, which name the hash of the record before and the digest of the
//! sealed events; so the chain holds without opening anything, and after a key has been destroyed.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use btrust_machine::{Event, EventKind, Origin};
use btrust_platform::clock::rfc3339;

use crate::workflow::Workflow;

/// The prefix of a line in the outbox that belongs to the audit stream.
pub const AUDIT_PREFIX: &str = "A ";
/// The prefix of a line in the outbox that belongs to the analytics stream.
pub const ANALYTICS_PREFIX: &str = "N ";

/// Serialises what the streams are told of `events`, and moves the workflow's chain and counters on.
///
/// One record a line, each after the prefix of its stream.
pub fn publish(
    workflow: &mut Workflow,
    events: &[Event],
    sealed: &[u8],
    incarnation: i64,
) -> String {
    let mut lines = String::new();
    workflow.n_audit += 1;
    let record = audit(workflow, events, sealed, incarnation);
    lines.push_str(AUDIT_PREFIX);
    lines.push_str(&record);
    lines.push('\n');
    for event in events {
        let Some((kind, data)) = counted(workflow, event) else {
            continue;
        };
        workflow.n_analytics += 1;
        let number = workflow.n_analytics;
        let record = cloud_event(
            workflow,
            &envelope("analytics", kind, number, event.at_ms, incarnation),
            data,
        );
        lines.push_str(ANALYTICS_PREFIX);
        lines.push_str(&record);
        lines.push('\n');
    }
    lines
}

struct Envelope {
    stream: &'static str,
    kind: &'static str,
    number: i64,
    at_ms: i64,
    incarnation: i64,
}

fn envelope(
    stream: &'static str,
    kind: &'static str,
    number: i64,
    at_ms: i64,
    incarnation: i64,
) -> Envelope {
    Envelope {
        stream,
        kind,
        number,
        at_ms,
        incarnation,
    }
}

fn audit(workflow: &mut Workflow, events: &[Event], sealed: &[u8], incarnation: i64) -> String {
    let at_ms = events.last().map_or(0, |it| it.at_ms);
    let data = json!({
        "definition": workflow.columns.definition,
        "version": workflow.columns.version,
        "firstEvent": events.first().map(|it| it.id),
        "lastEvent": events.last().map(|it| it.id),
        "events": events.iter().map(summary).collect::<Vec<_>>(),
        "sealedSha256": hex::encode(Sha256::digest(sealed)),
        "previousHash": workflow.chain,
    });
    let kind = "com.btrust.workflow.changed";
    let record = cloud_event(
        workflow,
        &envelope("audit", kind, workflow.n_audit, at_ms, incarnation),
        data,
    );
    let hashed = record
        .strip_suffix("}}")
        .expect("a record ends with its data object");
    workflow.chain = hex::encode(Sha256::digest(hashed));
    format!("{hashed},\"hash\":\"{}\"}}}}", workflow.chain)
}

/// One CloudEvent with `data` as its last member.
fn cloud_event(workflow: &Workflow, envelope: &Envelope, data: Value) -> String {
    let id = workflow.id;
    let event = btrust_schemas::events::CloudEvent {
        specversion: "1.0".to_owned(),
        id: format!(
            "{id}.{}.{}.{}",
            envelope.incarnation, envelope.number, envelope.stream
        ),
        source: format!("/tenants/{}", workflow.columns.tenant),
        kind: envelope.kind.to_owned(),
        subject: id.to_string(),
        time: rfc3339(envelope.at_ms),
        partitionkey: id.to_string(),
        sequence: envelope.number.to_string(),
        data,
    };
    serde_json::to_string(&event).expect("an event is plain JSON")
}

/// An event as codes, ids and durations: nothing that a person said or is.
#[expect(
    clippy::too_many_lines,
    reason = "a table: one arm for each kind of event"
)]
fn summary(event: &Event) -> Value {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(event.id));
    shown.insert("type".to_owned(), json!(event.type_name()));
    let mut put = |key: &str, value: Value| {
        shown.insert(key.to_owned(), value);
    };
    match &event.kind {
        EventKind::StateEntered { name, .. }
        | EventKind::StateExited { name, .. }
        | EventKind::ParallelStateStarted { name }
        | EventKind::ParallelStateSucceeded { name }
        | EventKind::MapStateStarted { name, .. }
        | EventKind::MapStateSucceeded { name }
        | EventKind::MapRunStarted { name, .. }
        | EventKind::CompensationRegistered { name, .. } => put("state", json!(name)),
        EventKind::EvaluationFailed { name, error, .. }
        | EventKind::ParallelStateFailed { name, error, .. }
        | EventKind::MapStateFailed { name, error, .. }
        | EventKind::MapRunFailed { name, error, .. }
        | EventKind::CompensationFailed { name, error, .. } => {
            put("state", json!(name));
            put("error", json!(error));
        }
        EventKind::MapIterationStarted { name, index }
        | EventKind::MapIterationSucceeded { name, index }
        | EventKind::MapIterationAborted { name, index } => {
            put("state", json!(name));
            put("item", json!(index));
        }
        EventKind::MapIterationFailed {
            name, index, error, ..
        } => {
            put("state", json!(name));
            put("item", json!(index));
            put("error", json!(error));
        }
        EventKind::MapRunSucceeded { name, failed } => {
            put("state", json!(name));
            put("failed", json!(failed));
        }
        EventKind::TaskSubmitted {
            task,
            attempt,
            name,
            ..
        } => {
            put("state", json!(name));
            put("task", json!([task, attempt]));
        }
        EventKind::TaskKept { name, outcome, .. } => {
            put("state", json!(name));
            put("outcome", json!(outcome));
        }
        EventKind::CompensationStarted { count, error } => {
            put("count", json!(count));
            put("error", json!(error));
        }
        EventKind::CompensationFinished { failed } => put("failed", json!(failed)),
        EventKind::IncidentRaised {
            task,
            attempt,
            turn,
            name,
            code,
            ..
        } => {
            put("state", json!(name));
            put("task", json!([task, attempt, turn]));
            put("code", json!(code));
        }
        EventKind::IncidentResolved { task, action, by } => {
            put("task", json!(task));
            put("action", json!(action));
            put("by", json!(by));
        }
        EventKind::WorkflowMigrated { from, to } => {
            put("from", json!(from));
            put("to", json!(to));
        }
        EventKind::TaskScheduled {
            task,
            attempt,
            name,
            resource,
            ..
        } => {
            put("state", json!(name));
            put("resource", json!(resource));
            put("task", json!([task, attempt, 1]));
        }
        EventKind::TaskStarted { task, attempt, .. } => put("task", json!([task, attempt])),
        EventKind::TaskSucceeded {
            task,
            attempt,
            turn,
            name,
            outcome,
            duration_ms,
            ..
        } => {
            put("state", json!(name));
            put("task", json!([task, attempt, turn]));
            put("outcome", json!(outcome));
            put("durationMs", json!(duration_ms));
        }
        EventKind::TaskFailed {
            task,
            attempt,
            turn,
            name,
            error,
            duration_ms,
            ..
        } => {
            put("state", json!(name));
            put("task", json!([task, attempt, turn]));
            put("error", json!(error));
            put("durationMs", json!(duration_ms));
        }
        EventKind::TaskTimedOut {
            task,
            attempt,
            turn,
            name,
            error,
            duration_ms,
            ..
        } => {
            put("state", json!(name));
            put("task", json!([task, attempt, turn]));
            put("error", json!(error));
            put("durationMs", json!(duration_ms));
        }
        EventKind::TurnScheduled {
            task,
            attempt,
            turn,
            reason,
        } => {
            put("task", json!([task, attempt, turn]));
            put("reason", json!(reason));
        }
        EventKind::TaskCheckpointed {
            task,
            attempt,
            turn,
            ..
        } => put("task", json!([task, attempt, turn])),
        EventKind::PromptOpened {
            prompt,
            name,
            audience,
            kind,
            ..
        } => {
            put("state", json!(name));
            put("prompt", json!(prompt));
            put("audience", json!(audience));
            put("kind", json!(kind));
        }
        EventKind::PromptExtended { prompt, .. } => put("prompt", json!(prompt)),
        EventKind::PromptAnswered {
            prompt, submitter, ..
        } => {
            put("prompt", json!(prompt));
            put("by", json!(submitter.kind));
            // Applicants have no id but their workflow; staff answer by the name of their token.
            if submitter.kind != "applicant" {
                put("submitter", json!(submitter.id));
            }
        }
        EventKind::PromptClosed { prompt, reason, .. } => {
            put("prompt", json!(prompt));
            put("reason", json!(reason));
        }
        EventKind::EvidenceGained { evidence, name }
        | EventKind::EvidenceRetracted { evidence, name } => {
            put("state", json!(name));
            put("evidence", json!(evidence));
        }
        EventKind::ExecutionSucceeded { decision, .. } => put("decision", json!(decision)),
        EventKind::ExecutionFailed { error, .. } => put("error", json!(error)),
        EventKind::ExecutionStarted { origin, .. } => {
            for (key, value) in came_from(origin) {
                put(key, value);
            }
        }
        EventKind::ExecutionContinued { next, version } => {
            put("next", json!(next));
            put("version", json!(version));
        }
        EventKind::ExecutionAborted { .. } | EventKind::ExecutionTimedOut {} => {}
    }
    Value::Object(shown)
}

/// Who has started a workflow, where that was no caller: ids only.
fn came_from(origin: &Origin) -> Vec<(&'static str, Value)> {
    let mut shown = Vec::new();
    if let Some(parent) = &origin.parent {
        shown.push(("parent", json!(parent.workflow)));
    }
    if let Some(earlier) = &origin.continued_from {
        shown.push(("continuedFrom", json!(earlier)));
    }
    if let Some(schedule) = &origin.schedule {
        shown.push(("schedule", json!(schedule)));
    }
    shown
}

/// What analytics counts of an event: kind and data.
fn counted(workflow: &Workflow, event: &Event) -> Option<(&'static str, Value)> {
    let mut data = json!({
        "definition": workflow.columns.definition,
        "version": workflow.columns.version,
    });
    let mut put = |key: &str, value: Value| data[key] = value;
    let lasted_ms = event.at_ms - workflow.columns.started_ms;
    let kind = match &event.kind {
        EventKind::ExecutionStarted { origin, .. } => {
            for (key, value) in came_from(origin) {
                put(key, value);
            }
            "com.btrust.workflow.started"
        }
        EventKind::TaskScheduled {
            attempt,
            name,
            resource,
            ..
        } => {
            put("state", json!(name));
            put("resource", json!(resource));
            put("attempt", json!(attempt));
            "com.btrust.step.started"
        }
        EventKind::TaskSucceeded {
            attempt,
            turn,
            name,
            resource,
            outcome,
            duration_ms,
            ..
        } => {
            put("state", json!(name));
            put("resource", json!(resource));
            put("outcome", json!(outcome));
            put("attempt", json!(attempt));
            put("turn", json!(turn));
            put("durationMs", json!(duration_ms));
            "com.btrust.step.finished"
        }
        EventKind::TaskFailed {
            attempt,
            turn,
            name,
            resource,
            error,
            duration_ms,
            ..
        } => {
            put("state", json!(name));
            put("resource", json!(resource));
            put("error", json!(error));
            put("attempt", json!(attempt));
            put("turn", json!(turn));
            put("durationMs", json!(duration_ms));
            "com.btrust.step.finished"
        }
        EventKind::TaskTimedOut {
            attempt,
            turn,
            name,
            resource,
            error,
            duration_ms,
            ..
        } => {
            put("state", json!(name));
            put("resource", json!(resource));
            put("error", json!(error));
            put("attempt", json!(attempt));
            put("turn", json!(turn));
            put("durationMs", json!(duration_ms));
            "com.btrust.step.finished"
        }
        EventKind::ExecutionSucceeded { decision, .. } => {
            put("status", json!("succeeded"));
            put("decision", json!(decision));
            put("durationMs", json!(lasted_ms));
            "com.btrust.workflow.closed"
        }
        EventKind::ExecutionFailed { error, .. } => {
            put("status", json!("failed"));
            put("error", json!(error));
            put("durationMs", json!(lasted_ms));
            "com.btrust.workflow.closed"
        }
        EventKind::ExecutionAborted { .. } => {
            put("status", json!("cancelled"));
            put("durationMs", json!(lasted_ms));
            "com.btrust.workflow.closed"
        }
        EventKind::ExecutionContinued { next, .. } => {
            put("status", json!("continued"));
            put("next", json!(next));
            put("durationMs", json!(lasted_ms));
            "com.btrust.workflow.closed"
        }
        EventKind::ExecutionTimedOut {} => {
            put("status", json!("timed_out"));
            put("durationMs", json!(lasted_ms));
            "com.btrust.workflow.closed"
        }
        _ => return None,
    };
    Some((kind, data))
}
