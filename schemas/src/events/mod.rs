//! What goes to the two streams: CloudEvents 1.0 without personal data.
//!
//! Each type of event has its data as a type here, a JSON Schema in `schemas/json/event-*.json` and a line in
//! `schemas/EVENTS.md`; [`kinds`] lists them all. A change that a consumer has to know of is another version.

mod act;
mod analytics;
mod audit;
mod basis;
mod checkpoint;
mod history;
mod table;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use act::{
    Act, ActBy, ActData, ActKind, ActOutcome, ActTarget, ActorKind, REQUEST_ID_CHARS_MAX,
    ReportedAct, ReportedActs,
};
pub use analytics::{
    Device, StepFinished, StepStarted, WorkflowClosed, WorkflowRedriven, WorkflowStarted,
};
pub use audit::{WorkflowChanged, WorkflowDeleted};
pub use basis::{Basis, BasisModel};
pub use checkpoint::CheckpointData;
pub use history::HistorySummary;
pub use table::{EventKind, json_files, kinds, table_markdown};

/// What the types of all events begin with.
pub const TYPE_PREFIX: &str = "com.btrust.";

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
    /// `<subject>.<incarnation>.<sequence>.<stream>`.
    pub id: String,
    /// `/tenants/<tenant>`.
    pub source: String,
    /// `com.btrust.workflow.closed`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The workflow, or the act log of the tenant.
    pub subject: String,
    /// RFC 3339.
    pub time: String,
    /// `urn:btrust:event:<type>:<version>`, the `$id` of the schema of `data`. Absent before there were schemas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// Partition key of the stream: the subject.
    pub partitionkey: String,
    /// Gap-free per subject and stream.
    pub sequence: String,
    /// Codes, ids, keyed digests and durations only.
    pub data: Value,
}
