//! The gate `proof`: no way through the definition decides without its evidence.
//!
//! Every abstract state (state, what is known of the variables and the input, evidence held) is
//! visited once, breadth first, so that the first counterexample is the shortest. A task ends with
//! each of its outcomes, or with an error that each `Catch` may take. A condition that is not
//! decided goes both ways, and the way is marked as assumed.

mod steps;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use super::graph::Graph;
use super::value::Abstract;
use super::{Counterexample, PathStep, Proof};
use crate::catalogue::Catalogue;
use crate::definition::{Decision, Definition, Kind, Language, StateDef};
use crate::evidence::Evidence;
use crate::finding::{Finding, Gate};
use crate::limits::{COUNTEREXAMPLES_MAX, PROOF_STATES_MAX};

pub(super) struct Explored {
    pub findings: Vec<Finding>,
    pub proof: Option<Proof>,
}

/// One abstract state.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    state: usize,
    input: Abstract,
    variables: BTreeMap<String, Abstract>,
    evidence: Evidence<u16>,
}

/// How an abstract state was reached.
struct Reached {
    node: Rc<Node>,
    from: Option<usize>,
    step: Option<PathStep>,
}

/// Where a step leads.
enum Onward {
    To(Box<Node>, PathStep),
    /// A `Choice` that has no way for what it found.
    Stuck(String),
}

struct Explorer<'d> {
    definition: &'d Definition,
    catalogue: &'d Catalogue,
    /// For each state, the variables that something reachable from it reads.
    live: Vec<BTreeSet<&'d str>>,
    /// For each state, whether its input can matter.
    reads_input: Vec<bool>,
    reached: Vec<Reached>,
    seen: HashSet<Rc<Node>>,
    counterexamples: Vec<Counterexample>,
    findings: Vec<Finding>,
}

pub(super) fn prove(definition: &Definition, catalogue: &Catalogue) -> Explored {
    let uncovered = definition.machine.states.iter().find(|it| {
        matches!(it.kind, Kind::Parallel { .. } | Kind::Map(_)) || it.language == Language::JsonPath
    });
    if let Some(state) = uncovered {
        let message = format!(
            "`{}` is of a kind that the proof does not cover yet",
            state.name
        );
        let fix = "write its branches one after the other";
        let finding = Finding::error(
            Gate::Proof,
            "proof_unsupported",
            &state.pointer,
            message,
            fix,
        );
        return Explored {
            findings: vec![finding],
            proof: None,
        };
    }
    let graph = Graph::of(&definition.machine);
    let explorer = Explorer {
        definition,
        catalogue,
        live: live_variables(definition, &graph),
        reads_input: live_input(definition, &graph),
        reached: Vec::new(),
        seen: HashSet::new(),
        counterexamples: Vec::new(),
        findings: Vec::new(),
    };
    explorer.explore()
}

impl Explorer<'_> {
    fn explore(mut self) -> Explored {
        let Some(&start) = self
            .definition
            .machine
            .by_name
            .get(&self.definition.machine.start_at)
        else {
            return Explored {
                findings: self.findings,
                proof: None,
            };
        };
        let first = Node {
            state: start,
            input: Abstract::Unknown,
            variables: BTreeMap::new(),
            evidence: Evidence::default(),
        };
        self.reach(first, None, None);
        let mut next = 0;
        while next < self.reached.len() {
            if PROOF_STATES_MAX < self.reached.len() {
                let message =
                    format!("the definition has more than {PROOF_STATES_MAX} abstract states");
                let fix = "keep fewer outcomes in variables at a time";
                let finding =
                    Finding::error(Gate::Proof, "proof_too_large", "/definition", message, fix);
                return Explored {
                    findings: vec![finding],
                    proof: None,
                };
            }
            self.visit(next);
            next += 1;
        }
        let proof = Proof {
            states_explored: self.reached.len(),
            counterexamples: self.counterexamples,
        };
        self.findings.extend(
            proof
                .counterexamples
                .iter()
                .map(|it| finding_of(self.definition, it)),
        );
        Explored {
            findings: self.findings,
            proof: Some(proof),
        }
    }

    fn reach(&mut self, node: Node, from: Option<usize>, step: Option<PathStep>) {
        let node = Rc::new(node);
        if self.seen.insert(Rc::clone(&node)) {
            self.reached.push(Reached { node, from, step });
        }
    }

    fn visit(&mut self, index: usize) {
        let node = Rc::clone(&self.reached[index].node);
        let state = &self.definition.machine.states[node.state];
        if let Kind::Succeed {
            decision: Some(decision),
        } = &state.kind
            && let Some(rule) = self.definition.decisions.get(decision)
        {
            self.judge(index, &node, state, decision, rule);
        }
        for onward in self.steps(&node, state) {
            match onward {
                Onward::To(node, step) => self.reach(*node, Some(index), Some(step)),
                Onward::Stuck(reason) => self.note_stuck(index, state, &reason),
            }
        }
    }

    fn judge(
        &mut self,
        index: usize,
        node: &Node,
        state: &StateDef,
        decision: &str,
        rule: &Decision,
    ) {
        let names = &self.definition.evidence;
        let held: Vec<String> = node
            .evidence
            .held()
            .iter()
            .map(|it| names[usize::from(*it)].name.clone())
            .collect();
        if rule.is_met(|name| held.iter().any(|it| it == name))
            || COUNTEREXAMPLES_MAX <= self.counterexamples.len()
        {
            return;
        }
        let lacks = |set: &Vec<String>| {
            set.iter()
                .filter(|it| !held.contains(it))
                .cloned()
                .collect()
        };
        let missing: Vec<Vec<String>> = rule.any_of.iter().map(lacks).collect();
        // One way for each kind of gap: the shortest comes first.
        let is_known = |it: &Counterexample| {
            it.decision == decision
                && it.missing == missing
                && it.path.last().is_some_and(|it| it.state == state.name)
        };
        if self.counterexamples.iter().any(is_known) {
            return;
        }
        let mut path = self.path_to(index);
        path.push(PathStep {
            state: state.name.clone(),
            event: format!("decides {decision}"),
            assumed: false,
        });
        let assumed = path.iter().any(|it| it.assumed);
        self.counterexamples.push(Counterexample {
            decision: decision.to_owned(),
            path,
            held,
            missing,
            assumed,
        });
    }

    /// The steps from the start to an abstract state.
    fn path_to(&self, index: usize) -> Vec<PathStep> {
        let mut path = Vec::new();
        let mut at = Some(index);
        while let Some(index) = at {
            let reached = &self.reached[index];
            path.extend(reached.step.clone());
            at = reached.from;
        }
        path.reverse();
        path
    }

    /// A `Choice` that nothing matches: some outcome was forgotten.
    fn note_stuck(&mut self, index: usize, state: &StateDef, reason: &str) {
        if self.findings.iter().any(|it| it.pointer == state.pointer) {
            return;
        }
        let path = show(&self.path_to(index));
        self.findings.push(Finding::error(
            Gate::Lint,
            "outcome_unhandled",
            &state.pointer,
            format!("`{}` {reason}, after {path}", state.name),
            "add a rule for it, or a `Default`",
        ));
    }
}

fn finding_of(definition: &Definition, counterexample: &Counterexample) -> Finding {
    let Counterexample {
        decision,
        path,
        held,
        missing,
        assumed,
    } = counterexample;
    let state = path
        .last()
        .and_then(|it| definition.machine.state(&it.state));
    let pointer = state.map_or_else(String::new, |it| format!("{}/Output/decision", it.pointer));
    let gaps: Vec<String> = missing.iter().map(|it| it.join(" and ")).collect();
    let held = if held.is_empty() {
        "nothing".to_owned()
    } else {
        held.join(", ")
    };
    let note = if *assumed { " (assumed possible)" } else { "" };
    Finding::error(
        Gate::Proof,
        "decision_without_evidence",
        pointer,
        format!(
            "`{decision}` is decided with {held} held{note}: {}",
            show(path)
        ),
        format!("do not lead here without {}", gaps.join(", or ")),
    )
}

fn show(path: &[PathStep]) -> String {
    let shown: Vec<String> = path
        .iter()
        .map(|it| {
            format!(
                "{} {}{}",
                it.state,
                it.event,
                if it.assumed {
                    " [assumed possible]"
                } else {
                    ""
                }
            )
        })
        .collect();
    shown.join(" > ")
}

fn live_variables<'d>(definition: &'d Definition, graph: &Graph) -> Vec<BTreeSet<&'d str>> {
    let reads: Vec<BTreeSet<&str>> = definition
        .machine
        .states
        .iter()
        .map(|state| {
            let mut names = BTreeSet::new();
            state.expressions(&mut |_, expression| {
                names.extend(expression.variables().iter().map(String::as_str));
            });
            names
        })
        .collect();
    (0..reads.len())
        .map(|from| {
            graph
                .from(from)
                .flat_map(|it| reads[it].iter().copied())
                .collect()
        })
        .collect()
}

/// A state's input matters when it reads it, or passes it on to one where it matters.
fn live_input(definition: &Definition, graph: &Graph) -> Vec<bool> {
    let states = &definition.machine.states;
    let mut live: Vec<bool> = states
        .iter()
        .map(|state| {
            let mut reads = false;
            state.expressions(&mut |_, expression| reads |= expression.reads_states("input"));
            reads
        })
        .collect();
    loop {
        let mut changed = false;
        for (index, state) in states.iter().enumerate() {
            let passes_on = !matches!(
                state.kind,
                Kind::Task(_) | Kind::Succeed { .. } | Kind::Fail { .. }
            );
            if !live[index] && passes_on && graph.next[index].iter().any(|it| live[*it]) {
                live[index] = true;
                changed = true;
            }
        }
        if !changed {
            return live;
        }
    }
}
