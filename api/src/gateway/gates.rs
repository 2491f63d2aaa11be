//! The gates in front of drafts and publications: valid, lint and proof.

use std::sync::Arc;

use serde_json::Value;

use btrust_machine::{Finding, check};

use super::Gateway;
use crate::{
    brake::BrakeError,
    refusal::{self, Refusal, Refused},
};

/// Definitions that are checked at once. A proof holds up to a million states in
/// memory and a core for seconds.
pub(super) const PROOFS_AT_ONCE_MAX: usize = 2;

/// Definitions that are checked or wait for it; more are told to come later.
pub(super) const PROOFS_PLACES: usize = 6;

/// Seconds that a caller waits when too many definitions are being checked.
const BUSY_RETRY_AFTER_S: u32 = 5;

// Every operation behind the gates documents these two among its own refusals.
const DEFINITION_REFUSED: Refusal = Refusal {
    status: 422,
    code: "definition_refused",
    when: "a gate has found an error",
};
const BUSY: Refusal = Refusal {
    status: 503,
    code: "busy",
    when: "too many definitions are being checked",
};

/// What has passed.
pub(super) struct Passed {
    /// The envelope as the steps' contracts of today resolve it.
    pub resolved: Value,
    /// Findings that do not refuse.
    pub warnings: Vec<Value>,
}

/// Passes an envelope through the gates, against the steps that this version of the platform has.
pub(super) async fn pass<R>(gateway: &Gateway, envelope: Value) -> Result<Passed, Refused<R>> {
    let catalogue = Arc::clone(&gateway.catalogue);
    let checked = envelope.clone();
    // The proof explores up to a million states: not on a thread that serves.
    let report = gateway
        .proofs
        .run(move || check(&checked, &catalogue))
        .await
        .map_err(unproved)?;
    if !report.is_publishable() {
        let counterexamples = report.proof.iter().flat_map(|it| &it.counterexamples);
        let errors = json(&report.findings)
            .into_iter()
            .chain(json(counterexamples))
            .collect();
        let n_errors = report.findings.iter().filter(|it| it.is_error()).count();
        let detail = format!("the gates have found {n_errors} errors");
        return Err(DEFINITION_REFUSED.detail(detail).with_errors(errors));
    }
    let warnings = report
        .findings
        .iter()
        .filter(|it: &&Finding| !it.is_error());
    Ok(Passed {
        warnings: json(warnings),
        resolved: report.resolved.unwrap_or(envelope),
    })
}

fn unproved<R>(error: BrakeError) -> Refused<R> {
    match error {
        BrakeError::Busy => BUSY
            .detail("too many definitions are being checked; try again")
            .retry_after(BUSY_RETRY_AFTER_S),
        BrakeError::Lost => Refused::failed(refusal::INTERNAL, &error),
    }
}

fn json<T: serde::Serialize>(items: impl IntoIterator<Item = T>) -> Vec<Value> {
    items
        .into_iter()
        .filter_map(|it| serde_json::to_value(it).ok())
        .collect()
}
