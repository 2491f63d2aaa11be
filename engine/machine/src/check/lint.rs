//! The gate `lint`: what is allowed but cannot be meant.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp};

use super::graph::{Graph, is_end};
use super::{arguments, references};
use crate::catalogue::{CHILD_RESOURCE, Catalogue, Contract, SIGNAL};
use crate::definition::{Definition, Items, Kind, Machine, StateDef, TaskDef, Template};
use crate::expression::walk;
use crate::finding::{Finding, Gate, at};

pub(super) fn lint(definition: &Definition, catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = Vec::new();
    lint_level(definition, &definition.machine, &mut findings);
    lint_continuation(&definition.machine, &mut findings);
    lint_evidence(definition, &mut findings);
    for state in definition.machine.all() {
        if let Kind::Task(task) = &state.kind {
            lint_task(state, task, &mut findings);
            if task.resource == SIGNAL {
                arguments::check(state, task, &Contract::of_signal(), &mut findings);
            } else if let Some(contract) = catalogue.resolve(&task.resource) {
                arguments::check(state, task, contract, &mut findings);
            }
        }
    }
    references::check(definition, catalogue, &mut findings);
    findings
}

fn error(code: &'static str, pointer: &str, message: String, fix: &str) -> Finding {
    Finding::error(Gate::Lint, code, pointer, message, fix)
}

fn lint_level(definition: &Definition, machine: &Machine, findings: &mut Vec<Finding>) {
    let graph = Graph::of(machine);
    let Some(&start) = machine.by_name.get(&machine.start_at) else {
        return;
    };
    let reached: BTreeSet<usize> = graph.from(start).collect();
    for (index, state) in machine.states.iter().enumerate() {
        if !reached.contains(&index) {
            findings.push(error(
                "state_unreachable",
                &state.pointer,
                format!("nothing leads to `{}`", state.name),
                "lead to it, or remove it",
            ));
        } else if !graph.from(index).any(|it| is_end(machine, it)) {
            findings.push(error(
                "no_path_to_end",
                &state.pointer,
                format!("from `{}` the workflow never ends", state.name),
                "lead to a `Succeed` or a `Fail`, or write `\"End\": true`",
            ));
        }
        for inner in state.levels() {
            lint_level(definition, inner, findings);
        }
    }
    for states in graph.loops() {
        lint_loop(definition, machine, &states, findings);
    }
    for states in Graph::keeping(machine, |it| !pauses(it)).loops() {
        lint_busy_loop(machine, &states, findings);
    }
    // After a rework an earlier result may be kept, and then no time passes either.
    let may_be_kept = |it: &StateDef| matches!(&it.kind, Kind::Task(task) if !task.keep.is_empty());
    for states in Graph::keeping(machine, |it| !pauses(it) || may_be_kept(it)).loops() {
        let reworks = states.iter().any(|it| reworks(&machine.states[*it]));
        if reworks && states.iter().any(|it| may_be_kept(&machine.states[*it])) {
            lint_busy_loop(machine, &states, findings);
        }
    }
}

/// A run that goes on as another one without a pause would fill the store with runs.
fn lint_continuation(machine: &Machine, findings: &mut Vec<Finding>) {
    let Some(&start) = machine.by_name.get(&machine.start_at) else {
        return;
    };
    if pauses(&machine.states[start]) {
        return;
    }
    let graph = Graph::keeping(machine, |it| !pauses(it));
    for index in graph.from(start) {
        let state = &machine.states[index];
        if matches!(&state.kind, Kind::Succeed { again: Some(_), .. }) {
            findings.push(error(
                "continue_unpaused",
                &at(&state.pointer, "BTrust.ContinueAsNew"),
                format!("`{}` is reached without a step or a wait", state.name),
                "wait, or do a step, before the workflow goes on as another one",
            ));
        }
    }
}

/// A child proves nothing to its parent: its result has no outcome.
fn lint_evidence(definition: &Definition, findings: &mut Vec<Finding>) {
    for rule in &definition.evidence {
        let state = definition.state_anywhere(&rule.state).map(|it| &it.kind);
        if matches!(state, Some(Kind::Task(task)) if task.resource == CHILD_RESOURCE) {
            findings.push(error(
                "evidence_of_child",
                &at("/evidence", &rule.name),
                format!(
                    "`{}` is a workflow of its own, without an outcome",
                    rule.state
                ),
                "let the child decide, and do the steps that prove it in this workflow",
            ));
        }
    }
}

/// Whether some way out of a state goes back for a rework.
fn reworks(state: &StateDef) -> bool {
    let by_rule = match &state.kind {
        Kind::Choice(rules) => rules.iter().any(|it| it.rework),
        _ => false,
    };
    let mut catchers = state.handlers().into_iter().flat_map(|it| &it.catch);
    state.rework || by_rule || catchers.any(|it| it.rework)
}

/// Whether time passes in a state.
fn pauses(state: &StateDef) -> bool {
    match &state.kind {
        Kind::Task(_) | Kind::Wait(_) => true,
        Kind::Parallel { branches, race, .. } => {
            let mut pauses = branches.iter().map(always_pauses);
            if *race {
                pauses.all(|it| it)
            } else {
                pauses.any(|it| it)
            }
        }
        Kind::Map(map) => {
            let is_empty = |it: &serde_json::Value| it.as_array().is_some_and(Vec::is_empty);
            let has_none = match &map.items {
                Items::Template(Template::Literal(items)) => is_empty(items),
                _ => false,
            };
            map.reader.is_some()
                || map.writer.is_some()
                || (!has_none && always_pauses(&map.processor))
        }
        Kind::Choice(_) | Kind::Pass { .. } | Kind::Succeed { .. } | Kind::Fail { .. } => false,
    }
}

/// Whether no way through a level goes without a pause.
fn always_pauses(machine: &Machine) -> bool {
    let graph = Graph::keeping(machine, |it| !pauses(it));
    let Some(&start) = machine.by_name.get(&machine.start_at) else {
        return true;
    };
    pauses(&machine.states[start])
        || !graph
            .from(start)
            .any(|it| is_end(machine, it) && !pauses(&machine.states[it]))
}

/// A loop in which no time passes fills the history at once, unless it counts.
fn lint_busy_loop(machine: &Machine, states: &[usize], findings: &mut Vec<Finding>) {
    let states: Vec<&StateDef> = states.iter().map(|it| &machine.states[*it]).collect();
    let assigned: BTreeSet<&str> = states.iter().flat_map(|it| it.assigned()).collect();
    if !states.iter().any(|it| counts(it, &assigned)) {
        let message = format!(
            "{} go round without a pause and without a bound",
            names_of(&states)
        );
        findings.push(error(
            "loop_unbounded",
            &states[0].pointer,
            message,
            LOOP_FIX,
        ));
    }
}

fn names_of(states: &[&StateDef]) -> String {
    states
        .iter()
        .map(|it| it.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

const LOOP_FIX: &str = "count the rounds in a variable and compare it in a `Choice`";

/// A loop needs a counter, or time that passes and ends.
fn lint_loop(
    definition: &Definition,
    machine: &Machine,
    states: &[usize],
    findings: &mut Vec<Finding>,
) {
    let states: Vec<&StateDef> = states.iter().map(|it| &machine.states[*it]).collect();
    let assigned: BTreeSet<&str> = states.iter().flat_map(|it| it.assigned()).collect();
    if states.iter().any(|it| counts(it, &assigned)) {
        return;
    }
    if !states.iter().any(|it| pauses(it)) {
        return;
    }
    let (names, pointer) = (names_of(&states), &states[0].pointer);
    findings.push(if definition.timeout_seconds.is_none() {
        let message =
            format!("{names} go round without a bound, and the workflow has no `timeoutSeconds`");
        error("loop_unbounded", pointer, message, LOOP_FIX)
    } else {
        let message = format!("{names} go round until `timeoutSeconds` ends the workflow");
        Finding::warning(Gate::Lint, "loop_unbounded", pointer, message, LOOP_FIX)
    });
}

/// Whether a `Choice` compares the size of something that the loop assigns.
fn counts(state: &StateDef, assigned: &BTreeSet<&str>) -> bool {
    if !matches!(state.kind, Kind::Choice(_)) {
        return false;
    }
    let mut found = false;
    state.expressions(&mut |_, expression| {
        let reads = expression
            .variables()
            .iter()
            .any(|it| assigned.contains(it.as_str()));
        let mut compares = false;
        walk(expression.ast(), &mut |node| {
            compares |= matches!(
                node,
                AstNode::Binary {
                    op: BinaryOp::LessThan
                        | BinaryOp::LessThanOrEqual
                        | BinaryOp::GreaterThan
                        | BinaryOp::GreaterThanOrEqual,
                    ..
                }
            );
        });
        found |= reads && compares;
    });
    found
}

fn lint_task(state: &StateDef, task: &TaskDef, findings: &mut Vec<Finding>) {
    if task.timeout.is_none() {
        findings.push(error(
            "timeout_missing",
            &state.pointer,
            format!("`{}` may wait for ever", state.name),
            "add `TimeoutSeconds`; it covers an attempt with the time it is parked",
        ));
    }
    let n_outcomes = task.outcomes.as_ref().map_or(0, Vec::len);
    let mut reads_result = state.output.is_none();
    state.expressions(&mut |pointer, expression| {
        let own = !pointer.starts_with(&at(&state.pointer, "Catch"));
        reads_result |= own && expression.reads_states("result");
    });
    if 1 < n_outcomes && !reads_result {
        findings.push(Finding::warning(
            Gate::Lint,
            "outcome_ignored",
            &state.pointer,
            format!("nothing looks at how `{}` ends", state.name),
            "assign `$states.result.outcome` to a variable and choose by it",
        ));
    }
}
