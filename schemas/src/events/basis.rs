//! What a step's result rests on beside what the person sent: models and thresholds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most models and most thresholds of one result.
///
/// Source: three times what the step with the most of them has.
const PARTS_MAX: usize = 16;
/// Longest name of a model, a role or a threshold, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The public part of a step's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Basis {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<BasisModel>,
    /// The limits that the result was judged by, by their names in the step's contract.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, f64>,
}

/// A model that took part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasisModel {
    /// `face-embedding`, ...
    pub role: String,
    pub name: String,
    /// SHA-256 hex of the file that ran.
    pub sha256: String,
}

impl Basis {
    /// The members `models`, `thresholds` and `signals` of a step's output, as far as they are what contracts of
    /// steps say: names, digests and numbers. Whatever else an output holds is nobody's business here, and
    /// neither is a member that looks otherwise.
    #[must_use]
    pub fn of_output(output: &Value) -> Option<Self> {
        let list = |name: &str| output.get(name).and_then(Value::as_array);
        let models = list("models").into_iter().flatten().take(PARTS_MAX);
        let limits = output.get("thresholds").and_then(Value::as_object);
        let limits = limits.into_iter().flatten();
        let limits = limits.map(|(name, it)| (name.as_str(), it));
        let signals = list("signals").into_iter().flatten();
        let signals =
            signals.filter_map(|it| Some((it.get("name")?.as_str()?, it.get("threshold")?)));
        let basis = Self {
            models: models.filter_map(BasisModel::of).collect(),
            thresholds: limits
                .chain(signals)
                .take(PARTS_MAX)
                .filter(|(name, _)| is_name(name))
                .filter_map(|(name, it)| Some((name.to_owned(), it.as_f64()?)))
                .collect(),
        };
        (basis != Self::default()).then_some(basis)
    }
}

impl BasisModel {
    fn of(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let (role, name, sha256) = (text("role")?, text("name")?, text("sha256")?);
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|it| it.is_ascii_hexdigit());
        (is_name(role) && is_name(name) && is_digest).then(|| Self {
            role: role.to_owned(),
            name: name.to_owned(),
            sha256: sha256.to_owned(),
        })
    }
}

/// A word of ours: letters, digits, `-`, `_` and `.`, beginning with a letter.
fn is_name(text: &str) -> bool {
    let is_of_names = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|it: char| it.is_ascii_alphabetic())
        && text.bytes().all(is_of_names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_output_gives_its_models_and_thresholds_and_nothing_else() {
        let digest = "ab".repeat(32);
        let output = json!({
            "score": 0.8, "name": "Erika Mustermann", "thresholds": { "matchMin": 0.5, "who": "Erika", "a b": 1 },
            "signals": [{ "name": "blink", "threshold": 0.2, "score": 1.5 }, { "name": "Erika M", "threshold": 1 }],
            "models": [{ "role": "face-embedding", "name": "sface", "sha256": digest, "who": "Erika" },
                { "role": "face", "name": "Erika Mustermann", "sha256": digest },
                { "role": "face", "name": "x", "sha256": "Erika" }],
        });
        let basis = Basis::of_output(&output).unwrap();
        let expected = json!({
            "models": [{ "role": "face-embedding", "name": "sface", "sha256": digest }],
            "thresholds": { "blink": 0.2, "matchMin": 0.5 },
        });
        assert_eq!(serde_json::to_value(basis).unwrap(), expected);
        assert_eq!(Basis::of_output(&json!({ "models": "x" })), None);
        assert_eq!(Basis::of_output(&json!([1])), None);
    }
}
