//! `kyc:write-results`: the results of a `Map` go to a stored file.
//!
//! The configuration is that of `WriterConfig` in Step Functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Declares, Never};
use crate::object::ObjectRef;

pub const WRITTEN: &str = "written";

/// What a `Map` hands to its `ResultWriter`: its `WriterConfig` as `config`, and the outputs of its items.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    #[serde(default)]
    pub config: WriterConfig,
    /// One for each item, in the order of the items.
    pub results: Vec<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WriterConfig {
    /// `JSON` when absent.
    #[serde(default)]
    pub output_type: OutputType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum OutputType {
    /// One array.
    #[default]
    Json,
    /// A result in each line.
    Jsonl,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The file, an object of this workflow.
    pub result: ObjectRef,
    /// How many results it holds.
    pub count: usize,
}

pub(super) struct WriteResults;

impl Declares for WriteResults {
    const STEP: &'static str = "write-results";
    const OUTCOMES: &'static [&'static str] = &[WRITTEN];
    type Arguments = Arguments;
    type Prompt = Never;
    type Submission = Never;
    type Output = Output;
    const ASKS: bool = false;
}
