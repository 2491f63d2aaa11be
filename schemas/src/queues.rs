//! How much waits for workers: the signal that scales fleets.

use serde::{Deserialize, Serialize};

/// Every queue of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuesView {
    pub queues: Vec<QueueView>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueView {
    /// Without version: `otp`.
    pub step: String,
    /// Turns that wait for a worker.
    pub waiting: u64,
    /// Age of the one that has waited longest, ms.
    pub oldest_ms: i64,
    /// Turns that workers hold.
    pub in_flight: u64,
    /// Turns that no worker offers the labels for.
    pub no_worker: u64,
    /// By priority and labels, the highest priority first.
    pub groups: Vec<QueueGroup>,
}

/// The turns of one step that ask for the same labels with the same priority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueGroup {
    pub priority: u8,
    /// What they ask for, such as `gpu,region=eu`.
    pub labels: String,
    pub waiting: u64,
    pub oldest_ms: i64,
    /// Whether a worker that lives may take them.
    pub has_worker: bool,
}
