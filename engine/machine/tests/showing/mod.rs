//! Events and messages as the golden histories write them, in one line each.

use btrust_machine::{Event, EventKind, Message, Owed};
use serde_json::json;

/// An event in one line: its type and what tells it from others of the type.
#[expect(
    clippy::too_many_lines,
    reason = "a table: one arm for each kind of event"
)]
pub fn show_event(event: &Event) -> String {
    let detail = match &event.kind {
        EventKind::ExecutionStarted { .. } | EventKind::ExecutionTimedOut {} => String::new(),
        EventKind::StateEntered { name, .. } | EventKind::StateExited { name, .. } => name.clone(),
        EventKind::TaskScheduled {
            task,
            attempt,
            name,
            ..
        } => format!("{task}.{attempt} {name}"),
        EventKind::TaskStarted { task, attempt, .. } => format!("{task}.{attempt}"),
        EventKind::TaskSucceeded {
            task,
            attempt,
            turn,
            outcome,
            ..
        } => {
            format!(
                "{task}.{attempt}.{turn} {}",
                outcome.as_deref().unwrap_or("-")
            )
        }
        EventKind::TaskFailed {
            task,
            attempt,
            turn,
            error,
            ..
        } => format!("{task}.{attempt}.{turn} {error}"),
        EventKind::TaskTimedOut {
            task,
            attempt,
            turn,
            ..
        }
        | EventKind::TaskCheckpointed {
            task,
            attempt,
            turn,
            ..
        } => format!("{task}.{attempt}.{turn}"),
        EventKind::EvaluationFailed { name, location, .. } => format!("{name} {location}"),
        EventKind::ParallelStateStarted { name }
        | EventKind::ParallelStateSucceeded { name }
        | EventKind::ParallelStateFailed { name, .. } => name.clone(),
        EventKind::ExecutionSucceeded { decision, .. } => decision.clone().unwrap_or_default(),
        EventKind::ExecutionFailed { error, .. } => error.clone(),
        EventKind::ExecutionAborted { reason, by }
        | EventKind::ExecutionTerminated { reason, by }
        | EventKind::WorkflowPaused { reason, by } => [reason, by]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" by "),
        EventKind::ExecutionRedriven { redrive, .. } => redrive.to_string(),
        EventKind::CancellationRequested { grace_seconds, .. } => grace_seconds.to_string(),
        EventKind::WorkflowRestarted { workflow, .. } => workflow.clone(),
        EventKind::WorkflowResumed { by } => by.clone().unwrap_or_default(),
        EventKind::SignalReceived { name, payload, .. } => format!("{name} {}", payload.to_value()),
        EventKind::TurnScheduled {
            task,
            attempt,
            turn,
            reason,
        } => format!("{task}.{attempt}.{turn} {reason}"),
        EventKind::PromptOpened {
            prompt,
            audience,
            kind,
            ..
        } => format!("{prompt} {audience} {kind}"),
        EventKind::PromptExtended { prompt, .. } => prompt.to_string(),
        EventKind::PromptAnswered {
            prompt, submitter, ..
        } => format!("{prompt} {}", submitter.kind),
        EventKind::PromptClosed { prompt, reason, .. } => {
            format!("{prompt} {}", json!(reason).as_str().unwrap_or_default())
        }
        EventKind::EvidenceGained { evidence, .. }
        | EventKind::EvidenceRetracted { evidence, .. } => evidence.clone(),
        EventKind::TaskSubmitted { task, attempt, .. } => format!("{task}.{attempt}"),
        EventKind::TaskKept { name, outcome, .. } => format!("{name} {outcome}"),
        EventKind::MapStateStarted { name, length } | EventKind::MapRunStarted { name, length } => {
            format!("{name} {length}")
        }
        EventKind::MapStateSucceeded { name } => name.clone(),
        EventKind::MapRunSucceeded { name, failed } => format!("{name} failed {failed}"),
        EventKind::MapIterationStarted { name, index }
        | EventKind::MapIterationSucceeded { name, index }
        | EventKind::MapIterationAborted { name, index } => format!("{name} {index}"),
        EventKind::MapIterationFailed {
            name, index, error, ..
        } => format!("{name} {index} {error}"),
        EventKind::MapStateFailed { name, error, .. }
        | EventKind::MapRunFailed { name, error, .. }
        | EventKind::CompensationFailed { name, error, .. } => format!("{name} {error}"),
        EventKind::CompensationRegistered { name, .. } => name.clone(),
        EventKind::CompensationStarted { count, error } => format!("{count} {error}"),
        EventKind::CompensationFinished { failed } => format!("failed {failed}"),
        EventKind::WorkflowMigrated { from, to } => format!("{from} {to}"),
        EventKind::IncidentRaised {
            task, turn, code, ..
        } => format!("{task}.{turn} {code}"),
        EventKind::IncidentResolved { task, action, .. } => format!("{task:?} {action}"),
        EventKind::ExecutionContinued { next, version } => format!("{} {version}", &next[..5]),
        EventKind::WorkflowAnnotated { annotation, .. } => annotation.as_str().to_owned(),
    };
    let shown = format!("{} {detail}", event.type_name());
    match &event.child {
        Some(child) => format!("{child}: {}", shown.trim_end()),
        None => shown.trim_end().to_owned(),
    }
}

pub fn show_owed(owed: &Owed) -> String {
    let to = if owed.to.starts_with("wf_next") {
        owed.to.as_str()
    } else {
        &owed.to[..5]
    };
    let what = match &owed.message {
        Message::Start {
            definition,
            version,
            input,
            origin,
        } => {
            let version = version.map_or("live".to_owned(), |it| it.to_string());
            format!(
                "start {definition} {version} {} depth {}",
                input.to_value(),
                origin.depth
            )
        }
        Message::Ended { task, attempt } => format!("ended {task}.{attempt}"),
        Message::Continued { task, attempt, .. } => format!("continued {task}.{attempt}"),
        Message::Close { terminate: false } => "close".to_owned(),
        Message::Close { terminate: true } => "terminate".to_owned(),
    };
    format!("{} to {to}: {what}", owed.number)
}
