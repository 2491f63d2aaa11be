//! The definitions that the benchmark runs. They pass the gates that every definition passes.

use anyhow::ensure;
use serde_json::{Map, Value, json};

use btrust_schemas::definition::{DraftRequest, Publish};

/// Tenant of everything that the benchmark makes.
pub const TENANT: &str = "00000000-0000-4000-8000-00000000be9c";
/// Steps in a row, then the decision.
pub const STEPS: &str = "bench-steps";
/// No step at all: closed by the commit that starts it. Fills a store with closed workflows.
pub const CLOSED: &str = "bench-closed";
/// One step that asks a person who never answers.
pub const WAITING: &str = "bench-waiting";
/// The state of [`WAITING`]; the worker asks where it sees this name.
pub const ASK: &str = "Ask";

/// The three definitions, the first with `n_steps` steps.
///
/// # Errors
///
/// When a gate refuses one.
pub fn drafts(n_steps: u32) -> anyhow::Result<Vec<DraftRequest>> {
    let steps: Vec<String> = (1..=n_steps).map(|it| format!("Step{it}")).collect();
    let all = [
        (STEPS, steps),
        (CLOSED, Vec::new()),
        (WAITING, vec![ASK.to_owned()]),
    ];
    let mut drafts = Vec::with_capacity(all.len());
    for (index, (name, states)) in all.into_iter().enumerate() {
        let envelope = envelope(name, &states);
        let report = btrust_machine::check(&envelope, &btrust_api::gateway::catalogue());
        ensure!(
            report.is_publishable(),
            "the gates refuse {name}: {:?} {:?}",
            report.findings,
            report.proof
        );
        drafts.push(DraftRequest {
            tenant: TENANT.to_owned(),
            name: name.to_owned(),
            envelope: report.resolved.unwrap_or(envelope),
            // Nothing else is ever stored beside these.
            digest: format!("{index:064x}"),
            publish: Publish::IfAllowed,
            actor: "bench".to_owned(),
        });
    }
    Ok(drafts)
}

fn envelope(name: &str, states: &[String]) -> Value {
    let mut machine = Map::new();
    for (index, state) in states.iter().enumerate() {
        let next = states.get(index + 1).map_or("End", String::as_str);
        let task = json!({
            "Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 604_800,
            "Arguments": { "fields": { "type": "object" } },
            "Output": "{% $states.input %}", "Next": next,
        });
        machine.insert(state.clone(), task);
    }
    let end = json!({ "Type": "Succeed", "Output": { "decision": "referred" } });
    machine.insert("End".to_owned(), end);
    let start = states.first().map_or("End", String::as_str);
    json!({
        "name": name, "title": name, "inputSchema": { "type": "object" }, "timeoutSeconds": 1_209_600,
        "evidence": {}, "decisions": { "referred": {} },
        "definition": { "QueryLanguage": "JSONata", "StartAt": start, "States": machine },
    })
}
