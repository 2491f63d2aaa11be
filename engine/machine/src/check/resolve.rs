//! Writes into a definition which contracts it was checked against.

use serde_json::{Map, Value, json};

use crate::catalogue::Catalogue;

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
        let Some(resource) = state.get("Resource").and_then(Value::as_str) else {
            continue;
        };
        if let Some(contract) = catalogue.resolve(resource) {
            let resource = contract.resource();
            contracts.insert(
                resource.clone(),
                json!({"outcomes": contract.outcomes, "hash": contract.hash}),
            );
            state["Resource"] = Value::String(resource);
        }
    }
}
