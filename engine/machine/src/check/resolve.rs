//! Writes into a definition which contracts it was checked against.

use serde_json::{Map, Value, json};

use crate::catalogue::{Catalogue, WAIT_FOR_TASK_TOKEN};

/// Gives every `Resource` its version, and stores outcomes and hash of each contract under `contracts`.
pub(super) fn resolve(mut document: Value, catalogue: &Catalogue) -> Value {
    let mut contracts = Map::new();
    if let Some(machine) = document.get_mut("definition") {
        resolve_level(machine, catalogue, &mut contracts);
    }
    if let Some(fields) = document.as_object_mut() {
        fields.insert("contracts".to_owned(), Value::Object(contracts));
    }
    document
}

fn resolve_level(machine: &mut Value, catalogue: &Catalogue, contracts: &mut Map<String, Value>) {
    let Some(states) = machine.get_mut("States").and_then(Value::as_object_mut) else {
        return;
    };
    for (_, state) in states.iter_mut() {
        if let Some(branches) = state.get_mut("Branches").and_then(Value::as_array_mut) {
            for branch in branches {
                resolve_level(branch, catalogue, contracts);
            }
        }
        for processor in ["ItemProcessor", "Iterator"] {
            if let Some(processor) = state.get_mut(processor) {
                resolve_level(processor, catalogue, contracts);
            }
        }
        resolve_resource(state, catalogue, contracts);
        for task in ["BTrust.Compensation", "ItemReader", "ResultWriter"] {
            if let Some(task) = state.get_mut(task) {
                resolve_resource(task, catalogue, contracts);
            }
        }
    }
}

fn resolve_resource(task: &mut Value, catalogue: &Catalogue, contracts: &mut Map<String, Value>) {
    let Some(written) = task.get("Resource").and_then(Value::as_str) else {
        return;
    };
    let step = written.strip_suffix(WAIT_FOR_TASK_TOKEN).unwrap_or(written);
    let Some(contract) = catalogue.resolve(step) else {
        return;
    };
    let resource = contract.resource();
    let suffix = &written[step.len()..];
    task["Resource"] = Value::String(format!("{resource}{suffix}"));
    contracts.insert(
        resource,
        json!({"outcomes": contract.outcomes, "hash": contract.hash}),
    );
}
