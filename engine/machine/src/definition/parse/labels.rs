//! Parses `BTrust.Labels`: which workers may take a task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::Definition;
use super::super::reader::Reader;
use super::super::states::Kind;
use super::LABELS;
use crate::finding::at;

/// Most labels that a task asks for.
///
/// Source: a fleet is told apart by a handful of regions and kinds of hardware.
const LABELS_MAX: usize = 8;
/// Longest name or value of a label, in bytes; as long as Kubernetes allows.
const LABEL_BYTES_MAX: usize = 63;

/// The labels that tasks ask for, by state: `region=eu`, or `gpu` for one without a value.
pub type TaskLabels = BTreeMap<String, BTreeSet<String>>;

/// Reads the labels of a task: an object of texts, where `true` stands for a label without a value.
pub(super) fn read(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    let Some(value) = fields.get(LABELS) else {
        return labels;
    };
    let pointer = at(pointer, LABELS);
    let Some(written) = reader.object(value, &pointer) else {
        return labels;
    };
    if LABELS_MAX < written.len() {
        reader.error(
            "too_many_labels",
            &pointer,
            format!("a task asks for at most {LABELS_MAX} labels"),
            "remove some",
        );
    }
    for (name, value) in written {
        match label(name, value) {
            Some(label) => {
                labels.insert(label);
            }
            None => reader.error(
                "label_invalid",
                &at(&pointer, name),
                format!(
                    "a label is a name and a text of 1 to {LABEL_BYTES_MAX} letters, digits, `.`, `_` or `-`"
                ),
                "write such a text, or `true` for a label without a value",
            ),
        }
    }
    labels
}

fn label(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Bool(true) if is_word(name) => Some(name.to_owned()),
        Value::String(value) if is_word(name) && is_word(value) => Some(format!("{name}={value}")),
        _ => None,
    }
}

fn is_word(text: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
    (1..=LABEL_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

impl Definition {
    /// The labels that its tasks ask for; `None` when none of them asks for any.
    pub fn task_labels(&self) -> Option<&Arc<TaskLabels>> {
        let labels = self.labels.get_or_init(|| {
            let of_state = self.machine.all().into_iter();
            let asking = of_state.filter_map(|state| match &state.kind {
                Kind::Task(task) if !task.labels.is_empty() => {
                    Some((state.name.clone(), task.labels.clone()))
                }
                _ => None,
            });
            Arc::new(asking.collect())
        });
        (!labels.is_empty()).then_some(labels)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(labels: &Value) -> Result<Definition, Vec<crate::Finding>> {
        Definition::parse(&json!({
            "name": "labelled", "title": "Labelled",
            "definition": { "QueryLanguage": "JSONata", "StartAt": "Look", "States": {
                "Look": { "Type": "Task", "Resource": "kyc:ocr", "TimeoutSeconds": 60,
                    "BTrust.Labels": labels, "Next": "Done" },
                "Done": { "Type": "Succeed" } } }
        }))
    }

    #[test]
    fn a_task_says_which_labels_its_worker_needs() {
        let definition = parse(&json!({ "region": "eu", "gpu": true })).unwrap();
        let labels = definition.task_labels().unwrap();
        let expected: Vec<&str> = labels["Look"].iter().map(String::as_str).collect();
        assert_eq!(expected, ["gpu", "region=eu"]);
        assert_eq!(parse(&json!({})).unwrap().task_labels(), None);
    }

    #[test]
    fn a_label_that_is_no_word_is_refused_at_its_place() {
        let long = "x".repeat(LABEL_BYTES_MAX + 1);
        for labels in [
            json!({ "region": "" }),
            json!({ "region": "e u" }),
            json!({ "region": long }),
            json!({ "region": 1 }),
            json!({ "region": false }),
        ] {
            let findings = parse(&labels).unwrap_err();
            assert_eq!(findings[0].code, "label_invalid", "{labels}");
            assert!(findings[0].pointer.ends_with("/BTrust.Labels/region"));
        }
        let many: Map<String, Value> = (0..9).map(|it| (format!("l{it}"), json!(true))).collect();
        assert_eq!(
            parse(&Value::Object(many)).unwrap_err()[0].code,
            "too_many_labels"
        );
        assert_eq!(parse(&json!(["gpu"])).unwrap_err()[0].code, "wrong_type");
    }
}
