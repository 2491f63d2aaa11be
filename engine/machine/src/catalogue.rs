//! The steps that a definition may name, as their contracts publish them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Scheme of every `Resource` that names a step: `kyc:otp` or `kyc:otp@1`.
pub(crate) const RESOURCE_SCHEME: &str = "kyc:";

/// The `Resource` of a task whose attempts are workflows of their own.
pub(crate) const CHILD_RESOURCE: &str = "btrust:workflow";
/// The `Resource` of a task that waits for a signal; the machine carries it out itself.
pub(crate) const SIGNAL: &str = "btrust:signal";

/// End of a `Resource` whose attempt ends when its token is sent back.
pub(crate) const WAIT_FOR_TASK_TOKEN: &str = ".waitForTaskToken";

/// Every step that the platform offers, by name.
///
/// The key is the step (`otp`) for its newest major version; older majors may be kept as `otp@1`.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub steps: BTreeMap<String, Contract>,
}

/// What one major version of a step promises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contract {
    /// The step's name without scheme and version, such as `otp`.
    pub step: String,
    pub major: u32,
    /// Every outcome that a run can end with; it never grows within a major version.
    pub outcomes: Vec<String>,
    /// JSON Schema of `Arguments`.
    pub arguments_schema: Value,
    /// JSON Schema of the `output` of a result.
    pub output_schema: Value,
    /// Digest over the contract, stored with the definition that was published against it.
    pub hash: String,
}

impl Contract {
    /// The resource with its version, such as `kyc:otp@1`.
    #[must_use]
    pub fn resource(&self) -> String {
        format!("{RESOURCE_SCHEME}{}@{}", self.step, self.major)
    }
}

impl Contract {
    /// What a task with the resource `btrust:signal` takes.
    pub(crate) fn of_signal() -> Self {
        Self {
            step: SIGNAL.to_owned(),
            major: 1,
            outcomes: Vec::new(),
            arguments_schema: serde_json::json!({
                "type": "object",
                "required": ["name"],
                "properties": {"name": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": crate::limits::SIGNAL_NAME_CHARS_MAX,
                }},
                "additionalProperties": false,
            }),
            output_schema: Value::Bool(true),
            hash: String::new(),
        }
    }
}

/// Whether the machine carries out the resource itself, so that no catalogue has it.
pub(crate) fn is_own(resource: &str) -> bool {
    resource == SIGNAL
}

impl Catalogue {
    /// Finds the contract that a `Resource` means; without a version that is the newest.
    #[must_use]
    pub fn resolve(&self, resource: &str) -> Option<&Contract> {
        let (step, major) = split_resource(resource)?;
        match major {
            None => self.steps.get(step),
            Some(major) => self
                .steps
                .get(&format!("{step}@{major}"))
                .or_else(|| self.steps.get(step))
                .filter(|it| it.major == major),
        }
    }
}

/// Splits `kyc:otp@1` into step and major version; `None` if it is not spelt like a step.
pub(crate) fn split_resource(resource: &str) -> Option<(&str, Option<u32>)> {
    let rest = resource.strip_prefix(RESOURCE_SCHEME)?;
    let (step, major) = match rest.split_once('@') {
        None => (rest, None),
        Some((step, major)) => (step, Some(major.parse().ok().filter(|it| 0 < *it)?)),
    };
    let is_name = !step.is_empty()
        && step
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-');
    is_name.then_some((step, major))
}
