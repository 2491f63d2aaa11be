//! The challenge of one prompt and what is parked about it; pure.

use std::sync::Arc;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use btrust_schemas::step::liveness::Action;

/// Challenges that may be replaced without being judged, because they ran out or the device changed.
///
/// An hour of getting ready at the default life of two minutes.
pub const REISSUES_MAX: u32 = 30;

/// What the person is asked to do this time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// 32 hex digits, valid for one answer.
    pub nonce: String,
    pub actions: Vec<Action>,
}

/// Where challenges come from: the operating system's generator, or a list in tests.
pub type ChallengeSource = Arc<dyn Fn() -> Challenge + Send + Sync>;

/// Challenges from a cryptographic generator: every action once, in any of the 24 orders.
#[must_use]
pub fn random_challenges() -> ChallengeSource {
    Arc::new(|| {
        let mut rng = rand::rng();
        let mut actions = vec![
            Action::Front,
            Action::TurnLeft,
            Action::TurnRight,
            Action::Blink,
        ];
        actions.shuffle(&mut rng);
        Challenge {
            nonce: hex::encode(rng.random::<[u8; 16]>()),
            actions,
        }
    })
}

/// Why an answer is not judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Another device than the one that the challenges are bound to.
    NewDevice,
    ChallengeExpired,
    /// Costs an attempt, with this reason.
    Counted(&'static str),
}

/// What is parked between challenges.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    v: u32,
    /// Challenges that were answered and counted.
    pub n_challenges: u32,
    n_reissues: u32,
    challenge: Option<Challenge>,
    expires_at_ms: i64,
    /// The device that answered first; later answers must come from it, or get a new challenge.
    device: Option<String>,
    /// Digests of every frame that was sent, so that none counts twice.
    seen: Vec<String>,
}

impl Default for Parked {
    fn default() -> Self {
        Self {
            v: 1,
            n_challenges: 0,
            n_reissues: 0,
            challenge: None,
            expires_at_ms: 0,
            device: None,
            seen: Vec::new(),
        }
    }
}

impl Parked {
    /// Makes this the one challenge that can be answered.
    pub fn issue(&mut self, challenge: Challenge, expires_at_ms: i64) {
        self.challenge = Some(challenge);
        self.expires_at_ms = expires_at_ms;
    }

    /// Whether a challenge may be replaced without being judged; counts the replacement.
    pub fn may_reissue(&mut self) -> bool {
        self.n_reissues += 1;
        self.n_reissues <= REISSUES_MAX
    }

    /// Uses the challenge up for this answer.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the frames are not to be looked at.
    pub fn answer(
        &mut self,
        nonce: &str,
        actions: &[Action],
        sha256s: &[&str],
        device: Option<&str>,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let challenge = self.challenge.take();
        if self
            .device
            .as_deref()
            .is_some_and(|bound| Some(bound) != device)
        {
            self.device = device.map(str::to_owned);
            return Err(Refusal::NewDevice);
        }
        if self.expires_at_ms <= now_ms {
            return Err(Refusal::ChallengeExpired);
        }
        self.n_challenges += 1;
        if self.device.is_none() {
            self.device = device.map(str::to_owned);
        }
        let Some(challenge) = challenge.filter(|it| it.nonce == nonce) else {
            return Err(Refusal::Counted("wrong_nonce"));
        };
        if challenge.actions != actions {
            return Err(Refusal::Counted("wrong_frames"));
        }
        let is_reused = sha256s
            .iter()
            .any(|it| self.seen.iter().any(|seen| seen == it));
        self.seen.extend(sha256s.iter().map(|it| (*it).to_owned()));
        if is_reused {
            Err(Refusal::Counted("frames_reused"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ACTIONS: [Action; 2] = [Action::Front, Action::TurnLeft];

    fn issued() -> Parked {
        let mut parked = Parked::default();
        parked.issue(
            Challenge {
                nonce: "n1".to_owned(),
                actions: ACTIONS.to_vec(),
            },
            100,
        );
        parked
    }

    #[track_caller]
    fn check(nonce: &str, actions: &[Action], now_ms: i64, expected: Result<(), Refusal>) {
        assert_eq!(
            issued().answer(nonce, actions, &["a", "b"], None, now_ms),
            expected
        );
    }

    #[test]
    fn only_the_right_nonce_with_the_right_actions_in_time_is_looked_at() {
        check("n1", &ACTIONS, 99, Ok(()));
        check("n1", &ACTIONS, 100, Err(Refusal::ChallengeExpired));
        check("n2", &ACTIONS, 99, Err(Refusal::Counted("wrong_nonce")));
        check(
            "n1",
            &[Action::TurnLeft, Action::Front],
            99,
            Err(Refusal::Counted("wrong_frames")),
        );
        check(
            "n1",
            &ACTIONS[..1],
            99,
            Err(Refusal::Counted("wrong_frames")),
        );
    }

    #[test]
    fn a_challenge_is_answered_once() {
        let mut parked = issued();
        assert_eq!(parked.answer("n1", &ACTIONS, &["a", "b"], None, 1), Ok(()));
        assert_eq!(
            parked.answer("n1", &ACTIONS, &["c", "d"], None, 2),
            Err(Refusal::Counted("wrong_nonce"))
        );
        assert_eq!(parked.n_challenges, 2);
    }

    #[test]
    fn a_frame_counts_for_one_challenge_only() {
        let mut parked = issued();
        assert_eq!(parked.answer("n1", &ACTIONS, &["a", "b"], None, 1), Ok(()));
        parked.issue(
            Challenge {
                nonce: "n2".to_owned(),
                actions: ACTIONS.to_vec(),
            },
            100,
        );
        assert_eq!(
            parked.answer("n2", &ACTIONS, &["c", "b"], None, 2),
            Err(Refusal::Counted("frames_reused"))
        );
    }

    #[test]
    fn a_switch_of_devices_costs_the_challenge_but_no_attempt() {
        let mut parked = issued();
        assert_eq!(
            parked.answer("n1", &ACTIONS, &["a", "b"], Some("phone"), 1),
            Ok(())
        );
        for (nonce, device, expected) in [
            ("n2", Some("laptop"), Err(Refusal::NewDevice)),
            ("n3", Some("laptop"), Ok(())),
            ("n4", None, Err(Refusal::NewDevice)),
        ] {
            parked.issue(
                Challenge {
                    nonce: nonce.to_owned(),
                    actions: ACTIONS.to_vec(),
                },
                100,
            );
            assert_eq!(
                parked.answer(nonce, &ACTIONS, &[nonce], device, 2),
                expected,
                "{nonce}"
            );
        }
        assert_eq!(parked.n_challenges, 2);
    }

    #[test]
    fn challenges_can_be_replaced_but_not_for_ever() {
        let mut parked = issued();
        for _ in 0..REISSUES_MAX {
            assert!(parked.may_reissue());
        }
        assert!(!parked.may_reissue());
    }

    #[test]
    fn random_challenges_use_every_order_and_no_nonce_twice() {
        let source = random_challenges();
        let drawn: Vec<Challenge> = (0..1_000).map(|_| source()).collect();
        let orders: BTreeSet<String> = drawn.iter().map(|it| format!("{:?}", it.actions)).collect();
        let nonces: BTreeSet<&str> = drawn.iter().map(|it| it.nonce.as_str()).collect();
        assert_eq!((orders.len(), nonces.len()), (24, 1_000));
        assert!(nonces.iter().all(|it| it.len() == 32));
    }
}
