//! `kyc:read-items`: the items of a `Map` come from a stored file.
//!
//! The configuration is that of `ReaderConfig` in Step Functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Declares, Never};
use crate::object::ObjectRef;

pub const READ: &str = "read";

/// What a `Map` hands to its `ItemReader`: its `Arguments`, and its `ReaderConfig` as `config`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// The file, an object of this workflow.
    pub object: ObjectRef,
    pub config: ReaderConfig,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ReaderConfig {
    pub input_type: InputType,
    /// Where the names of the columns are; `CSV` only, and needed there.
    #[serde(rename = "CSVHeaderLocation")]
    pub csv_header_location: Option<HeaderLocation>,
    /// The names of the columns; with `GIVEN` only, and needed there.
    #[serde(rename = "CSVHeaders")]
    pub csv_headers: Option<Vec<String>>,
    /// `COMMA` when absent; `CSV` only.
    #[serde(rename = "CSVDelimiter")]
    pub csv_delimiter: Option<Delimiter>,
    /// Only the first items are read, as many as this says.
    #[schemars(range(min = 1))]
    pub max_items: Option<u32>,
    /// JSON pointer to the array within the document; the document itself when absent. `JSON` only.
    pub items_pointer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum InputType {
    /// A document that is, or has, an array.
    Json,
    /// A JSON value in each line.
    Jsonl,
    /// Rows of text; an item is an object with a text for each column.
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HeaderLocation {
    FirstRow,
    Given,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Delimiter {
    #[default]
    Comma,
    Pipe,
    Semicolon,
    Space,
    Tab,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// What the `Map` runs for, in the order of the file.
    pub items: Vec<Value>,
}

pub(super) struct ReadItems;

impl Declares for ReadItems {
    const STEP: &'static str = "read-items";
    const OUTCOMES: &'static [&'static str] = &[READ];
    type Arguments = Arguments;
    type Prompt = Never;
    type Submission = Never;
    type Output = Output;
    const ASKS: bool = false;
}
