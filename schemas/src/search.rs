//! Lists, counts, search attributes, legal holds and deletion.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::Status;
use crate::ids::WorkflowId;
use crate::turn::Audience;

/// A workflow as a list shows it: what is known without opening it. Its outcomes and its error are in
/// the workflow itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedWorkflow {
    pub id: WorkflowId,
    pub definition: String,
    pub version: u32,
    pub status: Status,
    /// Whom the oldest open prompt asks.
    pub waiting_for: Option<Audience>,
    pub paused: bool,
    pub decision: Option<String>,
    pub search_attributes: BTreeMap<String, Value>,
    pub legal_hold: bool,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub closed_at: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPage {
    pub workflows: Vec<ListedWorkflow>,
    /// A page with fewer workflows than asked for may still have a next one.
    pub next: Option<String>,
}

/// What a search attribute has to be: a value, or a range of numbers or times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttributeQuery {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// Inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Which workflows are counted, and by what. Days are those of UTC, as `2026-05-31`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountQuery {
    pub tenant: String,
    /// `started` (the default) or `closed`: whose day counts.
    pub basis: Option<String>,
    /// `status`, `definition`, `version`, `decision`, `day`, with commas between them.
    pub group_by: Option<String>,
    /// The first day.
    pub from: Option<String>,
    /// The day after the last.
    pub to: Option<String>,
    pub status: Option<Status>,
    pub is_open: Option<bool>,
    pub definition: Option<String>,
    pub version: Option<u32>,
    pub decision: Option<String>,
    pub open_prompt: Option<Audience>,
    pub started_after: Option<String>,
    pub started_before: Option<String>,
    /// JSON of a list of [`AttributeQuery`].
    pub attributes: Option<String>,
}

/// How many workflows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountsView {
    /// All that were asked for; with `isExact` false there are at least so many.
    pub count: u64,
    pub is_exact: bool,
    pub groups: Vec<CountGroup>,
}

/// One group; only what it is grouped by is there, and `decision` only where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountGroup {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    pub count: u64,
}

/// Gives search attributes other values; null takes one away.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttributesRequest {
    pub tenant: String,
    pub changes: BTreeMap<String, Value>,
    pub actor: String,
}

/// Places or releases a legal hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldRequest {
    pub tenant: String,
    pub hold: bool,
    pub actor: String,
}

/// Deletes a closed workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionRequest {
    pub tenant: String,
    pub actor: String,
}
