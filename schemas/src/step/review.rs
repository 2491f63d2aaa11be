//! `kyc:review`: the bank's own people look and decide, two of them where it says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Declares;

pub const APPROVED: &str = "approved";
pub const REJECTED: &str = "rejected";
pub const RESUBMIT: &str = "resubmit";
pub const EXPIRED: &str = "expired";

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// Why a person must look; codes.
    pub reasons: Vec<String>,
    /// What the reviewer sees: outputs and object references.
    pub context: Option<Value>,
    /// Whether an approval needs a second, different person.
    pub four_eyes: Option<bool>,
    /// How long the case waits for each person, seconds; a week when absent.
    #[schemars(range(min = 1, max = 2_592_000))]
    pub ttl_seconds: Option<u32>,
}

/// Prompt kind `review`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    pub reasons: Vec<String>,
    pub context: Option<Value>,
    /// 1, or 2 for the second person of four eyes.
    pub seat: u32,
    /// Why the last answer did not count: `same_reviewer`, `own_case`.
    pub refused: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    Approved,
    Rejected,
    Resubmit,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submission {
    pub decision: Decision,
    /// At least one code says why.
    #[schemars(length(min = 1, max = 20))]
    pub reason_codes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Whether two different people approved.
    pub four_eyes: bool,
    /// Token subjects of those who decided, in order.
    pub reviewers: Vec<String>,
    pub reason_codes: Vec<String>,
}

pub(super) struct Review;

impl Declares for Review {
    const STEP: &'static str = "review";
    const OUTCOMES: &'static [&'static str] = &[APPROVED, REJECTED, RESUBMIT, EXPIRED];
    type Arguments = Arguments;
    type Prompt = Prompt;
    type Submission = Submission;
    type Output = Output;
}
