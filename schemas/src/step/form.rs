//! `kyc:form`: a person fills in fields that a JSON Schema describes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Declares;
use crate::turn::Audience;

pub const SUBMITTED: &str = "submitted";
pub const EXPIRED: &str = "expired";

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// JSON Schema 2020-12 of the values, an object.
    pub fields: Value,
    pub title: Option<String>,
    /// Who fills it in; the applicant when absent, the bank's own portal for an agent at a branch.
    pub audience: Option<Audience>,
    /// How long the form stays open, seconds; a week when absent.
    #[schemars(range(min = 1, max = 2_592_000))]
    pub ttl_seconds: Option<u32>,
}

/// Prompt kind `form`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    pub title: Option<String>,
    pub fields: Value,
    /// What was wrong with the last answer, each with a JSON pointer.
    pub errors: Vec<FieldError>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    pub pointer: String,
    pub message: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submission {
    pub values: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// What the form's own schema allows; empty with `expired`.
    pub values: Value,
}

pub(super) struct Form;

impl Declares for Form {
    const STEP: &'static str = "form";
    const OUTCOMES: &'static [&'static str] = &[SUBMITTED, EXPIRED];
    type Arguments = Arguments;
    type Prompt = Prompt;
    type Submission = Submission;
    type Output = Output;
}
