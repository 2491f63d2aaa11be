//! References to evidence: pictures never enter history, only what names and proves them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::ObjectId;

/// Names one stored object and pins its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    pub object: ObjectId,
    /// SHA-256 of the plain bytes, 64 hex digits.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: String,
    /// Media type by content.
    pub media_type: String,
    /// Size of the plain bytes.
    pub bytes: u64,
}
