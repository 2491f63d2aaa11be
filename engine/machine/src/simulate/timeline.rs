//! A history as text for people.

use std::collections::HashMap;
use std::fmt::Write;

use super::Simulation;
use super::expect::status_word;
use crate::definition::{Definition, Machine};
use crate::event::{Event, EventKind};

/// Formats a history, one line a happening: time since the start, state, and what became of it.
///
/// States of a branch are indented below the state that has started the branch.
#[must_use]
pub fn timeline(definition: &Definition, simulation: &Simulation) -> String {
    let mut depths = HashMap::new();
    measure(&definition.machine, 0, &mut depths);
    let mut text = String::new();
    let mut names: HashMap<u32, &str> = HashMap::new();
    let start_ms = simulation.state.started_ms();
    let mut shown_ms = None;
    let mut shown_name = None;
    for event in &simulation.events {
        let name = state_of(&event.kind, &mut names);
        let Some(line) = line(event) else { continue };
        let depth = name.and_then(|it| depths.get(it)).map_or(0, |it| it + 1);
        let is_entry = matches!(event.kind, EventKind::StateEntered { .. });
        // What happens in another branch than the line before says where.
        let (is_deeper, line) = match name {
            Some(name) if !is_entry && shown_name != Some(name) => {
                (false, format!("{name} {line}"))
            }
            _ => (!is_entry && name.is_some(), line),
        };
        shown_name = name.or(shown_name);
        let indent = 2 * (depth + usize::from(is_deeper));
        // A time is written once for all that happens at it.
        let at = if shown_ms == Some(event.at_ms) {
            String::new()
        } else {
            format!("+{}", span(event.at_ms - start_ms))
        };
        shown_ms = Some(event.at_ms);
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{at:>14}  {:indent$}{line}", "");
    }
    let state = &simulation.state;
    let _ = write!(
        text,
        "{:>14}  {}",
        format!(
            "+{}",
            span(state.closed_ms().unwrap_or(start_ms) - start_ms)
        ),
        status_word(state.status())
    );
    if let Some(decision) = state.decision() {
        let _ = write!(text, ", decision {decision}");
    }
    if let Some(error) = state.error() {
        let _ = write!(text, ", {}", with_cause(error, state.cause().unwrap_or("")));
    }
    text.push('\n');
    if let Some(output) = state.output() {
        let _ = writeln!(text, "{:>14}  output {}", "", **output);
    }
    if !state.evidence().is_empty() {
        let _ = writeln!(text, "{:>14}  evidence {}", "", state.evidence().join(", "));
    }
    text
}

/// How deep each state lies in branches.
fn measure<'a>(machine: &'a Machine, depth: usize, depths: &mut HashMap<&'a str, usize>) {
    for state in &machine.states {
        depths.insert(&state.name, depth);
        for inner in state.levels() {
            measure(inner, depth + 1, depths);
        }
    }
}

/// The state that an event belongs to.
fn state_of<'a>(kind: &'a EventKind, names: &mut HashMap<u32, &'a str>) -> Option<&'a str> {
    match kind {
        EventKind::TaskScheduled { task, name, .. } => {
            names.insert(*task, name);
            Some(name)
        }
        EventKind::StateEntered { name, .. }
        | EventKind::StateExited { name, .. }
        | EventKind::TaskSucceeded { name, .. }
        | EventKind::TaskFailed { name, .. }
        | EventKind::TaskTimedOut { name, .. }
        | EventKind::EvaluationFailed { name, .. }
        | EventKind::ParallelStateStarted { name }
        | EventKind::ParallelStateSucceeded { name }
        | EventKind::ParallelStateFailed { name, .. }
        | EventKind::TaskKept { name, .. }
        | EventKind::TaskSubmitted { name, .. }
        | EventKind::MapStateStarted { name, .. }
        | EventKind::MapStateFailed { name, .. }
        | EventKind::MapIterationStarted { name, .. }
        | EventKind::MapIterationFailed { name, .. }
        | EventKind::MapIterationAborted { name, .. }
        | EventKind::MapRunFailed { name, .. }
        | EventKind::CompensationRegistered { name, .. }
        | EventKind::CompensationFailed { name, .. }
        | EventKind::EvidenceGained { name, .. }
        | EventKind::EvidenceRetracted { name, .. }
        | EventKind::PromptOpened { name, .. } => Some(name),
        EventKind::TurnScheduled { task, .. }
        | EventKind::PromptAnswered { task, .. }
        | EventKind::PromptClosed { task, .. } => names.get(task).copied(),
        _ => None,
    }
}

/// What a line says about an event; nothing where another line says it all.
fn line(event: &Event) -> Option<String> {
    let line = match &event.kind {
        EventKind::ExecutionStarted { definition, .. } => format!("{definition} started"),
        EventKind::StateEntered {
            name, state_type, ..
        } => format!("{name} ({state_type:?})"),
        EventKind::TaskScheduled {
            attempt: 1,
            resource,
            ..
        } => resource.clone(),
        EventKind::TaskScheduled { attempt, .. } => format!("attempt {attempt}"),
        EventKind::TaskSucceeded {
            outcome: Some(outcome),
            ..
        } => format!("= {outcome}"),
        EventKind::TaskSucceeded { output, .. } => format!("= {}", shortened(&output.to_string())),
        EventKind::TaskKept { outcome, .. } => format!("= {outcome} (kept)"),
        EventKind::TaskFailed { error, cause, .. } => format!("! {}", with_cause(error, cause)),
        EventKind::TaskTimedOut {
            error, duration_ms, ..
        } => format!("! {error} after {}", span(*duration_ms)),
        EventKind::EvaluationFailed {
            location,
            error,
            cause,
            ..
        } => format!("! {} (in {location})", with_cause(error, cause)),
        EventKind::ParallelStateFailed { error, cause, .. } => {
            format!("! {}", with_cause(error, cause))
        }
        EventKind::MapStateStarted { length, .. } => format!("{length} items"),
        EventKind::MapIterationStarted { index, .. } => format!("item {index}"),
        EventKind::MapStateFailed { error, cause, .. }
        | EventKind::MapRunFailed { error, cause, .. }
        | EventKind::MapIterationFailed { error, cause, .. }
        | EventKind::CompensationFailed { error, cause, .. } => {
            format!("! {}", with_cause(error, cause))
        }
        EventKind::EvidenceGained { evidence, .. } => format!("+ evidence {evidence}"),
        EventKind::EvidenceRetracted { evidence, .. } => format!("- evidence {evidence}"),
        EventKind::StateExited { .. }
        | EventKind::TaskStarted { .. }
        | EventKind::ParallelStateStarted { .. }
        | EventKind::ParallelStateSucceeded { .. }
        | EventKind::MapStateSucceeded { .. }
        | EventKind::MapIterationSucceeded { .. }
        | EventKind::MapRunStarted { .. }
        | EventKind::MapRunSucceeded { .. }
        // The last line says how it ended.
        | EventKind::ExecutionSucceeded { .. }
        | EventKind::ExecutionFailed { .. }
        | EventKind::ExecutionTimedOut {}
        | EventKind::ExecutionContinued { .. }
        | EventKind::ExecutionAborted { .. } => return None,
        _ => event.type_name(),
    };
    Some(line)
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn with_cause(error: &str, cause: &str) -> String {
    if cause.is_empty() {
        error.to_owned()
    } else {
        format!("{error}: {cause}")
    }
}

/// A span of time in its largest units: `7d`, `2h 5m`, `1.500s`.
#[must_use]
pub fn span(ms: i64) -> String {
    const UNITS: [(&str, i64); 3] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000)];
    let mut rest = ms.max(0);
    let mut parts = Vec::new();
    for (unit, size_ms) in UNITS {
        if size_ms <= rest {
            parts.push(format!("{}{unit}", rest / size_ms));
            rest %= size_ms;
        }
    }
    match (rest, parts.is_empty()) {
        (0, false) => {}
        (_, _) if rest % 1000 == 0 => parts.push(format!("{}s", rest / 1000)),
        _ => parts.push(format!("{}.{:03}s", rest / 1000, rest % 1000)),
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_written_in_its_largest_units() {
        for (ms, expected) in [
            (0, "0s"),
            (1_500, "1.500s"),
            (60_000, "1m"),
            (7_500_000, "2h 5m"),
            (604_800_000, "7d"),
            (86_401_000, "1d 1s"),
        ] {
            assert_eq!(span(ms), expected);
        }
    }
}
