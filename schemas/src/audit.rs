//! What the Merkle log of a tenant's audit records shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointView {
    /// Which life of the database the log belongs to.
    pub incarnation: i64,
    /// From 1 without gaps in a log.
    pub number: i64,
    /// Records that it covers.
    pub size: i64,
    /// RFC 3339.
    pub at: String,
    /// The C2SP signed note.
    pub note: String,
}

/// Checkpoints in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointsView {
    pub checkpoints: Vec<CheckpointView>,
    /// Send it back as `after`; null on the last page.
    pub next: Option<i64>,
}

/// A key that signs or has signed checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditKeyView {
    /// `name+hash+key`, as signed notes spell public keys.
    pub key: String,
    /// RFC 3339.
    pub since: String,
    /// RFC 3339; null for the key that signs now.
    pub until: Option<String>,
}

/// Every key, the one that signs now last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditKeysView {
    pub keys: Vec<AuditKeyView>,
    /// Notes in which a key introduces the next one.
    pub rotations: Vec<String>,
}

/// The proof that a record is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InclusionView {
    pub incarnation: i64,
    /// Index of the leaf, from 0.
    pub leaf: i64,
    /// Base64.
    pub leaf_hash: String,
    /// The hashes of RFC 9162, section 2.1.3, base64.
    pub proof: Vec<String>,
    /// The exact bytes of the record, where it was asked for by workflow and sequence.
    pub record: Option<String>,
    /// The checkpoint that the proof leads to.
    pub checkpoint: CheckpointView,
}

/// The proof that a log is the beginning of a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsistencyView {
    pub incarnation: i64,
    pub from: i64,
    pub to: i64,
    /// The hashes of RFC 9162, section 2.1.4, base64.
    pub proof: Vec<String>,
}
