//! The one call between a worker and a core node: results in, new tasks out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::turn::{TurnInput, TurnKey, TurnResult};

/// Longest time a core node holds an exchange without tasks or late acks, ms.
///
/// Source: below the 30 s idle limits common to load balancers.
pub const EXCHANGE_WAIT_MAX_MS: u64 = 25_000;
/// Most results in one exchange.
pub const RESULTS_MAX: usize = 256;
/// Most tasks handed out in one exchange.
pub const WANT_MAX: u32 = 256;

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeRequest {
    /// Random name of this run of the worker process.
    pub session: String,
    /// Counts the session's exchanges from 1; a repeated number gets the stored answer.
    pub seq: u64,
    /// Turns the worker still holds; a lease missing here is requeued at once.
    pub held: Vec<TurnKey>,
    pub results: Vec<Report>,
    /// How many more turns the worker can take now.
    pub want: u32,
    /// Steps the worker serves, without version: `otp`.
    pub queues: Vec<String>,
    /// How long the node may hold the call, ms; at most [`EXCHANGE_WAIT_MAX_MS`].
    #[serde(default)]
    pub wait_ms: u64,
}

/// The end of a turn, or a checkpoint within one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    #[serde(flatten)]
    pub key: TurnKey,
    pub what: ReportKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum ReportKind {
    Result {
        result: TurnResult,
    },
    /// Durable before it is acknowledged; the effect may be carried out after that.
    Checkpoint {
        state: Value,
    },
}

/// What a core node answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeResponse {
    pub acks: Vec<Ack>,
    pub tasks: Vec<TurnInput>,
    /// Base URLs of the core nodes to poll.
    pub nodes: Vec<String>,
}

/// The durable answer to one report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    #[serde(flatten)]
    pub key: TurnKey,
    pub checkpoint: bool,
    /// `accepted`, or why not: `turn_closed`, `turn_unknown`, `workflow_unknown`, ... A repeated report
    /// gets `accepted` again.
    pub code: String,
}

impl Ack {
    pub const ACCEPTED: &str = "accepted";
}
