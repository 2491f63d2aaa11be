//! The gate `proof`: no way through the definition decides without its evidence.
//!
//! Every abstract state (state, what is known of the variables and the input, evidence held) is
//! visited once, the nearest first, so that the first counterexample is the shortest. A task ends
//! with each of its outcomes, or with an error that each `Catch` may take. A condition that is not
//! decided goes both ways, and the way is marked as assumed.
//!
//! Branches cannot see each other, and the order in which they move does not matter for evidence.
//! So each branch is explored on its own, once for everything that it can be entered with, and
//! every combination of what branches have come to is joined.

mod branches;
mod errors;
mod levels;
mod maps;
mod outgoing;
mod steps;
mod trail;
mod walk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use self::errors::Errors;
use self::levels::Levels;
use self::trail::{Trail, Trails};
use self::walk::{Node, Walked};
use super::value::Abstract;
use super::{Counterexample, PathStep, Proof};
use crate::catalogue::Catalogue;
use crate::definition::{Definition, Kind, StateDef};
use crate::evidence::Evidence;
use crate::finding::{Finding, Gate};
use crate::limits::{COUNTEREXAMPLES_MAX, PROOF_STATES_MAX};
use crate::payload::Payload;
use crate::state::Thread;

pub(super) struct Explored {
    pub findings: Vec<Finding>,
    pub proof: Option<Proof>,
}

/// There are more abstract states than a proof may take.
struct TooLarge;

struct Prover<'d> {
    definition: &'d Definition,
    catalogue: &'d Catalogue,
    levels: Levels<'d>,
    errors: Errors,
    trails: Trails,
    n_explored: usize,
    /// What has come of a level for everything that it was entered with.
    walked: HashMap<(usize, Node), Rc<Walked>>,
    counterexamples: Vec<Counterexample>,
    findings: Vec<Finding>,
}

pub(super) fn prove(definition: &Definition, catalogue: &Catalogue) -> Explored {
    let Some(levels) = Levels::of(definition) else {
        return Explored {
            findings: Vec::new(),
            proof: None,
        };
    };
    let first = Node {
        state: levels.all[0].start,
        input: Abstract::Unknown,
        variables: BTreeMap::new(),
        evidence: Evidence::default(),
        undoable: BTreeSet::new(),
        tries: Vec::new(),
    };
    explore(definition, catalogue, levels, first)
}

/// Proves a definition from where a running workflow stands, with what it knows and holds.
pub(super) fn prove_from(
    definition: &Definition,
    catalogue: &Catalogue,
    root: &Thread,
) -> Vec<Finding> {
    let (Some(levels), Some(visit)) = (Levels::of(definition), root.position.visit()) else {
        return Vec::new();
    };
    let Some(&state) = definition.machine.by_name.get(&visit.state) else {
        return Vec::new();
    };
    let carrier = |name: &String| {
        let state = definition.state_anywhere(name)?;
        levels.carrier(state)
    };
    let rule = |name: &String| {
        let index = definition.evidence.iter().position(|it| it.name == *name)?;
        u16::try_from(index).ok()
    };
    let known = |it: &Payload| Abstract::Known(it.to_value());
    let first = Node {
        state,
        input: known(&visit.input),
        variables: root
            .variables
            .iter()
            .map(|(name, it)| (name.clone(), known(it)))
            .collect(),
        evidence: root.evidence.renamed(rule, carrier),
        undoable: root
            .compensations
            .iter()
            .filter_map(|it| carrier(&it.state))
            .collect(),
        tries: Vec::new(),
    };
    explore(definition, catalogue, levels, first).findings
}

fn explore(
    definition: &Definition,
    catalogue: &Catalogue,
    levels: Levels<'_>,
    first: Node,
) -> Explored {
    let mut prover = Prover {
        definition,
        catalogue,
        levels,
        errors: Errors::of(definition),
        trails: Trails::new(),
        n_explored: 0,
        walked: HashMap::new(),
        counterexamples: Vec::new(),
        findings: Vec::new(),
    };
    if prover.walk(0, first).is_err() {
        return Explored {
            findings: vec![too_large()],
            proof: None,
        };
    }
    let proof = Proof {
        states_explored: prover.n_explored,
        counterexamples: prover.counterexamples,
    };
    let unproven = proof
        .counterexamples
        .iter()
        .map(|it| finding_of(definition, it));
    prover.findings.extend(unproven);
    Explored {
        findings: prover.findings,
        proof: Some(proof),
    }
}

fn too_large() -> Finding {
    let message = format!("the definition has more than {PROOF_STATES_MAX} abstract states");
    let fix = "keep fewer outcomes in variables at a time";
    Finding::error(Gate::Proof, "proof_too_large", "/definition", message, fix)
}

impl Prover<'_> {
    /// Counts an abstract state, or a combination of what branches have come to.
    fn count(&mut self) -> Result<(), TooLarge> {
        self.n_explored += 1;
        if PROOF_STATES_MAX < self.n_explored {
            return Err(TooLarge);
        }
        Ok(())
    }

    /// Compares what a state of the outermost level decides with what is held.
    fn judge(&mut self, state: &StateDef, evidence: &Evidence<u16>, trail: Trail) {
        let Kind::Succeed {
            decision: Some(decision),
            ..
        } = &state.kind
        else {
            return;
        };
        let Some(rule) = self.definition.decisions.get(decision) else {
            return;
        };
        let names = &self.definition.evidence;
        let held: Vec<String> = evidence
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
            let missing = set.iter().filter(|it| !held.contains(it));
            missing.cloned().collect()
        };
        let missing: Vec<Vec<String>> = rule.any_of.iter().map(lacks).collect();
        // One way for each kind of gap: the shortest comes first.
        let is_known = |it: &Counterexample| {
            it.decision == *decision
                && it.missing == missing
                && it.path.last().is_some_and(|it| it.state == state.name)
        };
        if self.counterexamples.iter().any(is_known) {
            return;
        }
        let mut path = self.trails.steps(trail);
        path.push(PathStep {
            state: state.name.clone(),
            event: format!("decides {decision}"),
            assumed: false,
        });
        self.counterexamples.push(Counterexample {
            decision: decision.clone(),
            assumed: self.trails.summary(trail).is_assumed,
            path,
            held,
            missing,
        });
    }

    /// A `Choice` that nothing matches: some outcome was forgotten.
    fn note_stuck(&mut self, state: &StateDef, reason: &str, trail: Trail) {
        if self.findings.iter().any(|it| it.pointer == state.pointer) {
            return;
        }
        let path = show(&self.trails.steps(trail));
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
            let note = if it.assumed {
                " [assumed possible]"
            } else {
                ""
            };
            format!("{} {}{note}", it.state, it.event)
        })
        .collect();
    shown.join(" > ")
}
