//! Definitions and the life of their versions, as the gateway asks core for them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::WorkflowId;

/// How a version stands; it only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionStatus {
    /// Stored and numbered; nothing starts on it.
    Draft,
    /// Workflows may start on it.
    Published,
    /// Nothing starts on it any more; what runs goes on.
    Retired,
}

impl VersionStatus {
    pub const ALL: [Self; 3] = [Self::Draft, Self::Published, Self::Retired];

    /// The wire form.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Published => "published",
            Self::Retired => "retired",
        }
    }

    /// The status that `text` spells, if any.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// Whether a new version is to be published in the call that stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// It stays a draft.
    No,
    /// Where the tenant leaves that to one person; otherwise it stays a draft.
    IfAllowed,
    /// Nothing is stored where the tenant asks for a second person.
    Yes,
}

/// Stores a version of a definition that has passed the gates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftRequest {
    pub tenant: String,
    pub name: String,
    /// The envelope with every `Resource` resolved to a major version.
    pub envelope: Value,
    /// SHA-256 hex of the envelope's canonical JSON; the same content keeps its version.
    pub digest: String,
    pub publish: Publish,
    pub actor: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftResponse {
    /// False when the same content had been stored before.
    pub created: bool,
    pub definition: DefinitionView,
}

/// Publishes a version; the gates have passed it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicationRequest {
    pub tenant: String,
    /// Whether new workflows get it from now on.
    pub live: bool,
    pub actor: String,
}

/// Lets nothing start on a version any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetirementRequest {
    pub tenant: String,
    pub actor: String,
}

/// Names the version that new workflows get.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveRequest {
    pub tenant: String,
    pub version: u32,
    /// The revision of the alias that the caller has seen; another one refuses the call.
    pub revision: Option<u64>,
    pub actor: String,
}

/// What anybody of the tenant may see of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionView {
    pub name: String,
    pub version: u32,
    pub title: String,
    pub digest: String,
    pub status: VersionStatus,
    /// Subject of the token that stored it; absent for versions older than this record.
    pub author: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    pub publisher: Option<String>,
    /// RFC 3339.
    pub published_at: Option<String>,
    pub retired_by: Option<String>,
    /// RFC 3339.
    pub retired_at: Option<String>,
    /// Whether the alias `live` names this version.
    pub live: bool,
    /// Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Value>,
}

/// One move of the alias `live`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveView {
    pub version: u32,
    /// Counts the moves, from 1.
    pub revision: u64,
    /// Absent for moves older than this record.
    pub moved_by: Option<String>,
    /// RFC 3339.
    pub moved_at: String,
}

/// The versions of a definition and the moves of its alias, the newest of both first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionsView {
    pub versions: Vec<DefinitionView>,
    pub moves: Vec<LiveView>,
}

/// Most versions, and most moves of the alias, that one answer lists.
///
/// Source: a definition that changes every week for two years has about a hundred of each.
pub const VERSIONS_LISTED_MAX: u32 = 200;

/// Moves running workflows of one version to another, or says what would happen.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationRequest {
    pub tenant: String,
    pub from: u32,
    pub to: u32,
    pub dry_run: bool,
    /// Workflows that this call looks at.
    pub limit: Option<u32>,
    /// `next` of the call before.
    pub cursor: Option<String>,
    pub actor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationView {
    /// Workflows that have moved, or would.
    #[serde(rename = "move")]
    pub moved: u64,
    /// Workflows that were refused. Where one node stops early, the rest of the page is looked at again with
    /// the next one, and what another node has refused of it is counted in both.
    pub cannot: u64,
    pub reasons: Vec<MigrationReason>,
    /// Absent when every workflow of the version has been looked at.
    pub next: Option<String>,
}

/// Moves these workflows, which are all of the node that is asked; spoken between nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrateSomeRequest {
    pub tenant: String,
    pub from: u32,
    pub to: u32,
    pub workflows: Vec<WorkflowId>,
    pub actor: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrateSomeView {
    pub moved: u64,
    pub cannot: u64,
    pub reasons: Vec<MigrationReason>,
    /// How many of the workflows, from the first, have been looked at.
    pub n_judged: usize,
}

/// Why some workflows cannot move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationReason {
    pub code: String,
    pub message: String,
    pub count: u64,
    /// A few of them.
    pub examples: Vec<WorkflowId>,
}
