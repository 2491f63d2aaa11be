//! A definition: the envelope, and the states inside.

mod envelope;
mod errors;
mod parse;
mod reader;
mod search;
mod states;
mod template;
mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::catalogue::{CHILD_RESOURCE, Catalogue};
use crate::finding::{Finding, Gate};

pub(crate) use reader::Reader;
pub use search::{SearchAttribute, SearchKind};
pub(crate) use states::{
    Again, Batcher, Catcher, Compensation, Condition, Items, Jitter, Kind, Language, Machine,
    MapDef, Next, Number, Paths, Placement, Retrier, Rule, Seconds, Selection, StateDef, TaskDef,
    Timestamp, Transfer, Until, no_arguments,
};
pub(crate) use template::Template;

pub use parse::TaskLabels;

/// A parsed and compiled definition; immutable, and shared by an `Arc`.
#[derive(Debug)]
pub struct Definition {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) input_schema: Option<Value>,
    pub(crate) input_validator: Option<jsonschema::Validator>,
    pub(crate) timeout_seconds: Option<i64>,
    pub(crate) locales: Vec<String>,
    pub(crate) retention: Option<String>,
    pub(crate) search_attributes: Vec<SearchAttribute>,
    pub(crate) evidence: Vec<EvidenceRule>,
    pub(crate) decisions: BTreeMap<String, Decision>,
    pub(crate) machine: Machine,
    /// Names of errors that the document writes down.
    pub(crate) errors: BTreeSet<String>,
    /// What [`Definition::task_labels`] has found.
    pub(crate) labels: OnceLock<Arc<TaskLabels>>,
    /// Whether it was parsed without an envelope.
    pub(crate) is_bare: bool,
}

/// A named proof: this state's latest run ended with this outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct EvidenceRule {
    pub name: String,
    pub state: String,
    pub outcome: String,
    /// Fields that the output must have, with exactly these values.
    pub with: Map<String, Value>,
}

/// What a decision needs: one of these sets of evidence, all of it; nothing when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub any_of: Vec<Vec<String>>,
}

impl Decision {
    /// Whether the held evidence suffices; the one rule of run time and proof.
    pub(crate) fn is_met(&self, holds: impl Fn(&str) -> bool) -> bool {
        self.any_of.is_empty() || self.any_of.iter().any(|set| set.iter().all(|it| holds(it)))
    }
}

impl Definition {
    /// Parses a definition; this is the gate `valid`.
    ///
    /// The outcomes of its steps are known when the document carries the `contracts` that
    /// [`check`](fn@crate::check) resolves, or after [`Definition::with_catalogue`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its place.
    pub fn parse(json: &Value) -> Result<Self, Vec<Finding>> {
        envelope::parse(json)
    }

    /// Parses a bare Amazon States Language document: no envelope, any `Resource`, and JSONPath
    /// where no query language is written.
    ///
    /// It can be simulated and drawn, but not published: it has no evidence and decides nothing.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its place.
    pub fn parse_states(json: &Value) -> Result<Self, Vec<Finding>> {
        envelope::parse_bare(json)
    }

    /// Resolves every `Resource` to its published contract, so that outcomes are known.
    ///
    /// # Errors
    ///
    /// A finding for every resource that the catalogue does not have.
    pub fn with_catalogue(mut self, catalogue: &Catalogue) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        self.machine
            .resources_mut(
                &mut |pointer, resource, outcomes| match catalogue.resolve(resource) {
                    None if resource == CHILD_RESOURCE => {}
                    Some(contract) => {
                        *resource = contract.resource();
                        *outcomes = Some(contract.outcomes.clone());
                    }
                    None if crate::catalogue::is_own(resource) => {}
                    None => findings.push(Finding::error(
                        Gate::Valid,
                        "step_unknown",
                        pointer,
                        format!("there is no step `{resource}`"),
                        "name a step of the catalogue, such as `kyc:otp`",
                    )),
                },
            );
        if findings.is_empty() {
            Ok(self)
        } else {
            Err(findings)
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a state machine without an envelope, which has no name of its own.
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    pub fn input_schema(&self) -> Option<&Value> {
        self.input_schema.as_ref()
    }

    pub fn timeout_seconds(&self) -> Option<i64> {
        self.timeout_seconds
    }

    pub fn locales(&self) -> &[String] {
        &self.locales
    }

    pub fn retention(&self) -> Option<&str> {
        self.retention.as_deref()
    }

    /// The attributes by which workflows of this definition are found, in the order of the document.
    pub fn search_attributes(&self) -> &[SearchAttribute] {
        &self.search_attributes
    }

    pub fn evidence(&self) -> &[EvidenceRule] {
        &self.evidence
    }

    pub fn decisions(&self) -> &BTreeMap<String, Decision> {
        &self.decisions
    }

    /// Every task state with its resource, in the order of the document.
    pub fn steps(&self) -> impl Iterator<Item = (&str, &str)> {
        self.machine
            .all()
            .into_iter()
            .filter_map(|state| match &state.kind {
                Kind::Task(task) => Some((state.name.as_str(), task.resource.as_str())),
                _ => None,
            })
    }

    /// Checks an input against `inputSchema`.
    ///
    /// # Errors
    ///
    /// A finding for every violation; its pointer is into the input.
    pub fn check_input(&self, input: &Value) -> Result<(), Vec<Finding>> {
        let Some(validator) = &self.input_validator else {
            return Ok(());
        };
        let findings: Vec<Finding> = validator
            .iter_errors(input)
            .map(|error| {
                Finding::error(
                    Gate::Valid,
                    "input_invalid",
                    error.instance_path().to_string(),
                    // Masked: the message must not repeat what the person has sent.
                    error.masked().to_string(),
                    "send what `inputSchema` asks for",
                )
            })
            .collect();
        if findings.is_empty() {
            Ok(())
        } else {
            Err(findings)
        }
    }

    /// The state of this name, at whatever level; names are unique in a document.
    pub(crate) fn state_anywhere(&self, name: &str) -> Option<&StateDef> {
        fn find<'m>(machine: &'m Machine, name: &str) -> Option<&'m StateDef> {
            machine.state(name).or_else(|| {
                let mut inner = machine.states.iter().flat_map(StateDef::levels);
                inner.find_map(|it| find(it, name))
            })
        }
        find(&self.machine, name)
    }

    /// The states of the branch that `path` leads to.
    pub(crate) fn machine_at(&self, path: &[(String, usize)]) -> Option<&Machine> {
        let mut machine = &self.machine;
        for (state, index) in path {
            match &machine.state(state)?.kind {
                Kind::Parallel { branches, .. } => machine = branches.get(*index)?,
                // The index is the item's.
                Kind::Map(map) => machine = &map.processor,
                _ => return None,
            }
        }
        Some(machine)
    }
}
