//! Webhooks: endpoints of tenants that are told what happens to their workflows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the owner of an endpoint says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSpec {
    /// An https URL on the public internet.
    pub url: String,
    /// `workflow.closed`, `workflow.waiting`, `workflow.failed`.
    pub topics: Vec<String>,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whether it is called; one that the platform has stopped is called again when this is set anew.
    pub enabled: bool,
}

/// Adds an endpoint, or replaces what its owner says of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRequest {
    pub spec: EndpointSpec,
    /// The revision that the caller has seen; any, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    pub actor: String,
}

/// An endpoint as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView {
    pub id: String,
    pub url: String,
    pub topics: Vec<String>,
    pub description: String,
    /// `enabled`; `disabled` by its owner; `failing` or `gone`: stopped by the platform.
    pub status: String,
    pub revision: i64,
    /// Number of its latest delivery.
    pub sequence: i64,
    /// Since when nothing was taken, RFC 3339; absent when the latest was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    pub created_by: String,
    pub created_at: String,
    pub changed_by: String,
    pub changed_at: String,
}

/// The endpoints of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointsView {
    pub endpoints: Vec<EndpointView>,
}

/// A new endpoint, with the secret that nobody is shown again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewEndpointView {
    pub endpoint: EndpointView,
    /// `whsec_...`
    pub secret: String,
}

/// Whoever does something about an endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointAct {
    pub actor: String,
}

/// Gives an endpoint a new secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationRequest {
    /// How long the secrets before sign as well, s.
    pub overlap_seconds: u32,
    pub actor: String,
}

/// A new secret, which nobody is shown again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSecretView {
    /// `whsec_...`
    pub secret: String,
    /// Until when the secrets before sign as well, RFC 3339.
    pub others_until: String,
}

/// One event for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    /// The `webhook-id` of its calls.
    pub id: String,
    pub sequence: i64,
    /// The type in its body.
    pub topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// When the event happened, RFC 3339.
    pub at: String,
    /// `due`, `delivered` or `failed`.
    pub state: String,
    /// When the next attempt is due, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    pub n_attempts: i64,
    pub created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptView {
    /// Counts from 1, over all replays.
    pub number: i64,
    pub at: String,
    pub duration_ms: i64,
    /// The HTTP status that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    /// Why nothing was answered: `address` (the host is not found, or not all of its addresses are public), `connect`, `tls`, `timeout`, `broken`, `secrets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// A delivery with its attempts, the first one first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryDetailView {
    pub delivery: DeliveryView,
    pub attempts: Vec<AttemptView>,
}

/// Narrows a list of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only those of a lower sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Deliveries, the latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryPage {
    pub deliveries: Vec<DeliveryView>,
    /// What `before` is to be for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// Sends what happened since a time again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRequest {
    /// RFC 3339.
    pub since: String,
    /// Only what was given up.
    #[serde(default)]
    pub failed_only: bool,
    pub actor: String,
}

/// How much is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayView {
    pub n_deliveries: u64,
}
