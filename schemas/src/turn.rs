//! One turn of a task: what a worker is given and what it may answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::events::Device;
use crate::ids::{PromptId, TaskId, WorkflowId};

/// Names a turn; the idempotency key of everything done in it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct TurnKey {
    pub task: TaskId,
    /// Counts ASL retries, from 1.
    pub attempt: u32,
    /// Counts the exchanges with a person within one attempt, from 1.
    pub turn: u32,
}

/// Who may answer a prompt, and who answered one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Audience {
    Applicant,
    Portal,
    Reviewer,
}

/// Who sent a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Submitter {
    pub kind: Audience,
    /// Subject of the token: a client id, or the applicant of one workflow.
    pub id: String,
    /// The device that an applicant's token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Network address as the gateway saw it; for rate limits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What kind of device an applicant uses, for analytics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_class: Option<Device>,
}

/// Why a turn was scheduled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum TurnReason {
    /// The attempt begins.
    First,
    /// A person answered the prompt.
    Submission {
        prompt: PromptId,
        body: Value,
        submitter: Submitter,
    },
    /// Nobody answered the prompt in time.
    Expired { prompt: PromptId },
    /// The step asked to be woken without an answer; its prompt is still open.
    Woken,
}

/// Everything a worker gets for one turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TurnInput {
    #[serde(flatten)]
    pub key: TurnKey,
    pub tenant: String,
    pub workflow: WorkflowId,
    /// Keyed digest of the bank's `subjectRef`, or the workflow's id where there is none.
    pub subject: String,
    /// Name of the state in the definition.
    pub state_name: String,
    /// The step with its major version: `kyc:otp@1`.
    pub resource: String,
    /// BCP 47 tag of the language that the applicant reads.
    pub locale: String,
    pub arguments: Value,
    /// What the step parked in its previous turn of this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
    /// Set when this very turn was begun before and checkpointed: the effect behind the checkpoint may
    /// have happened and must not be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Value>,
    pub reason: TurnReason,
    /// What the tenant has acknowledged, as kinds of `POST /v1/tenant/acknowledgements`.
    #[serde(default)]
    pub acknowledgements: Vec<String>,
    /// When the turn was scheduled, ms since the epoch.
    pub scheduled_ms: i64,
    /// When the attempt times out, ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
}

/// How a turn ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum TurnResult {
    /// The task is done; `outcome` is one of the step's published words.
    Complete { outcome: String, output: Value },
    /// The task waits for a person.
    Ask(Ask),
    /// The attempt failed for a reason that no person caused.
    Fail { error: String, cause: String },
}

/// A question to a person, and what the step needs to go on after the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    pub audience: Audience,
    /// What the onboarding app shows: `consent`, `otp-code`, `document-front`, ...
    pub kind: String,
    /// Typed by the step's prompt schema.
    pub body: Value,
    /// The step's own small state, versioned by the step.
    pub state: Value,
    /// How long the prompt stays open, ms.
    pub expires_in_ms: i64,
    /// Schedule a turn without an answer after this time, ms; the prompt stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_in_ms: Option<i64>,
}

/// Name of the fault error of a worker that panicked or broke its contract.
pub const ERROR_WORKER_FAULT: &str = "BTrust.WorkerFault";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_survives_the_wire() {
        let ask = Ask {
            audience: Audience::Applicant,
            kind: "form".to_owned(),
            body: Value::Null,
            state: Value::Null,
            expires_in_ms: 1,
            wake_in_ms: None,
        };
        for result in [
            TurnResult::Ask(ask),
            TurnResult::Complete {
                outcome: "given".to_owned(),
                output: Value::Null,
            },
            TurnResult::Fail {
                error: ERROR_WORKER_FAULT.to_owned(),
                cause: String::new(),
            },
        ] {
            let text = serde_json::to_string(&result).unwrap();
            assert_eq!(
                serde_json::from_str::<TurnResult>(&text).unwrap(),
                result,
                "{text}"
            );
        }
    }
}
