//! What operators do to workflows, and signals: the internal API of core, spoken by the gateway.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::{ListQuery, WorkflowView};
use crate::ids::WorkflowId;

/// Longest reason of an act, in characters.
pub const REASON_CHARS_MAX: usize = 256;
/// Most workflows that one call for many of them looks at.
///
/// Source: each costs a command; a call ends within seconds.
pub const MANY_LIMIT_MAX: u32 = 500;
/// Workflows that such a call looks at when the caller does not say.
pub const MANY_LIMIT_DEFAULT: u32 = 200;

/// Sends a signal to a workflow, once for each key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalRequest {
    pub tenant: String,
    pub name: String,
    pub payload: Value,
    pub idempotency_key: String,
    /// SHA-256 hex of the public request body: the same key with another digest is refused.
    pub request_digest: String,
    /// Subject of the caller's token.
    pub actor: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalResponse {
    /// False when the key had sent this signal before.
    pub created: bool,
    pub workflow: WorkflowView,
}

/// Pauses, resumes or terminates a workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActRequest {
    pub tenant: String,
    /// For the history; it is in no stream.
    pub reason: Option<String>,
    pub actor: String,
}

/// Lets a workflow that did not end well go on from where it failed, once for each key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveRequest {
    pub tenant: String,
    pub reason: Option<String>,
    pub idempotency_key: String,
    pub actor: String,
}

/// Starts a workflow that has ended again, as a new one, once for each key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartRequest {
    pub tenant: String,
    /// The version that the alias `live` names when absent.
    pub version: Option<u32>,
    pub idempotency_key: String,
    /// SHA-256 hex of the public request body and of the workflow: the same key with another digest
    /// is refused.
    pub request_digest: String,
    pub actor: String,
}

/// An act on many workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Pause,
    Resume,
}

/// Acts on the running workflows that a filter finds, a page at a time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManyRequest {
    pub act: Act,
    /// Its tenant's workflows; `limit` and `cursor` are of this call, `status` and `paused` are not used.
    pub filter: ListQuery,
    /// Counts and changes nothing.
    pub dry_run: bool,
    pub reason: Option<String>,
    pub actor: String,
}

/// What a call for many workflows has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManyView {
    /// Workflows that were changed, or would be.
    pub done: u64,
    /// Workflows that were as asked for already, or have ended meanwhile.
    pub unchanged: u64,
    /// Workflows that could not be changed, with the code of the first reason.
    pub refused: u64,
    pub refused_code: Option<String>,
    /// A few of those that were refused.
    pub examples: Vec<WorkflowId>,
    /// Send back as `cursor` for the rest.
    pub next: Option<String>,
}

/// What a start means whose key has started a workflow that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reuse {
    /// That workflow: the key means it for ever.
    #[default]
    Reject,
    /// A new workflow, if that one did not succeed.
    IfFailed,
    /// A new workflow.
    IfClosed,
}

/// What a start means whose key has started a workflow that is running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Conflict {
    /// That workflow, if it is the same request.
    #[default]
    Existing,
    /// Nothing: it is refused as `workflow_running`.
    Fail,
    /// A new workflow; that one is terminated in the same commit.
    Terminate,
}
