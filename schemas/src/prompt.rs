//! What a step asks a person for, as the person's app sees it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{PromptId, WorkflowId};
use crate::turn::Audience;

/// One open question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromptView {
    pub id: PromptId,
    pub workflow: WorkflowId,
    /// Name of the state in the definition.
    pub state_name: String,
    /// The step with its major version: `kyc:otp@1`.
    pub resource: String,
    pub audience: Audience,
    pub kind: String,
    /// Typed by the step's prompt schema.
    pub body: Value,
    pub locale: String,
    /// RFC 3339.
    pub opened_at: String,
    /// RFC 3339.
    pub expires_at: String,
}

/// The prompts that the caller may answer, and how far the workflow is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromptsView {
    pub prompts: Vec<PromptView>,
    /// Number of the workflow's last event; send it back as `after` to wait for something newer.
    pub sequence: u64,
    pub status: crate::core::Status,
    pub decision: Option<String>,
}
