//! `kyc:consent`: the person accepts or declines texts, each by id and version.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Declares;

pub const GIVEN: &str = "given";
pub const DECLINED: &str = "declined";
pub const EXPIRED: &str = "expired";

/// Which text, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TextRef {
    pub id: String,
    pub version: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// The texts to accept, all of them.
    #[schemars(length(min = 1, max = 20))]
    pub texts: Vec<TextRef>,
    /// How long the question stays open, seconds; a day when absent.
    #[schemars(range(min = 1, max = 2_592_000))]
    pub ttl_seconds: Option<u32>,
}

/// Prompt kind `consent`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    pub texts: Vec<TextRef>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "camelCase", deny_unknown_fields)]
pub enum Submission {
    /// Every text that the prompt showed is accepted.
    Accept {
        texts: Vec<TextRef>,
    },
    Decline,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    pub texts: Vec<TextRef>,
    /// RFC 3339; when the person answered.
    pub at: Option<String>,
}

pub(super) struct Consent;

impl Declares for Consent {
    const STEP: &'static str = "consent";
    const OUTCOMES: &'static [&'static str] = &[GIVEN, DECLINED, EXPIRED];
    type Arguments = Arguments;
    type Prompt = Prompt;
    type Submission = Submission;
    type Output = Output;
}
