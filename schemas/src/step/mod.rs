//! The contracts of the steps: what each takes, asks, accepts and answers, and the words it may end with.
//!
//! A new step is one file here, one line in [`catalogue`], and one folder in the workers.

pub mod consent;
pub mod face_match;
pub mod form;
pub mod liveness;
pub mod ocr;
pub mod otp;
pub mod read_items;
pub mod review;
pub mod write_results;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The published contract of one major version of a step.
#[derive(Clone, Debug)]
pub struct Contract {
    /// Queue and resource name: `kyc:<step>`.
    pub step: &'static str,
    pub major: u32,
    /// Every word the step may end with; never grows within a major version.
    pub outcomes: &'static [&'static str],
    pub arguments: Value,
    /// `None` for a step that never asks.
    pub prompt: Option<Value>,
    pub submission: Option<Value>,
    pub output: Value,
}

impl Contract {
    /// SHA-256 hex of the contract; stored with every definition that uses it.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.to_json().to_string()))
    }

    /// The contract as one JSON document, the form committed under `schemas/json/`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "step": self.step, "major": self.major, "outcomes": self.outcomes,
            "arguments": self.arguments, "prompt": self.prompt,
            "submission": self.submission, "output": self.output,
        })
    }
}

/// What a step file declares; [`catalogue`] turns it into a [`Contract`].
trait Declares {
    const STEP: &'static str;
    const MAJOR: u32 = 1;
    const OUTCOMES: &'static [&'static str];
    type Arguments: JsonSchema;
    type Prompt: JsonSchema;
    type Submission: JsonSchema;
    type Output: JsonSchema;
    /// Whether the step has prompts at all.
    const ASKS: bool = true;
}

/// Every step that this version of the platform can run.
#[must_use]
pub fn catalogue() -> Vec<Contract> {
    vec![
        contract::<consent::Consent>(),
        contract::<otp::Otp>(),
        contract::<ocr::Ocr>(),
        contract::<liveness::Liveness>(),
        contract::<face_match::FaceMatch>(),
        contract::<form::Form>(),
        contract::<review::Review>(),
        contract::<read_items::ReadItems>(),
        contract::<write_results::WriteResults>(),
    ]
}

/// The contract of `step`, without version or `kyc:`.
#[must_use]
pub fn find(step: &str) -> Option<Contract> {
    catalogue().into_iter().find(|it| it.step == step)
}

fn contract<D: Declares>() -> Contract {
    Contract {
        step: D::STEP,
        major: D::MAJOR,
        outcomes: D::OUTCOMES,
        arguments: schema::<D::Arguments>(),
        prompt: D::ASKS.then(schema::<D::Prompt>),
        submission: D::ASKS.then(schema::<D::Submission>),
        output: schema::<D::Output>(),
    }
}

/// The JSON Schema (2020-12) of `T`, self-contained.
pub(crate) fn schema<T: JsonSchema>() -> Value {
    let generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    let schema: Schema = generator.into_root_schema_for::<T>();
    schema.to_value()
}

/// A model that took part in a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelUse {
    /// Role in the manifest: `face-embedding`, ...
    pub role: String,
    pub name: String,
    /// SHA-256 hex of the file that ran.
    pub sha256: String,
}

/// A step that never asks has no prompt and takes no submission.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Never {}

/// The files under `schemas/json/`: name and content of each contract and of the shared wire types.
#[must_use]
pub fn json_files() -> Vec<(String, String)> {
    let pretty = |value: &Value| format!("{value:#}\n");
    let mut files: Vec<_> = catalogue()
        .iter()
        .map(|it| (format!("step-{}.json", it.step), pretty(&it.to_json())))
        .collect();
    for (name, schema) in [
        ("problem", schema::<crate::problem::Problem>()),
        ("prompts", schema::<crate::prompt::PromptsView>()),
        ("workflow", schema::<crate::core::WorkflowView>()),
        ("cloud-event", schema::<crate::events::CloudEvent>()),
    ] {
        files.push((format!("{name}.json"), pretty(&schema)));
    }
    files.extend(crate::events::json_files());
    files
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_schemas_are_those_of_the_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("json");
        let files = json_files();
        for (name, content) in &files {
            let committed = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(
                committed == *content,
                "schemas/json/{name} is stale: run `make schemas`"
            );
        }
        let expected: BTreeSet<_> = files.into_iter().map(|(name, _)| name).collect();
        let found: BTreeSet<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(
            found, expected,
            "schemas/json has files of no contract: delete them"
        );
    }

    #[test]
    fn outcomes_are_distinct_words_and_asking_steps_can_expire() {
        for contract in catalogue() {
            let distinct: BTreeSet<_> = contract.outcomes.iter().collect();
            assert_eq!(distinct.len(), contract.outcomes.len(), "{}", contract.step);
            assert_eq!(
                contract.prompt.is_some(),
                contract.outcomes.contains(&"expired"),
                "{}",
                contract.step
            );
            assert_eq!(
                contract.prompt.is_some(),
                contract.submission.is_some(),
                "{}",
                contract.step
            );
        }
    }

    #[test]
    fn a_changed_contract_has_another_hash() {
        let mut contract = find("otp").unwrap();
        let before = contract.hash();
        contract.outcomes = &["verified"];
        assert_ne!(contract.hash(), before);
    }
}
