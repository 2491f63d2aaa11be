//! Funnels: what the analytics stream adds up to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which funnels are asked for. Definitions and versions are always apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunnelQuery {
    pub tenant: String,
    pub definition: Option<String>,
    pub version: Option<i64>,
    /// RFC 3339: workflows started in the hour of this time or later.
    pub from: Option<String>,
    /// RFC 3339: workflows started before this time, which is a whole hour.
    pub to: Option<String>,
    /// `hour`, `device`, `language`, with commas between them.
    pub group_by: Option<String>,
}

/// Funnels in the order of definition, version and what else they are grouped by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunnelsView {
    /// How far quantiles may be from the true ones, as a part of them. Counts are exact.
    pub relative_error: f64,
    pub funnels: Vec<FunnelView>,
}

/// One funnel; only what it is grouped by is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunnelView {
    pub definition: String,
    /// That the workflows were started on.
    pub version: i64,
    /// RFC 3339: the hour in which the workflows were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    pub started: i64,
    /// Workflows that have ended, by status.
    pub closed: BTreeMap<String, i64>,
    pub decisions: BTreeMap<String, i64>,
    /// Decisions to approve or reject without a review on the way.
    pub decided_automatically: i64,
    /// The same as a part of all decisions; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_decision_rate: Option<f64>,
    pub redriven: i64,
    /// From start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<DurationsView>,
    /// In the order in which workflows come to them.
    pub steps: Vec<FunnelStepView>,
}

/// A state of the definition that runs a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunnelStepView {
    pub state: String,
    /// The steps that it has run, with their versions: one, but for drafts of one name.
    pub steps: Vec<String>,
    /// Runs begun; a state that is entered again is another run, a retry is not.
    pub entered: i64,
    /// Runs that have ended, by outcome.
    pub finished: BTreeMap<String, i64>,
    /// Runs whose last attempt has failed.
    pub failed: i64,
    /// Attempts that have failed, by error.
    pub errors: BTreeMap<String, i64>,
    pub retries: i64,
    /// Runs that were under way when their workflow ended.
    pub dropped_off: i64,
    /// The same as a part of those entered; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_off_rate: Option<f64>,
    pub in_progress: i64,
    /// Of runs with an outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<DurationsView>,
}

/// How long things took, in ms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DurationsView {
    pub count: i64,
    pub p50_ms: f64,
    pub p95_ms: f64,
}
