//! What goes to the two streams: CloudEvents 1.0 without personal data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StreamName {
    Audit,
    Analytics,
}

/// One CloudEvent in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// `<workflow>.<incarnation>.<sequence>`, with a suffix per stream.
    pub id: String,
    /// `/tenants/<tenant>`.
    pub source: String,
    /// `com.btrust.workflow.closed`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The workflow.
    pub subject: String,
    /// RFC 3339.
    pub time: String,
    /// Partition key of the stream: the workflow.
    pub partitionkey: String,
    /// Gap-free per workflow and stream.
    pub sequence: String,
    /// Codes, ids, keyed digests and durations only.
    pub data: Value,
}
