//! How workflows belong together, and what they say to each other between two nodes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::WorkflowId;

/// Where a workflow comes from and where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lineage {
    /// The workflow that waits for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<WorkflowId>,
    /// The run that this one goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_from: Option<WorkflowId>,
    /// The run that goes on from this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_as: Option<WorkflowId>,
    /// The schedule that has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}
