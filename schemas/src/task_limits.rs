//! What an operator limits and prefers when tasks are handed to workers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Largest weight of a tenant.
pub const WEIGHT_MAX: u32 = 1_000;
/// Most entries of one kind in the document.
///
/// Source: a platform has hundreds of tenants and tens of steps; this bounds the document.
pub const ENTRIES_MAX: usize = 10_000;
/// Most labels that a tenant's tasks ask for.
pub const TENANT_LABELS_MAX: usize = 8;
/// Longest label, in bytes: a name and a value of 63 each with `=` between.
pub const LABEL_BYTES_MAX: usize = 127;

/// The limits of the whole platform; what is not named is not limited.
///
/// Every core node enforces its share: the limit divided by the nodes that live, and at least one turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TaskLimits {
    /// By step, without version: `ocr`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<String, TurnLimit>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, TenantLimits>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub step_tenants: Vec<StepTenantLimit>,
}

/// How many turns may begin, and run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TurnLimit {
    /// Turns that begin in a second; 0 stops them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// Turns that may begin at once after a quiet time; as many as in a second when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Turns that workers hold at once; 0 stops them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TenantLimits {
    pub turns: TurnLimit,
    /// How many turns the tenant gets where another one gets one, 1 to [`WEIGHT_MAX`]; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Labels that a worker must have for any of the tenant's tasks: `region=eu`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Workflows that start in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_per_second: Option<u32>,
    /// Workflows that may start at once after a quiet time; as many as in a second when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_burst: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepTenantLimit {
    pub step: String,
    pub tenant: String,
    pub turns: TurnLimit,
}

impl TaskLimits {
    /// Reads and checks a document.
    ///
    /// # Errors
    ///
    /// What is wrong, for people.
    pub fn parse(document: Value) -> Result<Self, String> {
        // serde takes an empty array for a structure without fields.
        if !document.is_object() {
            return Err("the limits are a JSON object".to_owned());
        }
        let limits: Self = serde_json::from_value(document).map_err(|it| it.to_string())?;
        limits.check()?;
        Ok(limits)
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    ///
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            self.steps.len(),
            self.tenants.len(),
            self.step_tenants.len(),
        ];
        if sizes.into_iter().any(|it| ENTRIES_MAX < it) {
            return Err(format!("there are at most {ENTRIES_MAX} entries of a kind"));
        }
        for (tenant, limits) in &self.tenants {
            if limits
                .weight
                .is_some_and(|it| !(1..=WEIGHT_MAX).contains(&it))
            {
                return Err(format!(
                    "the weight of `{tenant}` is not from 1 to {WEIGHT_MAX}"
                ));
            }
            if TENANT_LABELS_MAX < limits.labels.len() {
                return Err(format!(
                    "`{tenant}` has more than {TENANT_LABELS_MAX} labels"
                ));
            }
            if let Some(label) = limits.labels.iter().find(|it| !is_label(it)) {
                return Err(format!("`{label}` of `{tenant}` is not a label"));
            }
        }
        Ok(())
    }
}

/// Whether a text is a label: `name` or `name=value`, of letters, digits, `.`, `_` and `-`.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
    let is_word = |it: &str| !it.is_empty() && it.bytes().all(is_plain);
    text.len() <= LABEL_BYTES_MAX
        && match text.split_once('=') {
            None => is_word(text),
            Some((name, value)) => is_word(name) && is_word(value),
        }
}

/// The limits as they are, and which version of them that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskLimitsView {
    /// Counts the changes; 0 while the setting `TASK_LIMITS` holds.
    pub revision: u64,
    pub limits: TaskLimits,
    /// Who changed them last.
    pub changed_by: Option<String>,
    /// RFC 3339.
    pub changed_at: Option<String>,
}

/// Replaces the limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskLimitsRequest {
    pub limits: TaskLimits,
    /// The revision that the caller has seen; another one refuses the change.
    pub expected: Option<u64>,
    pub actor: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_wire_and_wrong_ones_are_named() {
        let text = r#"{"steps":{"ocr":{"perSecond":5,"burst":10}},
            "tenants":{"acme":{"weight":3,"labels":["region=eu","gpu"]}},
            "stepTenants":[{"step":"ocr","tenant":"acme","turns":{"concurrent":2}}]}"#;
        let limits: TaskLimits = serde_json::from_str(text).unwrap();
        let again = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<TaskLimits>(&again).unwrap(), limits);
        assert_eq!(limits.check(), Ok(()));
        for wrong in [
            r#"{"tenants":{"acme":{"weight":0}}}"#,
            r#"{"tenants":{"acme":{"labels":["a=b=c"]}}}"#,
            r#"{"tenants":{"acme":{"labels":["=b"]}}}"#,
        ] {
            let limits: TaskLimits = serde_json::from_str(wrong).unwrap();
            assert!(limits.check().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<TaskLimits>(r#"{"step":{}}"#).is_err());
        for wrong in ["[]", "null", r#"{"step":{}}"#] {
            let document = serde_json::from_str(wrong).unwrap();
            assert!(TaskLimits::parse(document).is_err(), "{wrong}");
        }
    }
}
