//! `kyc:liveness`: a random challenge, answered by a head that turns and eyes that blink.

mod challenge;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use btrust_schemas::core::UNCERTIFIED_LIVENESS;
use btrust_schemas::step::ModelUse;
use btrust_schemas::step::liveness::{
    ALTERNATIVE_REQUESTED, Action, Arguments, EXPIRED, Frame, LIVE, LOCKED, Output, Prompt, SPOOF,
    Signal, Submission,
};
use btrust_schemas::turn::{Audience, Submitter, TurnInput, TurnReason, TurnResult};
use btrust_vision::liveness::{self as vision_liveness, Outcome, Verdict, judge, look};
use btrust_vision::{Picture, Role, Vision, VisionError};

pub use self::challenge::{Challenge, ChallengeSource, random_challenges};
use self::challenge::{Parked, Refusal};
use super::evidence::{model_fault, models_used};
use super::ttl_ms;
use crate::runtime::step::submission;
use crate::runtime::{Context, Fault, Step, arguments, ask, complete, parked};

/// Turns at once; each holds its encoded frames and one decoded one.
const IN_FLIGHT_MAX: u32 = 4;
/// Challenges that may be tried where the definition does not say.
const ATTEMPTS_MAX: u32 = 3;
/// Life of a challenge where the definition does not say, in seconds.
const TTL_SECONDS: u32 = 120;
/// Whether the shipped models have a certificate: none has, and none is claimed.
const CERTIFIED: bool = false;
/// Scores are shown within these bounds; a measure that could not be taken is minus infinity.
const SCORE_SHOWN_MAX: f64 = 1_000.0;
/// The models that judge frames.
pub const ROLES: &[Role] = &[
    Role::FaceDetection,
    Role::FaceMesh,
    Role::HeadPose,
    Role::EyeState,
    Role::Pad,
    Role::FaceEmbedding,
];

pub struct Liveness {
    vision: Arc<Vision>,
    challenges: ChallengeSource,
}

/// One turn with what was worked out for it.
struct Conversation<'a> {
    context: &'a Context,
    input: &'a TurnInput,
    arguments: Arguments,
    parked: Parked,
    challenges: &'a ChallengeSource,
}

impl Liveness {
    #[must_use]
    pub fn new(vision: Arc<Vision>, challenges: ChallengeSource) -> Self {
        Self { vision, challenges }
    }
}

#[async_trait]
impl Step for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        let conversation = Conversation {
            context,
            input: &input,
            arguments: arguments(&input)?,
            parked: parked(&input)?.unwrap_or_default(),
            challenges: &self.challenges,
        };
        conversation.turn(&self.vision).await
    }
}

impl Conversation<'_> {
    async fn turn(mut self, vision: &Arc<Vision>) -> Result<TurnResult, Fault> {
        match (&self.input.reason, submission(self.input)) {
            (TurnReason::First, _) => self.challenge(Vec::new()),
            // Nobody has to hurry: the challenge is replaced while the person gets ready.
            (TurnReason::Expired { .. }, _) => self.reissue("challenge_expired"),
            (_, Some(Submission::Alternative)) => {
                complete(ALTERNATIVE_REQUESTED, &self.output(Vec::new()))
            }
            (
                TurnReason::Submission { submitter, .. },
                Some(Submission::Frames { nonce, frames }),
            ) => self.frames(vision, submitter, &nonce, &frames).await,
            _ => self.challenge(vec!["wrong_frames".to_owned()]),
        }
    }

    async fn frames(
        &mut self,
        vision: &Arc<Vision>,
        submitter: &Submitter,
        nonce: &str,
        frames: &[Frame],
    ) -> Result<TurnResult, Fault> {
        let sha256s: Vec<&str> = frames.iter().map(|it| it.picture.sha256.as_str()).collect();
        let actions: Vec<Action> = frames.iter().map(|it| it.action).collect();
        let device = submitter.device.as_deref();
        match self
            .parked
            .answer(nonce, &actions, &sha256s, device, self.context.now_ms())
        {
            Ok(()) => {}
            Err(Refusal::NewDevice) => return self.reissue("new_device"),
            Err(Refusal::ChallengeExpired) => return self.reissue("challenge_expired"),
            Err(Refusal::Counted(reason)) => return self.another(reason, self.output(Vec::new())),
        }
        let mut encoded = Vec::with_capacity(frames.len());
        for frame in frames {
            encoded.push((seen(frame.action), self.context.read(&frame.picture).await?));
        }
        let vision = Arc::clone(vision);
        let looked = self
            .context
            .compute(move || judge_frames(&vision, &encoded))
            .await?;
        let (verdict, models) = looked.map_err(|error| model_fault(&error))?;
        let output = Output {
            signals: verdict.signals.iter().map(shown).collect(),
            best_frame: verdict
                .best_frame
                .and_then(|it| frames.get(it))
                .map(|it| it.picture.clone()),
            models,
            ..self.output(Vec::new())
        };
        match verdict.outcome {
            Outcome::Live => complete(LIVE, &output),
            Outcome::Spoof => complete(
                SPOOF,
                &Output {
                    reasons: vec!["spoof_signs".to_owned()],
                    ..output
                },
            ),
            Outcome::Retry(reason) => self.another(reason.code(), output),
        }
    }

    /// Asks once more with a fresh challenge, or locks when that was the last one.
    fn another(&mut self, reason: &str, output: Output) -> Result<TurnResult, Fault> {
        let reasons = vec![reason.to_owned()];
        if self.parked.n_challenges < self.attempts_max() {
            return self.challenge(reasons);
        }
        complete(LOCKED, &Output { reasons, ..output })
    }

    /// Replaces a challenge that was not judged; that costs no attempt, but not for ever.
    fn reissue(&mut self, reason: &str) -> Result<TurnResult, Fault> {
        if self.parked.may_reissue() {
            return self.challenge(vec![reason.to_owned()]);
        }
        complete(EXPIRED, &self.output(vec![reason.to_owned()]))
    }

    fn challenge(&mut self, reasons: Vec<String>) -> Result<TurnResult, Fault> {
        let ttl_ms = ttl_ms(self.arguments.ttl_seconds, TTL_SECONDS);
        let challenge = (self.challenges)();
        let prompt = Prompt {
            nonce: challenge.nonce.clone(),
            actions: challenge.actions.clone(),
            reasons,
            attempts_left: self.attempts_max().saturating_sub(self.parked.n_challenges),
        };
        self.parked
            .issue(challenge, self.context.now_ms().saturating_add(ttl_ms));
        Ok(TurnResult::Ask(ask(
            Audience::Applicant,
            "liveness-challenge",
            &prompt,
            &self.parked,
            ttl_ms,
        )?))
    }

    fn output(&self, reasons: Vec<String>) -> Output {
        let acknowledged = self
            .input
            .acknowledgements
            .iter()
            .any(|it| it == UNCERTIFIED_LIVENESS);
        Output {
            signals: Vec::new(),
            certified: CERTIFIED,
            acknowledged,
            may_decide: CERTIFIED || acknowledged,
            reasons,
            best_frame: None,
            n_challenges: self.parked.n_challenges,
            models: Vec::new(),
        }
    }

    fn attempts_max(&self) -> u32 {
        self.arguments.max_attempts.unwrap_or(ATTEMPTS_MAX).max(1)
    }
}

/// Looks at the frames one after the other, and judges them together.
fn judge_frames(
    vision: &Vision,
    encoded: &[(vision_liveness::Action, Bytes)],
) -> Result<(Verdict, Vec<ModelUse>), VisionError> {
    let models = models_used(vision, ROLES)?;
    let retry = |reason| Verdict {
        outcome: Outcome::Retry(reason),
        signals: Vec::new(),
        best_frame: None,
    };
    let actions = encoded.iter().map(|(action, _)| *action).collect();
    let Some(challenge) = vision_liveness::Challenge::new(actions) else {
        return Ok((retry(vision_liveness::Reason::WrongFrames), models));
    };
    let mut frames = Vec::with_capacity(encoded.len());
    for (action, bytes) in encoded {
        let Ok(picture) = Picture::decode(bytes) else {
            return Ok((retry(vision_liveness::Reason::WrongFrames), models));
        };
        match look(vision, &picture, *action)? {
            Ok(frame) => frames.push(frame),
            Err(reason) => return Ok((retry(reason), models)),
        }
    }
    Ok((judge(&challenge, &frames), models))
}

/// The action as the eyes know it.
const fn seen(action: Action) -> vision_liveness::Action {
    match action {
        Action::Front => vision_liveness::Action::Front,
        Action::TurnLeft => vision_liveness::Action::TurnLeft,
        Action::TurnRight => vision_liveness::Action::TurnRight,
        Action::Blink => vision_liveness::Action::Blink,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "scores are shown with the precision of an f32"
)]
fn shown(signal: &vision_liveness::Signal) -> Signal {
    let number = |it: f64| it.clamp(-SCORE_SHOWN_MAX, SCORE_SHOWN_MAX) as f32;
    Signal {
        name: signal.name.to_owned(),
        score: number(signal.score),
        threshold: number(signal.threshold),
        passed: signal.passed,
        gate: signal.gate,
    }
}

#[cfg(test)]
mod tests;
