//! Checks what our extensions ask for.

use super::super::reader::Reader;
use super::super::states::{Kind, Machine, Next, StateDef, TaskDef};
use super::{COMPENSATION, KEEP, REWORK};
use crate::finding::at;

pub(super) fn check(reader: &mut Reader, machine: &Machine, is_in_map: bool) {
    for state in &machine.states {
        if state.rework && !matches!(state.next, Next::State(_)) {
            reader.error(
                "rework_without_next",
                &at(&state.pointer, REWORK),
                "a rework goes back to a state, and this one leads nowhere",
                "write `Next`, or remove it",
            );
        }
        if let Kind::Task(task) = &state.kind {
            check_keep(reader, state, task, is_in_map);
            check_compensation(reader, state, task);
        }
        let is_map = matches!(state.kind, Kind::Map(_));
        for level in state.levels() {
            check(reader, level, is_in_map || is_map);
        }
    }
}

fn check_keep(reader: &mut Reader, state: &StateDef, task: &TaskDef, is_in_map: bool) {
    let pointer = at(&state.pointer, KEEP);
    if is_in_map && !task.keep.is_empty() {
        reader.error(
            "keep_in_map",
            &pointer,
            "inside a `Map` a state has many results, and none of them is kept",
            "remove it",
        );
    }
    let Some(known) = &task.outcomes else {
        return;
    };
    for (index, word) in task.keep.iter().enumerate() {
        if !known.contains(word) {
            reader.error(
                "outcome_unknown",
                &format!("{pointer}/{index}"),
                format!("`{}` never ends with `{word}`", task.resource),
                format!("its outcomes are {}", known.join(", ")),
            );
        }
    }
}

/// Nothing may wait for ever before a workflow can end.
fn check_compensation(reader: &mut Reader, state: &StateDef, task: &TaskDef) {
    let is_unbounded = task
        .compensation
        .as_ref()
        .is_some_and(|it| it.timeout_seconds.is_none());
    if is_unbounded {
        reader.error(
            "missing_field",
            &at(&state.pointer, COMPENSATION),
            "`TimeoutSeconds` is missing: a workflow ends only when everything is undone",
            "add `TimeoutSeconds`",
        );
    }
}
