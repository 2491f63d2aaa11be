//! What each step takes as a submission.

use std::collections::HashMap;

use jsonschema::Validator;
use serde_json::{Value, json};

use btrust_schemas::step::catalogue;

/// How many findings one answer lists.
const FINDINGS_MAX: usize = 32;

/// The compiled submission schema of every step, by resource (`kyc:otp@1`).
pub struct SubmissionSchemas {
    by_resource: HashMap<String, Validator>,
}

impl SubmissionSchemas {
    /// # Panics
    ///
    /// If a published schema is not a JSON Schema; a test looks at all of them.
    #[must_use]
    pub fn new() -> Self {
        let by_resource = catalogue().into_iter().filter_map(|contract| {
            let schema = contract.submission.as_ref()?;
            let validator = jsonschema::validator_for(schema)
                .expect("schemas generated from our own types are JSON Schemas");
            Some((
                format!("kyc:{}@{}", contract.step, contract.major),
                validator,
            ))
        });
        Self {
            by_resource: by_resource.collect(),
        }
    }

    /// Checks the body of a submission. A step that is not known here, of a newer
    /// core, is checked by its worker.
    ///
    /// # Errors
    ///
    /// What is wrong, each with a JSON pointer; never with the value, which is
    /// somebody's.
    pub fn check(&self, resource: &str, body: &Value) -> Result<(), Vec<Value>> {
        let Some(validator) = self.by_resource.get(resource) else {
            return Ok(());
        };
        let findings: Vec<Value> = validator
            .iter_errors(body)
            .take(FINDINGS_MAX)
            .map(|error| {
                json!({
                    "pointer": format!("/body{}", error.instance_path()),
                    "message": error.masked().to_string(),
                })
            })
            .collect();
        if findings.is_empty() {
            Ok(())
        } else {
            Err(findings)
        }
    }
}

impl Default for SubmissionSchemas {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_checked_against_the_schema_of_its_step() {
        let schemas = SubmissionSchemas::new();
        let good = json!({ "action": "answer", "code": "123456" });
        assert_eq!(schemas.check("kyc:otp@1", &good), Ok(()));

        let bad = json!({ "action": "answer", "code": "12345678901234567890" });
        let findings = schemas.check("kyc:otp@1", &bad).unwrap_err();
        assert!(!findings.is_empty());
        assert!(
            !json!(findings).to_string().contains("1234567890"),
            "{findings:?}"
        );

        assert!(schemas.check("kyc:otp@1", &json!("123456")).is_err());
        assert!(schemas.check("kyc:form@1", &good).is_err());
    }
}
