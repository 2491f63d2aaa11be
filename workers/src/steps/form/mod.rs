//! `kyc:form`: a person fills in fields that a JSON Schema describes.

use async_trait::async_trait;
use jsonschema::Validator;
use serde_json::{Value, json};

use btrust_schemas::step::form::{
    Arguments, EXPIRED, FieldError, Output, Prompt, SUBMITTED, Submission,
};
use btrust_schemas::turn::{Audience, TurnInput, TurnReason, TurnResult};

use super::{DAY_SECONDS, ttl_ms};
use crate::runtime::step::{ERROR_INPUT_INVALID, submission};
use crate::runtime::{Context, Fault, Step, arguments, ask, complete};

/// Turns at once; they only shuffle small JSON.
const IN_FLIGHT_MAX: u32 = 64;
/// Life of a form that the definition sets no limit for, in seconds: a week.
const TTL_SECONDS: u32 = 7 * DAY_SECONDS;
/// Findings shown at once; a form with more of them is read again from the top anyway.
const FIELD_ERRORS_MAX: usize = 50;

pub struct Form;

#[async_trait]
impl Step for Form {
    fn name(&self) -> &'static str {
        "form"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, _: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        let Arguments {
            fields,
            title,
            audience,
            ttl_seconds,
        } = arguments(&input)?;
        if let TurnReason::Expired { .. } = input.reason {
            return complete(EXPIRED, &Output { values: json!({}) });
        }
        let validator = jsonschema::draft202012::new(&fields)
            .map_err(|_| Fault::failed(ERROR_INPUT_INVALID, "`fields` is not a JSON Schema"))?;
        let mut errors = Vec::new();
        if let Some(Submission { values }) = submission(&input) {
            errors = field_errors(&validator, &values);
            if errors.is_empty() {
                return complete(SUBMITTED, &Output { values });
            }
        }
        let ttl_ms = ttl_ms(ttl_seconds, TTL_SECONDS);
        let prompt = Prompt {
            title,
            fields,
            errors,
        };
        Ok(TurnResult::Ask(ask(
            audience.unwrap_or(Audience::Applicant),
            "form",
            &prompt,
            &(),
            ttl_ms,
        )?))
    }
}

/// What is wrong with the values, without repeating them.
fn field_errors(validator: &Validator, values: &Value) -> Vec<FieldError> {
    let errors = validator.iter_errors(values).take(FIELD_ERRORS_MAX);
    errors
        .map(|error| FieldError {
            pointer: error.instance_path().to_string(),
            message: error.masked().to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, asked, completed};

    fn arguments() -> Value {
        json!({ "title": "About you", "fields": {
            "type": "object", "required": ["phone"], "additionalProperties": false,
            "properties": { "phone": { "type": "string", "pattern": "^\\+[0-9]{8,15}$" } }
        } })
    }

    #[tokio::test]
    async fn a_valid_form_is_submitted_with_its_values() {
        let bench = Bench::new().await;
        let first = bench.first(&Form, arguments()).await;
        assert_eq!(asked(&first).body["errors"], json!([]));
        let values = json!({ "phone": "+97250000000" });
        let (outcome, output) = completed(
            bench
                .answer(&Form, &first, json!({ "values": values }))
                .await,
        );
        assert_eq!((outcome.as_str(), &output["values"]), (SUBMITTED, &values));
    }

    #[tokio::test]
    async fn the_definition_says_who_fills_it_in() {
        let bench = Bench::new().await;
        let first = bench.first(&Form, arguments()).await;
        assert_eq!(asked(&first).audience, Audience::Applicant);
        let mut arguments = arguments();
        arguments["audience"] = json!("portal");
        let first = bench.first(&Form, arguments).await;
        assert_eq!(asked(&first).audience, Audience::Portal);
    }

    #[tokio::test]
    async fn a_wrong_field_is_asked_again_by_its_pointer_and_without_its_value() {
        let bench = Bench::new().await;
        let first = bench.first(&Form, arguments()).await;
        let again = bench
            .answer(&Form, &first, json!({ "values": { "phone": "fifty" } }))
            .await;
        let errors = &asked(&again).body["errors"];
        assert_eq!(errors[0]["pointer"], "/phone");
        assert!(!errors.to_string().contains("fifty"), "{errors}");
        let again = bench.answer(&Form, &again, json!({ "values": {} })).await;
        assert_eq!(asked(&again).body["errors"][0]["pointer"], "");
    }

    #[tokio::test]
    async fn a_form_whose_schema_is_none_fails_visibly() {
        let bench = Bench::new().await;
        let fault = bench
            .first(&Form, json!({ "fields": { "type": 7 } }))
            .await
            .unwrap_err();
        assert!(
            matches!(
                fault,
                Fault::Failed {
                    error: ERROR_INPUT_INVALID,
                    ..
                }
            ),
            "{fault:?}"
        );
    }

    #[tokio::test]
    async fn silence_expires() {
        let bench = Bench::new().await;
        let first = bench.first(&Form, arguments()).await;
        assert_eq!(completed(bench.expire(&Form, &first).await).0, EXPIRED);
    }
}
