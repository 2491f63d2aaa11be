//! `kyc:liveness`: a random challenge, answered by a head that turns and eyes that blink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Declares, ModelUse};
use crate::object::ObjectRef;

pub const LIVE: &str = "live";
pub const SPOOF: &str = "spoof";
pub const INJECTION: &str = "injection";
pub const LOCKED: &str = "locked";
pub const ALTERNATIVE_REQUESTED: &str = "alternative_requested";
pub const EXPIRED: &str = "expired";

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// Challenges that may be tried before the lock; 3 when absent.
    #[schemars(range(min = 1, max = 5))]
    pub max_attempts: Option<u32>,
    /// Life of a challenge, seconds; 120 when absent.
    #[schemars(range(min = 10, max = 600))]
    pub ttl_seconds: Option<u32>,
}

/// What the person is asked to do, from the person's own point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Look straight into the camera with open eyes.
    Front,
    /// Turn the head to one's own left.
    TurnLeft,
    /// Turn the head to one's own right.
    TurnRight,
    /// Close both eyes.
    Blink,
}

/// Prompt kind `liveness-challenge`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// 32 hex digits; to be sent back, valid once.
    pub nonce: String,
    /// In the order in which they are to be done; one frame each.
    pub actions: Vec<Action>,
    /// Why it asks again: `no_face`, `turn_not_reached`, `no_blink`, `too_blurry`, `new_device`, ...
    pub reasons: Vec<String>,
    pub attempts_left: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Frame {
    pub action: Action,
    pub picture: ObjectRef,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "camelCase", deny_unknown_fields)]
pub enum Submission {
    /// One frame for each action of the challenge, in its order.
    Frames {
        nonce: String,
        #[schemars(length(min = 1, max = 16))]
        frames: Vec<Frame>,
    },
    /// The person cannot do the challenge and wants another way.
    Alternative,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// `planarity`, `turn`, `blink`, `same_face`, `passive_pad`, `duplicate_frames`, ...
    pub name: String,
    pub score: f32,
    pub threshold: f32,
    pub passed: bool,
    /// Whether a failure of this signal alone refuses.
    pub gate: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    pub signals: Vec<Signal>,
    /// Whether every model has a certificate; false with the shipped models.
    pub certified: bool,
    /// Whether the tenant has acknowledged that its liveness models are uncertified.
    pub acknowledged: bool,
    /// Whether an automatic decision may rest on this result: certified, or acknowledged.
    pub may_decide: bool,
    pub reasons: Vec<String>,
    /// The frontal frame, for the comparison with the document.
    pub best_frame: Option<ObjectRef>,
    pub n_challenges: u32,
    pub models: Vec<ModelUse>,
}

pub(super) struct Liveness;

impl Declares for Liveness {
    const STEP: &'static str = "liveness";
    const OUTCOMES: &'static [&'static str] = &[
        LIVE,
        SPOOF,
        INJECTION,
        LOCKED,
        ALTERNATIVE_REQUESTED,
        EXPIRED,
    ];
    type Arguments = Arguments;
    type Prompt = Prompt;
    type Submission = Submission;
    type Output = Output;
}
