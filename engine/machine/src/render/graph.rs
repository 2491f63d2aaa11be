//! The graph of a definition: what is drawn, before anybody knows where.

use std::collections::{BTreeMap, HashMap};

use crate::definition::{
    Catcher, Condition, Kind, Machine, Next, Number, Seconds, StateDef, Template, Timestamp, Until,
};
use crate::event::StateType;

/// One level: the whole definition, or one branch.
#[derive(Debug)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

#[derive(Debug)]
pub struct Node {
    pub shape: Shape,
    pub name: String,
    /// Small print below the name.
    pub notes: Vec<String>,
    /// All of it, for those who point at the box.
    pub tooltip: String,
    pub inner: Vec<Graph>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Start,
    End,
    State(StateType),
}

/// One arrow; rules that lead from one state to the same other one share it.
#[derive(Debug)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub is_error: bool,
    /// What it takes to go here, one condition an entry.
    pub labels: Vec<String>,
}

/// Reads one level with all that is inside.
pub fn read(machine: &Machine) -> Graph {
    let mut graph = Graph {
        nodes: vec![mark(Shape::Start)],
        edges: Vec::new(),
    };
    let numbers: HashMap<&str, usize> = machine
        .states
        .iter()
        .enumerate()
        .map(|(index, it)| (it.name.as_str(), index + 1))
        .collect();
    graph.nodes.extend(machine.states.iter().map(node));
    if let Some(first) = numbers.get(machine.start_at.as_str()) {
        graph.edges.push(Edge {
            from: 0,
            to: *first,
            is_error: false,
            labels: Vec::new(),
        });
    }
    let end = graph.nodes.len();
    for (index, state) in machine.states.iter().enumerate() {
        let mut merged: BTreeMap<(usize, bool), Vec<String>> = BTreeMap::new();
        for (target, is_error, label) in exits(state) {
            let to = match target {
                Some(name) => match numbers.get(name) {
                    Some(number) => *number,
                    None => continue,
                },
                None => end,
            };
            merged.entry((to, is_error)).or_default().extend(label);
        }
        for ((to, is_error), labels) in merged {
            graph.edges.push(Edge {
                from: index + 1,
                to,
                is_error,
                labels,
            });
        }
    }
    if graph.edges.iter().any(|it| it.to == end) {
        graph.nodes.push(mark(Shape::End));
    }
    graph
}

fn mark(shape: Shape) -> Node {
    let name = if shape == Shape::Start {
        "start"
    } else {
        "end"
    };
    Node {
        shape,
        name: String::new(),
        notes: Vec::new(),
        tooltip: name.to_owned(),
        inner: Vec::new(),
    }
}

fn node(state: &StateDef) -> Node {
    let notes = notes(state);
    let mut tooltip = vec![state.name.clone()];
    tooltip.extend(notes.iter().cloned());
    Node {
        shape: Shape::State(state.state_type()),
        name: state.name.clone(),
        notes,
        tooltip: tooltip.join("\n"),
        inner: state.levels().into_iter().map(read).collect(),
    }
}

/// What the small print says: the step or type, then time and retries.
fn notes(state: &StateDef) -> Vec<String> {
    let mut notes = Vec::new();
    match &state.kind {
        Kind::Task(task) => {
            notes.push(task.resource.clone());
            let mut limits = Vec::new();
            if let Some(timeout) = &task.timeout {
                limits.push(format!("≤ {}", seconds(timeout)));
            }
            limits.extend(retries(state));
            if !limits.is_empty() {
                notes.push(limits.join(" · "));
            }
            if let Some(compensation) = &task.compensation {
                notes.push(format!("undone by {}", compensation.resource));
            }
        }
        Kind::Wait(until) => notes.push(match until {
            Until::Seconds(it) => format!("Wait {}", seconds(it)),
            Until::Timestamp(Timestamp::Literal(at_ms)) => {
                format!("Wait until {}", crate::event::rfc3339(*at_ms))
            }
            Until::Timestamp(Timestamp::Computed(it)) => format!("Wait until {}", it.source()),
            Until::Timestamp(Timestamp::Path(it)) => format!("Wait until {}", it.source()),
        }),
        Kind::Succeed { decision, again } => notes.push(match (decision, again) {
            (Some(decision), _) => format!("decision: {decision}"),
            (None, Some(_)) => "Continue as new".to_owned(),
            (None, None) => "Succeed".to_owned(),
        }),
        Kind::Fail { error, .. } => notes.push(match error {
            Some(Template::Literal(error)) => {
                format!("Fail: {}", error.as_str().unwrap_or_default())
            }
            _ => "Fail".to_owned(),
        }),
        Kind::Parallel { race, .. } => {
            let name = if *race {
                "Parallel, the first wins"
            } else {
                "Parallel"
            };
            notes.push(name.to_owned());
            notes.extend(retries(state));
        }
        Kind::Map(map) => {
            let name = if map.is_distributed {
                "Map, distributed"
            } else {
                "Map"
            };
            notes.push(match map.concurrency {
                Number::Literal(limit) if 0.0 < limit => format!("{name}, {limit} at once"),
                _ => name.to_owned(),
            });
            notes.extend(retries(state));
        }
        _ => notes.push(format!("{:?}", state.state_type())),
    }
    notes
}

fn retries(state: &StateDef) -> Option<String> {
    let most = state
        .handlers()?
        .retry
        .iter()
        .map(|it| it.attempts_max)
        .max()?;
    Some(format!("retry {most}×"))
}

fn seconds(seconds: &Seconds) -> String {
    match seconds {
        Seconds::Literal(seconds) => {
            let units = [("d", 86_400), ("h", 3_600), ("min", 60)];
            match units
                .iter()
                .find(|(_, size)| *size <= *seconds && seconds % size == 0)
            {
                Some((unit, size)) => format!("{} {unit}", seconds / size),
                None => format!("{seconds} s"),
            }
        }
        Seconds::Computed(expression) => expression.source().to_owned(),
        Seconds::Path(path) => path.source().to_owned(),
    }
}

/// Where a state leads: the state (or the end), whether as an error, and on what condition.
fn exits(state: &StateDef) -> Vec<(Option<&str>, bool, Option<String>)> {
    let mut exits = Vec::new();
    let mut otherwise = None;
    if let Kind::Choice(rules) = &state.kind {
        for (index, rule) in rules.iter().enumerate() {
            let label = format!("{}. {}", index + 1, condition(&rule.condition));
            let label = with_rework(label, rule.rework);
            exits.push((Some(rule.next.as_str()), false, Some(label)));
        }
        otherwise = Some("otherwise".to_owned());
    }
    match &state.next {
        Next::State(next) if state.rework => {
            let label = with_rework(otherwise.unwrap_or_default(), true);
            exits.push((Some(next), false, Some(label)));
        }
        Next::State(next) => exits.push((Some(next), false, otherwise)),
        Next::End => match state.kind {
            Kind::Succeed { .. } | Kind::Fail { .. } => {}
            _ => exits.push((None, false, None)),
        },
        Next::None => {}
    }
    for catcher in state.handlers().into_iter().flat_map(|it| &it.catch) {
        let label = with_rework(errors(catcher), catcher.rework);
        exits.push((Some(&catcher.next), true, Some(label)));
    }
    exits
}

/// Says of an arrow that it keeps what is still valid.
fn with_rework(label: String, rework: bool) -> String {
    match (rework, label.is_empty()) {
        (false, _) => label,
        (true, true) => "rework".to_owned(),
        (true, false) => format!("{label} (rework)"),
    }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Literal(holds) => holds.to_string(),
        Condition::Computed(expression) => expression.source().trim().to_owned(),
        Condition::Compared(rule) => rule.to_string(),
    }
}

fn errors(catcher: &Catcher) -> String {
    let names: Vec<&str> = catcher
        .errors
        .iter()
        .map(|it| if it == "States.ALL" { "any error" } else { it })
        .collect();
    names.join(", ")
}
