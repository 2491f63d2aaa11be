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

/// Most turns that one exchange tells the progress of.
pub const PROGRESS_MAX: usize = 256;
/// Longest note of a progress, in bytes.
pub const PROGRESS_NOTE_BYTES_MAX: usize = 64;
/// Largest details of a progress, as JSON, in bytes.
///
/// Source: kept in memory for every running turn; 10,000 of them take 10 MB.
pub const PROGRESS_DETAILS_BYTES_MAX: usize = 1_024;
/// Most labels that a worker offers.
pub const WORKER_LABELS_MAX: usize = 32;

/// What a worker says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// What the worker offers to tasks that ask for labels: `region=eu`, `gpu`; the same in every call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// How far turns are; at most [`PROGRESS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<Progress>,
    /// The worker goes away in good order: what it gives back is nobody's fault.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// How far a turn is, as its step tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    #[serde(flatten)]
    pub key: TurnKey,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// A code of the step, such as `reading_chip`; nothing personal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// At most [`PROGRESS_DETAILS_BYTES_MAX`] as JSON; nothing personal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

impl Progress {
    /// The same without what is larger than it may be.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.percent = self.percent.map(|it| it.min(100));
        let is_code = |it: &String| {
            let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
            (1..=PROGRESS_NOTE_BYTES_MAX).contains(&it.len()) && it.bytes().all(is_plain)
        };
        self.note = self.note.filter(is_code);
        let is_small = |it: &Value| it.to_string().len() <= PROGRESS_DETAILS_BYTES_MAX;
        self.details = self.details.filter(is_small);
        self
    }
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
    /// Turns that the session holds and nobody wants any more, or that should end soon: what is reported
    /// of those within the grace of a cancelled workflow still counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<TurnKey>,
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
