//! The nodes of core, as core tells of them.

use serde::{Deserialize, Serialize};

/// One node that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// Random name of this run of the node.
    pub node: String,
    /// Base URL of its internal API.
    pub url: String,
    pub started_at: String,
    /// Partitions that it owns now.
    pub n_partitions: u32,
}

/// Every node that lives, and what the one who answers has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodesView {
    pub nodes: Vec<NodeView>,
    /// Partitions that the node which answers serves now.
    pub n_owned: usize,
    /// Its fair share.
    pub n_wanted: usize,
}

/// What a workflow of one node has to say to one of another, sealed under a key of the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedParcel {
    pub tenant: String,
    /// Base64.
    pub sealed: String,
}
