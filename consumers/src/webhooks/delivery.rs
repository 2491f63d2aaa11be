//! The life of a delivery and the health of its endpoint, as pure functions.
//!
//! ```text
//!  due ──attempt──► taken (2xx)          delivered
//!   ▲                │ not taken, window open    ──► due, later
//!   └──── replay ────┤ not taken, window over    ──► failed
//!                    └ 410 Gone                  ──► failed, endpoint stopped
//! ```

use super::retry::{WINDOW_MS, next_attempt};

/// Status by which a receiver says that it never wants to be called again.
///
/// Source: Standard Webhooks, "410 Gone: disable the endpoint".
const GONE: u16 = 410;

/// How far a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It is sent at a time.
    Due { due_ms: i64 },
    /// The receiver has taken it.
    Delivered,
    /// It was given up; it can be replayed.
    Failed,
}

/// The stored word of a state.
pub const DUE: &str = "due";
pub const DELIVERED: &str = "delivered";
pub const FAILED: &str = "failed";

impl State {
    /// How it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due { .. } => DUE,
            Self::Delivered => DELIVERED,
            Self::Failed => FAILED,
        }
    }
}

/// Why no answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The host has no address, or one that is not called. Owners are not told which: whoever asks about
    /// names would learn those of the inside.
    Address,
    /// No connection.
    Connect,
    /// The certificate or the handshake is not acceptable.
    Tls,
    /// The receiver was too slow.
    Timeout,
    /// What came is not HTTP, or ended too early.
    Broken,
    /// The secrets of the endpoint could not be had: ours, not the receiver's.
    Secrets,
}

impl Fault {
    /// How it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Secrets => "secrets",
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Answered {
        status: u16,
        /// `Retry-After` in ms, where it was sent as seconds.
        retry_after_ms: Option<i64>,
    },
    Unanswered(Fault),
}

impl Outcome {
    /// Whether the receiver has taken the call. A redirect is no taking: it is not followed.
    #[must_use]
    pub const fn is_taken(self) -> bool {
        matches!(
            self,
            Self::Answered {
                status: 200..=299,
                ..
            }
        )
    }
}

/// What the next step of a delivery is decided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round {
    /// When this round of attempts began: at the event, or at the latest replay.
    pub began_ms: i64,
    /// Attempts of this round that were not taken, this one not included.
    pub n_failed: u32,
}

/// Why the platform stopped calling an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Nothing was taken for as long as a delivery is tried.
    Failing,
    /// The receiver said 410.
    Gone,
}

impl Stop {
    /// How it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }
}

/// What an attempt changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    pub state: State,
    /// Since when nothing was taken at the endpoint, ms; `None` when this was.
    pub failing_since_ms: Option<i64>,
    /// Whether the endpoint is to be stopped.
    pub stop: Option<Stop>,
}

/// What follows from an attempt at `now_ms`. `draw` is uniform over all of `u64`.
#[must_use]
pub fn after_attempt(
    round: Round,
    failing_since_ms: Option<i64>,
    outcome: Outcome,
    now_ms: i64,
    draw: u64,
) -> Change {
    if outcome.is_taken() {
        return Change {
            state: State::Delivered,
            failing_since_ms: None,
            stop: None,
        };
    }
    // A fault of our own says nothing of the receiver.
    let since_ms = match outcome {
        Outcome::Unanswered(Fault::Secrets) => failing_since_ms,
        _ => Some(failing_since_ms.unwrap_or(now_ms)),
    };
    let (retry_after_ms, is_gone) = match outcome {
        Outcome::Answered {
            status,
            retry_after_ms,
        } => (retry_after_ms, status == GONE),
        Outcome::Unanswered(_) => (None, false),
    };
    let next = next_attempt(
        round.began_ms,
        now_ms,
        round.n_failed + 1,
        draw,
        retry_after_ms,
    );
    let state = match next {
        Some(due_ms) if !is_gone => State::Due { due_ms },
        _ => State::Failed,
    };
    let is_failing = since_ms.is_some_and(|it| it.saturating_add(WINDOW_MS) <= now_ms);
    let stop = match (is_gone, is_failing) {
        (true, _) => Some(Stop::Gone),
        (false, true) => Some(Stop::Failing),
        (false, false) => None,
    };
    Change {
        state,
        failing_since_ms: since_ms,
        stop,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Round = Round {
        began_ms: 0,
        n_failed: 0,
    };

    fn answered(status: u16) -> Outcome {
        Outcome::Answered {
            status,
            retry_after_ms: None,
        }
    }

    #[test]
    fn any_success_delivers_and_forgets_that_the_endpoint_failed() {
        for status in [200, 202, 204, 299] {
            let change = after_attempt(FIRST, Some(5), answered(status), 10, 0);
            let expected = Change {
                state: State::Delivered,
                failing_since_ms: None,
                stop: None,
            };
            assert_eq!(change, expected);
        }
    }

    #[test]
    fn redirects_refusals_and_silence_are_tried_again() {
        for outcome in [
            answered(301),
            answered(400),
            answered(401),
            answered(500),
            answered(199),
            Outcome::Unanswered(Fault::Timeout),
            Outcome::Unanswered(Fault::Address),
        ] {
            let change = after_attempt(FIRST, None, outcome, 10, 0);
            assert!(
                matches!(change.state, State::Due { due_ms: 11.. }),
                "{outcome:?}"
            );
            assert_eq!((change.failing_since_ms, change.stop), (Some(10), None));
        }
    }

    #[test]
    fn an_endpoint_is_stopped_when_nothing_was_taken_for_as_long_as_a_delivery_is_tried() {
        let late = Round {
            began_ms: 0,
            n_failed: 20,
        };
        let change = after_attempt(late, Some(0), answered(500), WINDOW_MS, 0);
        assert_eq!(
            (change.state, change.stop),
            (State::Failed, Some(Stop::Failing))
        );
        // Another delivery was taken meanwhile: this one is given up, the endpoint goes on.
        let change = after_attempt(late, Some(WINDOW_MS - 1), answered(500), WINDOW_MS, 0);
        assert_eq!((change.state, change.stop), (State::Failed, None));
    }

    #[test]
    fn a_receiver_that_is_gone_is_never_called_again() {
        let change = after_attempt(FIRST, None, answered(410), 10, 0);
        assert_eq!(
            (change.state, change.stop),
            (State::Failed, Some(Stop::Gone))
        );
    }

    #[test]
    fn a_fault_of_ours_is_not_held_against_the_receiver() {
        let outcome = Outcome::Unanswered(Fault::Secrets);
        let change = after_attempt(FIRST, None, outcome, 10, 0);
        assert_eq!((change.failing_since_ms, change.stop), (None, None));
        assert!(matches!(change.state, State::Due { .. }));
    }

    proptest! {
        /// Whatever a receiver answers, a round of attempts ends.
        #[test]
        fn every_round_comes_to_an_end(statuses in prop::collection::vec(200_u16..600, 300), draw: u64) {
            let (mut now_ms, mut round, mut since_ms) = (0, FIRST, None);
            for status in statuses {
                let draw = draw.rotate_left(round.n_failed);
                let change = after_attempt(round, since_ms, answered(status), now_ms, draw | 1 << 40);
                let State::Due { due_ms } = change.state else { return Ok(()) };
                prop_assert!(now_ms < due_ms);
                prop_assert!(!(200..300).contains(&status));
                now_ms = due_ms;
                since_ms = change.failing_since_ms;
                round.n_failed += 1;
            }
            prop_assert!(now_ms <= WINDOW_MS);
        }
    }
}
