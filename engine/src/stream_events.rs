//! The public side of a commit: what the two streams are told, without personal data.
//!
//! Each commit of a workflow makes one audit record and an analytics record for everything that
//! analytics counts. They are serialised here, once, and stored beside the sealed events; the relay
//! publishes these very bytes.
//!
//! An audit record ends with its own hash: `..,"hash":"<64 hex digits>"}}`. The hash is SHA-256 of the
//! record's bytes before `,"hash"`, which name the hash of the record before and the digest of the
//! sealed events; so the chain holds without opening anything, and after a key has been destroyed.
//!
//! The bytes are those of [`CloudEvent`](btrust_schemas::events::CloudEvent), written member by member:
//! this is done for every step of every workflow, and a tree of values for each record costs several
//! times what its text does.

mod json;

use sha2::{Digest, Sha256};

use btrust_machine::{Definition, Event, EventKind, Origin};
use btrust_platform::clock::rfc3339;
use btrust_schemas::events::Basis;
use btrust_schemas::ids::WorkflowId;

use crate::workflow::Workflow;
pub use json::Object;

/// The prefix of a line in the outbox that belongs to the audit stream.
pub const AUDIT_PREFIX: &str = "A ";
/// The prefix of a line in the outbox that belongs to the analytics stream.
pub const ANALYTICS_PREFIX: &str = "N ";
/// Room for the lines of an ordinary commit, in bytes.
const LINES_BYTES: usize = 3 * 1024;

/// Serialises what the streams are told of `events`, and moves the workflow's chain and counters on.
///
/// One record a line, each after the prefix of its stream.
pub fn publish(
    workflow: &mut Workflow,
    events: &[Event],
    sealed: &[u8],
    incarnation: i64,
) -> String {
    let mut lines = Vec::with_capacity(LINES_BYTES);
    lines.extend_from_slice(AUDIT_PREFIX.as_bytes());
    workflow.n_audit += 1;
    let at_ms = events.last().map_or(0, |it| it.at_ms);
    let mut time = (at_ms, rfc3339(at_ms));
    workflow.chain = audit(&mut lines, workflow, events, sealed, incarnation, &time.1);
    lines.push(b'\n');
    for event in events {
        let Some(kind) = counted(event) else { continue };
        lines.extend_from_slice(ANALYTICS_PREFIX.as_bytes());
        workflow.n_analytics += 1;
        if time.0 != event.at_ms {
            time = (event.at_ms, rfc3339(event.at_ms));
        }
        let envelope = Envelope {
            stream: "analytics",
            kind: kind.0,
            schema: kind.1,
            number: workflow.n_analytics,
            incarnation,
            time: &time.1,
        };
        let mut record = Object::begin(&mut lines);
        envelope.write(&mut record, workflow.id, &workflow.columns.tenant);
        record.object("data", |data| count(data, workflow, event));
        record.end();
        lines.push(b'\n');
    }
    String::from_utf8(lines).expect("JSON is UTF-8")
}

/// Writes the audit record of a commit and returns its hash.
fn audit(
    lines: &mut Vec<u8>,
    workflow: &Workflow,
    events: &[Event],
    sealed: &[u8],
    incarnation: i64,
    time: &str,
) -> String {
    let begin = lines.len();
    let envelope = Envelope {
        stream: "audit",
        kind: "com.btrust.workflow.changed",
        schema: "urn:btrust:event:workflow.changed:1",
        number: workflow.n_audit,
        incarnation,
        time,
    };
    let mut record = Object::begin(lines);
    envelope.write(&mut record, workflow.id, &workflow.columns.tenant);
    let mut hash = String::new();
    record.object("data", |data| {
        data.put("definition", &workflow.columns.definition);
        data.put("version", workflow.columns.version);
        data.put("firstEvent", events.first().map(|it| it.id));
        data.put("lastEvent", events.last().map(|it| it.id));
        let definition = &workflow.definition;
        data.objects("events", events, |it, event| summary(it, definition, event));
        data.put("sealedSha256", hex::encode(Sha256::digest(sealed)));
        data.put("previousHash", &workflow.chain);
        hash = hex::encode(Sha256::digest(&data.text()[begin..]));
        data.put("hash", &hash);
    });
    record.end();
    hash
}

/// The members of a CloudEvent before its data.
pub struct Envelope<'e> {
    pub stream: &'static str,
    pub kind: &'static str,
    /// `dataschema`.
    pub schema: &'static str,
    pub number: i64,
    pub incarnation: i64,
    pub time: &'e str,
}

impl Envelope<'_> {
    /// Writes them for a subject of a tenant.
    pub fn write(&self, record: &mut Object<'_>, subject: WorkflowId, tenant: &str) {
        let Self {
            stream,
            kind,
            schema,
            number,
            incarnation,
            time,
        } = self;
        record.put("specversion", "1.0");
        record.put(
            "id",
            format_args!("{subject}.{incarnation}.{number}.{stream}"),
        );
        record.put("source", format_args!("/tenants/{tenant}"));
        record.put("type", kind);
        record.put("subject", subject);
        record.put("time", time);
        record.put("dataschema", schema);
        record.put("partitionkey", subject);
        record.put("sequence", format_args!("{number}"));
    }
}

/// What stands for the name of an error that is nobody's: a step, a bank's system or an expression may have put
/// anything into it.
const OTHER_ERROR: &str = "BTrust.OtherError";

/// The name of an error where it is the platform's, the language's or written in the definition.
fn error_name<'n>(definition: &Definition, name: &'n str) -> &'n str {
    if definition.names_error(name) {
        name
    } else {
        OTHER_ERROR
    }
}

/// An event as codes, ids and durations: nothing that a person said or is.
#[expect(
    clippy::too_many_lines,
    reason = "a table: one arm for each kind of event"
)]
fn summary(it: &mut Object<'_>, definition: &Definition, event: &Event) {
    it.put("id", event.id);
    it.put("type", event.type_name());
    match &event.kind {
        EventKind::StateEntered { name, .. }
        | EventKind::StateExited { name, .. }
        | EventKind::ParallelStateStarted { name }
        | EventKind::ParallelStateSucceeded { name }
        | EventKind::MapStateStarted { name, .. }
        | EventKind::MapStateSucceeded { name }
        | EventKind::MapRunStarted { name, .. }
        | EventKind::CompensationRegistered { name, .. } => it.put("state", name),
        EventKind::EvaluationFailed { name, error, .. }
        | EventKind::ParallelStateFailed { name, error, .. }
        | EventKind::MapStateFailed { name, error, .. }
        | EventKind::MapRunFailed { name, error, .. }
        | EventKind::CompensationFailed { name, error, .. } => {
            it.put("state", name);
            it.put("error", error_name(definition, error));
        }
        EventKind::MapIterationStarted { name, index }
        | EventKind::MapIterationSucceeded { name, index }
        | EventKind::MapIterationAborted { name, index } => {
            it.put("state", name);
            it.put("item", index);
        }
        EventKind::MapIterationFailed {
            name, index, error, ..
        } => {
            it.put("state", name);
            it.put("item", index);
            it.put("error", error_name(definition, error));
        }
        EventKind::MapRunSucceeded { name, failed } => {
            it.put("state", name);
            it.put("failed", failed);
        }
        EventKind::TaskSubmitted {
            task,
            attempt,
            name,
            ..
        } => {
            it.put("state", name);
            it.put("task", [*task, *attempt]);
        }
        EventKind::TaskKept { name, outcome, .. } => {
            it.put("state", name);
            it.put("outcome", outcome);
        }
        EventKind::CompensationStarted { count, error } => {
            it.put("count", count);
            it.put("error", error_name(definition, error));
        }
        EventKind::CompensationFinished { failed } => it.put("failed", failed),
        EventKind::IncidentRaised {
            task,
            attempt,
            turn,
            name,
            code,
            ..
        } => {
            it.put("state", name);
            it.put("task", [*task, *attempt, *turn]);
            it.put("code", code);
        }
        EventKind::IncidentResolved { task, action, by } => {
            it.put("task", task);
            it.put("action", action);
            it.put("by", by);
        }
        EventKind::WorkflowMigrated { from, to } => {
            it.put("from", from);
            it.put("to", to);
        }
        EventKind::WorkflowAnnotated { annotation, by } => {
            it.put("annotation", annotation);
            it.put("by", by);
        }
        EventKind::TaskScheduled {
            task,
            attempt,
            name,
            resource,
            ..
        } => {
            it.put("state", name);
            it.put("resource", resource);
            it.put("task", [*task, *attempt, 1]);
        }
        EventKind::TaskStarted { task, attempt, .. } => it.put("task", [*task, *attempt]),
        EventKind::TaskSucceeded {
            task,
            attempt,
            turn,
            name,
            outcome,
            output,
            duration_ms,
            ..
        } => {
            it.put("state", name);
            it.put("task", [*task, *attempt, *turn]);
            it.put("outcome", outcome);
            it.put("durationMs", duration_ms);
            if let Some(basis) = Basis::of_output(output) {
                it.put("basis", basis);
            }
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
            it.put("state", name);
            it.put("task", [*task, *attempt, *turn]);
            it.put("error", error_name(definition, error));
            it.put("durationMs", duration_ms);
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
            it.put("state", name);
            it.put("task", [*task, *attempt, *turn]);
            it.put("error", error_name(definition, error));
            it.put("durationMs", duration_ms);
        }
        EventKind::TurnScheduled {
            task,
            attempt,
            turn,
            reason,
        } => {
            it.put("task", [*task, *attempt, *turn]);
            it.put("reason", reason);
        }
        EventKind::TaskCheckpointed {
            task,
            attempt,
            turn,
            ..
        } => it.put("task", [*task, *attempt, *turn]),
        EventKind::PromptOpened {
            prompt,
            name,
            audience,
            kind,
            ..
        } => {
            it.put("state", name);
            it.put("prompt", prompt);
            it.put("audience", audience);
            it.put("kind", kind);
        }
        EventKind::PromptExtended { prompt, .. } => it.put("prompt", prompt),
        EventKind::PromptAnswered {
            prompt, submitter, ..
        } => {
            it.put("prompt", prompt);
            it.put("by", &submitter.kind);
            // Applicants have no id but their workflow; staff answer by the name of their token.
            if submitter.kind != "applicant" {
                it.put("submitter", &submitter.id);
            }
        }
        EventKind::PromptClosed { prompt, reason, .. } => {
            it.put("prompt", prompt);
            it.put("reason", reason);
        }
        EventKind::EvidenceGained { evidence, name }
        | EventKind::EvidenceRetracted { evidence, name } => {
            it.put("state", name);
            it.put("evidence", evidence);
        }
        EventKind::ExecutionSucceeded { decision, .. } => it.put("decision", decision),
        EventKind::ExecutionFailed { error, .. } => {
            it.put("error", error_name(definition, error));
        }
        EventKind::ExecutionStarted { origin, .. } => came_from(it, origin),
        EventKind::ExecutionContinued { next, version } => {
            it.put("next", next);
            it.put("version", version);
        }
        // The reasons of operators are free text, which no stream carries.
        EventKind::ExecutionAborted { by, .. }
        | EventKind::ExecutionTerminated { by, .. }
        | EventKind::WorkflowPaused { by, .. }
        | EventKind::WorkflowResumed { by } => it.put("by", by),
        EventKind::CancellationRequested {
            grace_seconds, by, ..
        } => {
            it.put("graceSeconds", grace_seconds);
            it.put("by", by);
        }
        EventKind::ExecutionRedriven { redrive, by, .. } => {
            it.put("redrive", redrive);
            it.put("by", by);
        }
        EventKind::WorkflowRestarted { workflow, by } => {
            it.put("as", workflow);
            it.put("by", by);
        }
        // What a signal is called comes from outside, as its payload does.
        EventKind::SignalReceived { by, .. } => it.put("by", by),
        EventKind::ExecutionTimedOut {} => {}
    }
}

/// Who has started a workflow, where that was no caller: ids only.
fn came_from(it: &mut Object<'_>, origin: &Origin) {
    if let Some(parent) = &origin.parent {
        it.put("parent", &parent.workflow);
    }
    if let Some(earlier) = &origin.continued_from {
        it.put("continuedFrom", earlier);
    }
    if let Some(schedule) = &origin.schedule {
        it.put("schedule", schedule);
    }
}

/// The type and the schema of an analytics record.
macro_rules! analytics {
    ($word:literal) => {
        (
            concat!("com.btrust.", $word),
            concat!("urn:btrust:event:", $word, ":1"),
        )
    };
}

/// What analytics counts of an event, if it counts it.
fn counted(event: &Event) -> Option<(&'static str, &'static str)> {
    match &event.kind {
        EventKind::ExecutionStarted { .. } => Some(analytics!("workflow.started")),
        EventKind::TaskScheduled { .. } => Some(analytics!("step.started")),
        EventKind::TaskSucceeded { .. }
        | EventKind::TaskFailed { .. }
        | EventKind::TaskTimedOut { .. } => Some(analytics!("step.finished")),
        EventKind::ExecutionSucceeded { .. }
        | EventKind::ExecutionFailed { .. }
        | EventKind::ExecutionAborted { .. }
        | EventKind::ExecutionContinued { .. }
        | EventKind::ExecutionTerminated { .. }
        | EventKind::ExecutionTimedOut {} => Some(analytics!("workflow.closed")),
        EventKind::ExecutionRedriven { .. } => Some(analytics!("workflow.redriven")),
        _ => None,
    }
}

/// What analytics is told of an event that it counts.
fn count(it: &mut Object<'_>, workflow: &Workflow, event: &Event) {
    it.put("definition", &workflow.columns.definition);
    it.put("version", workflow.columns.version);
    it.put("language", language(&workflow.columns.locale));
    if let Some(device) = workflow.state.device() {
        it.put("device", device);
    }
    let lasted_ms = event.at_ms - workflow.columns.started_ms;
    match &event.kind {
        EventKind::ExecutionStarted { origin, .. } => came_from(it, origin),
        EventKind::TaskScheduled {
            attempt,
            name,
            resource,
            ..
        } => {
            it.put("state", name);
            it.put("resource", resource);
            it.put("attempt", attempt);
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
            it.put("state", name);
            it.put("resource", resource);
            it.put("outcome", outcome);
            it.put("attempt", attempt);
            it.put("turn", turn);
            it.put("durationMs", duration_ms);
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
            it.put("state", name);
            it.put("resource", resource);
            it.put("error", error_name(&workflow.definition, error));
            it.put("attempt", attempt);
            it.put("turn", turn);
            it.put("durationMs", duration_ms);
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
            it.put("state", name);
            it.put("resource", resource);
            it.put("error", error_name(&workflow.definition, error));
            it.put("attempt", attempt);
            it.put("turn", turn);
            it.put("durationMs", duration_ms);
        }
        EventKind::ExecutionSucceeded { decision, .. } => {
            it.put("status", "succeeded");
            it.put("decision", decision);
            it.put("durationMs", lasted_ms);
        }
        EventKind::ExecutionFailed { error, .. } => {
            it.put("status", "failed");
            it.put("error", error_name(&workflow.definition, error));
            it.put("durationMs", lasted_ms);
        }
        EventKind::ExecutionAborted { .. } => {
            it.put("status", "cancelled");
            it.put("durationMs", lasted_ms);
        }
        EventKind::ExecutionContinued { next, .. } => {
            it.put("status", "continued");
            it.put("next", next);
            it.put("durationMs", lasted_ms);
        }
        EventKind::ExecutionTerminated { .. } => {
            it.put("status", "terminated");
            it.put("durationMs", lasted_ms);
        }
        EventKind::ExecutionRedriven { redrive, .. } => it.put("redrive", redrive),
        EventKind::ExecutionTimedOut {} => {
            it.put("status", "timed_out");
            it.put("durationMs", lasted_ms);
        }
        _ => {}
    }
}

/// The ISO 639 code that a locale begins with; a bank may have put anything into one.
fn language(locale: &str) -> &str {
    let code = locale.split(['-', '_']).next().unwrap_or_default();
    let is_code = matches!(code.len(), 2 | 3) && code.bytes().all(|it| it.is_ascii_lowercase());
    if is_code { code } else { "other" }
}
