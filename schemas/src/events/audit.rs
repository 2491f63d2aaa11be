//! Data of the audit records of workflows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HistorySummary;

/// Data of `com.btrust.workflow.changed`: one commit of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowChanged {
    pub definition: String,
    pub version: i64,
    /// Numbers in the workflow's history.
    pub first_event: Option<u64>,
    pub last_event: Option<u64>,
    pub events: Vec<HistorySummary>,
    /// SHA-256 hex of the sealed events.
    pub sealed_sha256: String,
    /// The hash of the subject's record before this one; 64 zeros in the first.
    pub previous_hash: String,
    /// SHA-256 hex of the record's bytes before `,"hash"`.
    pub hash: String,
}

/// Data of `com.btrust.workflow.deleted`: the last record of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowDeleted {
    pub definition: String,
    pub version: i64,
    /// `retention` or `operator`.
    pub reason: String,
    /// Subject of the operator's token.
    pub by: Option<String>,
    /// The policy that kept it until now.
    pub retention: Option<String>,
    pub sealed_sha256: String,
    pub previous_hash: String,
    pub hash: String,
}
