//! What differs between two versions of a definition, in terms of its states, evidence and decisions.
//!
//! It looks at the documents and not at what they compile to, so that a document that does not parse
//! can be compared too. The order of keys never counts.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::finding::at;

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiffOp {
    /// A field of the envelope other than those below: title, timeout, locales, retention.
    SettingChanged,
    InputSchemaChanged,
    EvidenceAdded,
    EvidenceRemoved,
    EvidenceChanged,
    DecisionAdded,
    DecisionRemoved,
    DecisionChanged,
    /// Where the definition, or a branch of it, starts; its comment, language or version.
    FlowChanged,
    StateAdded,
    StateRemoved,
    StateChanged,
    /// A step's contract that only the later version relies on.
    ContractAdded,
    ContractRemoved,
    ContractChanged,
}

impl DiffOp {
    /// The wire form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SettingChanged => "setting_changed",
            Self::InputSchemaChanged => "input_schema_changed",
            Self::EvidenceAdded => "evidence_added",
            Self::EvidenceRemoved => "evidence_removed",
            Self::EvidenceChanged => "evidence_changed",
            Self::DecisionAdded => "decision_added",
            Self::DecisionRemoved => "decision_removed",
            Self::DecisionChanged => "decision_changed",
            Self::FlowChanged => "flow_changed",
            Self::StateAdded => "state_added",
            Self::StateRemoved => "state_removed",
            Self::StateChanged => "state_changed",
            Self::ContractAdded => "contract_added",
            Self::ContractRemoved => "contract_removed",
            Self::ContractChanged => "contract_changed",
        }
    }
}

impl Serialize for DiffOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One difference at one place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub op: DiffOp,
    /// JSON pointer (RFC 6901): into the earlier document for what is removed, else into the later one.
    pub pointer: String,
    /// Absent where there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Absent where there is nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The three words for one kind of thing that has names.
#[derive(Clone, Copy)]
struct Ops {
    added: DiffOp,
    removed: DiffOp,
    changed: DiffOp,
}

const EVIDENCE: Ops = Ops {
    added: DiffOp::EvidenceAdded,
    removed: DiffOp::EvidenceRemoved,
    changed: DiffOp::EvidenceChanged,
};
const DECISIONS: Ops = Ops {
    added: DiffOp::DecisionAdded,
    removed: DiffOp::DecisionRemoved,
    changed: DiffOp::DecisionChanged,
};
const STATES: Ops = Ops {
    added: DiffOp::StateAdded,
    removed: DiffOp::StateRemoved,
    changed: DiffOp::StateChanged,
};
const CONTRACTS: Ops = Ops {
    added: DiffOp::ContractAdded,
    removed: DiffOp::ContractRemoved,
    changed: DiffOp::ContractChanged,
};

/// Compares two envelopes, or two bare documents of the Amazon States Language.
///
/// The list is in the order of [`DiffOp`], and within one in the order of the later document. It takes time
/// and memory in proportion to the documents.
#[must_use]
pub fn diff(before: &Value, after: &Value) -> Vec<Difference> {
    let mut differ = Differ::default();
    let empty = Map::new();
    match (before.as_object(), after.as_object()) {
        (Some(before), Some(after)) if is_bare(before) || is_bare(after) => {
            let nested = |it| definition_of(it).unwrap_or(&empty);
            differ.level("", nested(before), nested(after));
        }
        (Some(before), Some(after)) => differ.envelope(before, after),
        _ => differ.leaves(DiffOp::SettingChanged, "", Some(before), Some(after)),
    }
    let mut found = differ.found;
    // Stable: the order of the document stays.
    found.sort_by_key(|it| it.op);
    found
}

fn is_bare(document: &Map<String, Value>) -> bool {
    document.contains_key("States")
}

/// The states of a document: its own, or those of the envelope around them.
fn definition_of(document: &Map<String, Value>) -> Option<&Map<String, Value>> {
    if is_bare(document) {
        return Some(document);
    }
    document.get("definition").and_then(Value::as_object)
}

#[derive(Default)]
struct Differ {
    found: Vec<Difference>,
}

impl Differ {
    fn envelope(&mut self, before: &Map<String, Value>, after: &Map<String, Value>) {
        for name in keys(before, after) {
            let pointer = at("", name);
            let (old, new) = (before.get(name), after.get(name));
            match name.as_str() {
                "inputSchema" => self.leaves(DiffOp::InputSchemaChanged, &pointer, old, new),
                "evidence" => self.named(EVIDENCE, &pointer, old, new),
                "decisions" => self.named(DECISIONS, &pointer, old, new),
                "contracts" => self.named(CONTRACTS, &pointer, old, new),
                "definition" => self.machine(&pointer, old, new),
                _ => self.leaves(DiffOp::SettingChanged, &pointer, old, new),
            }
        }
    }

    /// A definition, a branch, or the processor of a `Map`: something with `States`.
    fn machine(&mut self, pointer: &str, before: Option<&Value>, after: Option<&Value>) {
        match (
            before.and_then(Value::as_object),
            after.and_then(Value::as_object),
        ) {
            (Some(before), Some(after)) => self.level(pointer, before, after),
            _ => self.leaves(DiffOp::FlowChanged, pointer, before, after),
        }
    }

    fn level(&mut self, pointer: &str, before: &Map<String, Value>, after: &Map<String, Value>) {
        for name in keys(before, after) {
            let pointer = at(pointer, name);
            let (old, new) = (before.get(name), after.get(name));
            if name == "States" {
                self.named(STATES, &pointer, old, new);
            } else {
                self.leaves(DiffOp::FlowChanged, &pointer, old, new);
            }
        }
    }

    /// Things with names: those that are there twice are looked into, the others are shown whole.
    fn named(&mut self, ops: Ops, pointer: &str, before: Option<&Value>, after: Option<&Value>) {
        let empty = Value::Object(Map::new());
        // What is not there is no different from what is empty.
        let (old, new) = (before.unwrap_or(&empty), after.unwrap_or(&empty));
        let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
            return self.leaves(ops.changed, pointer, before, after);
        };
        for name in keys(old, new) {
            let pointer = at(pointer, name);
            match (old.get(name), new.get(name)) {
                (None, new) => self.push(ops.added, pointer, None, new),
                (old, None) => self.push(ops.removed, pointer, old, None),
                (Some(old), Some(new)) if ops.changed == DiffOp::StateChanged => {
                    self.state(&pointer, old, new);
                }
                (old, new) => self.leaves(ops.changed, &pointer, old, new),
            }
        }
    }

    /// A state that is in both; the states inside it are states too.
    fn state(&mut self, pointer: &str, before: &Value, after: &Value) {
        let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
            return self.leaves(DiffOp::StateChanged, pointer, Some(before), Some(after));
        };
        for name in keys(old, new) {
            let pointer = at(pointer, name);
            let (old, new) = (old.get(name), new.get(name));
            match (name.as_str(), old, new) {
                ("ItemProcessor" | "Iterator", Some(_), Some(_)) => {
                    self.machine(&pointer, old, new);
                }
                ("Branches", Some(Value::Array(old)), Some(Value::Array(new)))
                    if old.len() == new.len() =>
                {
                    for (index, (old, new)) in old.iter().zip(new).enumerate() {
                        self.machine(&format!("{pointer}/{index}"), Some(old), Some(new));
                    }
                }
                _ => self.leaves(DiffOp::StateChanged, &pointer, old, new),
            }
        }
    }

    /// The smallest parts that differ. A list whose length has changed is shown whole: its places
    /// do not correspond any more.
    fn leaves(&mut self, op: DiffOp, pointer: &str, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (None, None) => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                for name in keys(old, new) {
                    self.leaves(op, &at(pointer, name), old.get(name), new.get(name));
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    self.leaves(op, &format!("{pointer}/{index}"), Some(old), Some(new));
                }
            }
            (before, after) if before == after => {}
            (before, after) => self.push(op, pointer.to_owned(), before, after),
        }
    }

    fn push(&mut self, op: DiffOp, pointer: String, before: Option<&Value>, after: Option<&Value>) {
        self.found.push(Difference {
            op,
            pointer,
            before: before.cloned(),
            after: after.cloned(),
        });
    }
}

/// Every key of either, those of the later document first and in its order.
fn keys<'m>(
    before: &'m Map<String, Value>,
    after: &'m Map<String, Value>,
) -> impl Iterator<Item = &'m String> {
    let gone = before.keys().filter(|it| !after.contains_key(*it));
    after.keys().chain(gone)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flow() -> Value {
        json!({
            "name": "flow", "title": "Flow", "timeoutSeconds": 60,
            "inputSchema": { "type": "object", "required": ["a"] },
            "evidence": { "seen": { "state": "Look", "outcome": "ok" } },
            "decisions": { "approved": { "anyOf": [["seen"]] } },
            "definition": { "StartAt": "Look", "States": {
                "Look": { "Type": "Task", "Resource": "kyc:ocr@1", "TimeoutSeconds": 60, "Next": "Both" },
                "Both": { "Type": "Parallel", "Next": "Done", "Branches": [
                    { "StartAt": "One", "States": { "One": { "Type": "Pass", "End": true } } },
                ] },
                "Each": { "Type": "Map", "Next": "Done", "ItemProcessor":
                    { "StartAt": "Item", "States": { "Item": { "Type": "Pass", "End": true } } } },
                "Done": { "Type": "Succeed", "Output": { "decision": "approved" } },
            } },
        })
    }

    /// Changes the flow and compares what is found, as `op pointer before after`.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expected: &[(&str, &str, Value, Value)]) {
        let (before, mut after) = (flow(), flow());
        change(&mut after);
        let found = serde_json::to_value(diff(&before, &after)).unwrap();
        let found = found.as_array().unwrap().iter().map(|it| {
            let text = |name: &str| it[name].as_str().unwrap().to_owned();
            (
                text("op"),
                text("pointer"),
                it["before"].clone(),
                it["after"].clone(),
            )
        });
        let expected = expected.iter().map(|(op, at, old, new)| {
            ((*op).to_owned(), (*at).to_owned(), old.clone(), new.clone())
        });
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_the_same_does_not_differ_whatever_the_order_of_its_keys() {
        check(|_| {}, &[]);
        check(
            |it| {
                let states = it["definition"]["States"].as_object_mut().unwrap();
                let look = states.shift_remove("Look").unwrap();
                states.insert("Look".to_owned(), look);
                it["contracts"] = json!({});
            },
            &[],
        );
    }

    #[test]
    fn a_state_is_added_removed_or_changed_where_it_differs() {
        let new = json!({ "Type": "Fail" });
        let gone = flow()["definition"]["States"]["Each"].clone();
        check(
            |it| {
                let states = it["definition"]["States"].as_object_mut().unwrap();
                states.shift_remove("Each");
                states.insert("New".to_owned(), new.clone());
                states["Look"]["TimeoutSeconds"] = json!(5);
                states["Look"]["Retry"] = json!([]);
            },
            &[
                (
                    "state_added",
                    "/definition/States/New",
                    Value::Null,
                    new.clone(),
                ),
                (
                    "state_removed",
                    "/definition/States/Each",
                    gone,
                    Value::Null,
                ),
                (
                    "state_changed",
                    "/definition/States/Look/TimeoutSeconds",
                    json!(60),
                    json!(5),
                ),
                (
                    "state_changed",
                    "/definition/States/Look/Retry",
                    Value::Null,
                    json!([]),
                ),
            ],
        );
    }

    #[test]
    fn states_inside_a_state_are_states_too() {
        let new = json!({ "Type": "Fail" });
        check(
            |it| {
                let states = &mut it["definition"]["States"];
                states["Both"]["Branches"][0]["States"]["Two"] = new.clone();
                states["Each"]["ItemProcessor"]["StartAt"] = json!("Other");
                states["Each"]["ItemProcessor"]["States"]["Item"]["Type"] = json!("Wait");
            },
            &[
                (
                    "flow_changed",
                    "/definition/States/Each/ItemProcessor/StartAt",
                    json!("Item"),
                    json!("Other"),
                ),
                (
                    "state_added",
                    "/definition/States/Both/Branches/0/States/Two",
                    Value::Null,
                    new.clone(),
                ),
                (
                    "state_changed",
                    "/definition/States/Each/ItemProcessor/States/Item/Type",
                    json!("Pass"),
                    json!("Wait"),
                ),
            ],
        );
    }

    #[test]
    fn evidence_decisions_schema_and_settings_are_told_apart() {
        check(
            |it| {
                it["title"] = json!("Other");
                it["inputSchema"]["required"] = json!(["a", "b"]);
                it["evidence"]["seen"]["outcome"] = json!("fine");
                it["decisions"]["rejected"] = json!({});
                it["definition"]["StartAt"] = json!("Both");
                it["contracts"] = json!({ "kyc:ocr@1": { "hash": "x" } });
            },
            &[
                ("setting_changed", "/title", json!("Flow"), json!("Other")),
                (
                    "input_schema_changed",
                    "/inputSchema/required",
                    json!(["a"]),
                    json!(["a", "b"]),
                ),
                (
                    "evidence_changed",
                    "/evidence/seen/outcome",
                    json!("ok"),
                    json!("fine"),
                ),
                (
                    "decision_added",
                    "/decisions/rejected",
                    Value::Null,
                    json!({}),
                ),
                (
                    "flow_changed",
                    "/definition/StartAt",
                    json!("Look"),
                    json!("Both"),
                ),
                (
                    "contract_added",
                    "/contracts/kyc:ocr@1",
                    Value::Null,
                    json!({ "hash": "x" }),
                ),
            ],
        );
    }

    #[test]
    fn bare_documents_are_compared_and_so_is_one_with_its_envelope() {
        let (bare, mut other) = (flow()["definition"].clone(), flow());
        assert_eq!(diff(&bare, &other), []);
        other["definition"]["StartAt"] = json!("Both");
        let found = diff(&bare, &other);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].op, found[0].pointer.as_str()),
            (DiffOp::FlowChanged, "/StartAt")
        );
    }

    #[test]
    fn what_is_no_definition_at_all_is_compared_whole() {
        assert_eq!(diff(&json!(1), &json!(1)), []);
        let found = diff(&json!([1]), &json!({ "definition": [] }));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pointer, "");
        let found = diff(&json!({ "definition": [] }), &json!({ "definition": {} }));
        assert_eq!((found[0].op, found.len()), (DiffOp::FlowChanged, 1));
    }
}
