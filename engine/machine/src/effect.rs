//! What the engine must make happen after a commit.

use serde::{Deserialize, Serialize};

use crate::command::Submitter;
use crate::message::Owed;
use crate::payload::Payload;
use crate::state::Status;

/// Something that the engine must now make happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hand this turn to a worker; it replaces any earlier turn of the same task.
    Dispatch(OpenTurn),
    /// Take back whatever turn of this task is open.
    Withdraw {
        task: u32,
    },
    /// Show this prompt to its audience; a number that is already open means its times changed.
    OpenPrompt(OpenPrompt),
    /// Show this prompt no longer.
    ClosePrompt {
        prompt: u32,
        reason: CloseReason,
    },
    /// Send [`Command::Tick`](crate::Command::Tick) at this time; replaces every earlier wish, `None` means never.
    WakeAt {
        at_ms: Option<i64>,
    },
    /// Deliver this message to another workflow, and say [`Command::Delivered`](crate::Command::Delivered).
    Deliver(Owed),
    /// Hand out no turn of the workflow until [`Effect::Resume`]; whoever has one goes on.
    Pause,
    Resume,
    /// Hand out no turn that is open now, and tell whoever has one that it need not go on.
    Cancel,
    /// The workflow is closed.
    Close {
        status: Status,
        decision: Option<String>,
    },
    /// The workflow is open again.
    Reopen,
}

/// A turn that a worker has to take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenTurn {
    /// Counts the tasks of the workflow, from 1.
    pub task: u32,
    /// Counts the attempts of the task, from 1.
    pub attempt: u32,
    /// Counts the turns of the attempt, from 1.
    pub turn: u32,
    pub state_name: String,
    /// The step with its version, such as `kyc:otp@1`.
    pub resource: String,
    pub arguments: Payload,
    /// The state that the step returned with its last `Ask`.
    pub parked: Option<Payload>,
    /// Present when this turn was begun before and got as far as its checkpoint: the effect may have happened and may not be repeated.
    pub checkpoint: Option<Payload>,
    pub reason: TurnReason,
    pub scheduled_ms: i64,
    /// When the attempt times out.
    pub deadline_ms: Option<i64>,
    /// `HeartbeatSeconds`: how long a lease may stay silent.
    pub heartbeat_seconds: Option<i64>,
}

/// Why a turn is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum TurnReason {
    /// The attempt begins.
    First,
    /// A person has answered.
    Submission {
        prompt: u32,
        body: Payload,
        submitter: Submitter,
    },
    /// Nobody answered in time.
    Expired { prompt: u32 },
    /// `wake_in` has passed; the prompt stays open.
    Woken,
}

impl TurnReason {
    /// The word for this reason in events.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Submission { .. } => "submission",
            Self::Expired { .. } => "expired",
            Self::Woken => "woken",
        }
    }
}

/// A question that waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPrompt {
    /// Counts the prompts of the workflow, from 1.
    pub prompt: u32,
    pub task: u32,
    pub state_name: String,
    pub audience: String,
    pub kind: String,
    pub body: Payload,
    pub opened_ms: i64,
    pub expires_ms: i64,
}

/// Why a prompt is shown no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloseReason {
    Answered,
    Expired,
    /// The step asked something else after it was woken.
    Replaced,
    /// The step finished without an answer.
    Completed,
    Failed,
    TimedOut,
    /// The branch or the whole workflow ended.
    Withdrawn,
}
