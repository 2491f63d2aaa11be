//! Data of `com.btrust.audit.checkpoint`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signed head of a tenant's log, with the records that it is the first to cover.
///
/// The records of one checkpoint may come in several events, each with some of its leaves, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointData {
    pub tenant: String,
    /// Counts restores of the store, from 1.
    pub incarnation: u64,
    /// Number of the checkpoint in its log.
    pub number: u64,
    /// Leaves that the log has.
    pub size: u64,
    /// Base64 of the SHA-256 root of the tree (RFC 9162).
    pub root: String,
    /// The signed note (C2SP `tlog-checkpoint`).
    pub note: String,
    /// Which of its events this is, from 0.
    pub chunk: u64,
    pub n_chunks: u64,
    /// Ids of records in the order of the log, from where the chunk before has ended.
    pub leaves: Vec<String>,
}
