//! The three gates that a definition passes before it is published.

mod arguments;
mod graph;
mod lint;
mod paths;
mod proof;
mod references;
mod resolve;
mod value;

use serde::Serialize;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::definition::Definition;
use crate::finding::Finding;

pub(crate) fn prove_from(
    definition: &Definition,
    catalogue: &Catalogue,
    root: &crate::state::Thread,
) -> Vec<Finding> {
    proof::prove_from(definition, catalogue, root)
}

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
    let refused = |findings| Report {
        findings,
        proof: None,
        resolved: None,
    };
    // What was resolved before is resolved again: `contracts` is never the author's to write.
    let mut document = json.clone();
    if let Some(fields) = document.as_object_mut() {
        fields.remove("contracts");
    }
    if let Err(findings) = Definition::parse(&document).and_then(|it| it.with_catalogue(catalogue))
    {
        return refused(findings);
    }
    let resolved = resolve::resolve(document, catalogue);
    let definition = match Definition::parse(&resolved) {
        Ok(definition) => definition,
        Err(findings) => return refused(findings),
    };
    let mut findings = lint::lint(&definition, catalogue);
    let explored = proof::prove(&definition, catalogue);
    findings.extend(explored.findings);
    let mut report = Report {
        findings,
        proof: explored.proof,
        resolved: None,
    };
    if report.is_publishable() {
        report.resolved = Some(resolved);
    }
    report
}
