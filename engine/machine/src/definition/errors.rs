//! Names of errors that may be shown to anybody: the language's, the platform's and the definition's own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Definition;

/// What the names of the language and of the platform begin with.
const PREFIXES: [&str; 2] = ["States.", "BTrust."];
/// Longest name behind such a prefix, in bytes.
const WORD_BYTES_MAX: usize = 40;

/// The names that a document writes down: what it fails with, retries and catches.
pub(super) fn written(document: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(document, &mut names);
    names
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, it) in fields {
                match it {
                    // An expression is not written down: it may be anything.
                    Value::String(name) if key == "Error" && !name.starts_with("{%") => {
                        names.insert(name.clone());
                    }
                    Value::Array(items) if key == "ErrorEquals" => {
                        let texts = items.iter().filter_map(Value::as_str);
                        names.extend(texts.map(str::to_owned));
                    }
                    _ => collect(it, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|it| collect(it, names)),
        _ => {}
    }
}

impl Definition {
    /// Whether an error's name is the language's, the platform's or written in the definition.
    ///
    /// Any other has been made while the workflow ran, by a worker, a bank's system or an expression, and may
    /// be anything.
    #[must_use]
    pub fn names_error(&self, name: &str) -> bool {
        let is_word = |it: &str| {
            (1..=WORD_BYTES_MAX).contains(&it.len())
                && it.bytes().all(|it| it.is_ascii_alphabetic())
        };
        let is_known = |prefix: &str| name.strip_prefix(prefix).is_some_and(is_word);
        PREFIXES.into_iter().any(is_known) || self.errors.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_written_down_or_ours_is_shown() {
        let document = json!({ "StartAt": "A", "QueryLanguage": "JSONata", "States": {
            "A": { "Type": "Task", "Resource": "anything", "End": true, "TimeoutSeconds": 1,
                "Catch": [{ "ErrorEquals": ["CardDeclined"], "Next": "B" }] },
            "B": { "Type": "Fail", "Error": "{% $states.input.name %}" },
            "C": { "Type": "Fail", "Error": "TooYoung" },
        }});
        let definition = Definition::parse_states(&document).unwrap();
        for name in [
            "CardDeclined",
            "TooYoung",
            "States.Timeout",
            "BTrust.EvidenceMissing",
        ] {
            assert!(definition.names_error(name), "{name}");
        }
        for name in [
            "Erika",
            "{% $states.input.name %}",
            "States.",
            "BTrust.Erika 1964",
            "States.x1",
            "",
        ] {
            assert!(!definition.names_error(name), "{name}");
        }
    }
}
