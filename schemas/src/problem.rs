//! The one error body of every HTTP API here (RFC 9457).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong; `code` is stable and for programs, `detail` is for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{code}: {detail}")]
pub struct Problem {
    /// `urn:btrust:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    pub code: String,
    pub detail: String,
    /// The single findings of a refused document, each with a JSON pointer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Value>,
}

impl Problem {
    /// A problem whose title is the code in words.
    #[must_use]
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:btrust:problem:{code}"),
            title: code.replace('_', " "),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// The same problem with the single findings that caused it.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Value>) -> Self {
        self.errors = errors;
        self
    }
}
