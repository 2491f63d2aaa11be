//! The bounds of one-time codes, as pure functions of what has happened.
//!
//! **Architecture invariant:** no I/O, no clock and no randomness here. The
//! ledger reads rows, asks these functions, and writes what they answer, all in
//! one transaction; so the rules can be read, and tested, without a database.

/// Digits of a code.
///
/// Source: NIST SP 800-63B-4, 3.1.3.2 (at least six decimal digits).
pub const CODE_DIGITS: u32 = 6;

/// Wrong guesses of one subject for one purpose before it is locked; a definition may set fewer.
///
/// Source: the product rules; far below the 100 that NIST SP 800-63B-4, 3.2.2 permits.
pub const ATTEMPTS_MAX: u32 = 5;

/// How long a locked subject stays locked, and how long a wrong guess counts, in milliseconds: a day.
///
/// As long as the window of the sends per number, so that nobody gets more than
/// [`ATTEMPTS_MAX`] guesses out of one day's codes.
pub const LOCK_MS: i64 = DAY_MS;

/// Lifetime of a code sent by text message, in milliseconds.
///
/// Source: the product rules; NIST SP 800-63B-4, 3.1.3.2 permits at most 10 minutes.
pub const SMS_TTL_MS: i64 = 5 * MINUTE_MS;

/// Lifetime of a code sent by e-mail, in milliseconds.
///
/// Source: the product rules, which is also the maximum of NIST SP 800-63B-4, 3.1.3.2.
pub const EMAIL_TTL_MS: i64 = 10 * MINUTE_MS;

/// Pause after the first, second and every later send before the next, in milliseconds.
///
/// Source: the product rules.
pub const RESEND_AFTER_MS: [i64; 3] = [30_000, 60_000, 120_000];

/// Codes sent within one workflow for one purpose.
///
/// Source: the product rules.
pub const SESSION_SENDS_MAX: usize = 3;

/// Codes sent to one number or mailbox within any 24 hours.
///
/// Source: the product rules.
pub const ADDRESS_SENDS_PER_DAY_MAX: usize = 5;

/// Codes sent at the request of one IP address within any hour.
///
/// Source: the product rules.
pub const IP_SENDS_PER_HOUR_MAX: usize = 20;

/// How long a channel has to acknowledge delivery before the next one is tried, in milliseconds.
///
/// Source: the product rules.
pub const FAILOVER_AFTER_MS: i64 = 10_000;

const MINUTE_MS: i64 = 60_000;
/// One hour in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// One day in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// What was sent before, as far as a limit counts it; times in milliseconds since the epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SendHistory {
    /// Every send of this workflow for this purpose, oldest first.
    pub session: Vec<i64>,
    /// Sends to the same address within the last day, oldest first.
    pub address_day: Vec<i64>,
    /// Sends for the same IP address within the last hour, oldest first.
    pub ip_hour: Vec<i64>,
}

/// Why no code may be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendRefusal {
    /// The pause after the last send is not over.
    TooSoon { again_at_ms: i64 },
    /// This workflow has used all its sends.
    SessionSpent,
    /// The address has had all its sends of the day.
    AddressSpent { again_at_ms: i64 },
    /// The IP address has had all its sends of the hour.
    IpSpent { again_at_ms: i64 },
}

impl SendRefusal {
    /// The stable code of the refusal, shown as a prompt's reason.
    pub fn code(self) -> &'static str {
        match self {
            Self::TooSoon { .. } => "resend_too_early",
            Self::SessionSpent | Self::AddressSpent { .. } | Self::IpSpent { .. } => {
                "no_sends_left"
            }
        }
    }
}

/// Whether a send keeps to the pause between sends, which a failover is free of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// A person asked for it: the pause must be over.
    Kept,
    /// The last channel did not deliver: no reason to wait.
    Waived,
}

/// Judges whether one more code may be sent at `now_ms`.
///
/// # Errors
///
/// The first limit that forbids it.
pub fn may_send(history: &SendHistory, pause: Pause, now_ms: i64) -> Result<(), SendRefusal> {
    if SESSION_SENDS_MAX <= history.session.len() {
        return Err(SendRefusal::SessionSpent);
    }
    if let Some(again_at_ms) = window_ends(&history.address_day, ADDRESS_SENDS_PER_DAY_MAX, DAY_MS)
    {
        return Err(SendRefusal::AddressSpent { again_at_ms });
    }
    if let Some(again_at_ms) = window_ends(&history.ip_hour, IP_SENDS_PER_HOUR_MAX, HOUR_MS) {
        return Err(SendRefusal::IpSpent { again_at_ms });
    }
    match (pause, resend_at(&history.session)) {
        (Pause::Kept, Some(again_at_ms)) if now_ms < again_at_ms => {
            Err(SendRefusal::TooSoon { again_at_ms })
        }
        _ => Ok(()),
    }
}

/// When a person may ask for the next code, or `None` before the first one.
pub fn resend_at(session: &[i64]) -> Option<i64> {
    let last = session.last()?;
    let pause = RESEND_AFTER_MS[(session.len() - 1).min(RESEND_AFTER_MS.len() - 1)];
    Some(last.saturating_add(pause))
}

/// When the oldest of the last `max` sends leaves the window, if all of them are in it.
fn window_ends(sends: &[i64], max: usize, window_ms: i64) -> Option<i64> {
    let oldest = sends.len().checked_sub(max)?;
    sends.get(oldest).map(|it| it.saturating_add(window_ms))
}

/// The lock-out counter of one subject, or of one address, for one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counter {
    pub failures: u32,
    pub last_failure_ms: i64,
    /// 0 when not locked.
    pub locked_until_ms: i64,
}

impl Counter {
    /// The counter as it stands at `now_ms`: failures that are past their period are forgotten.
    #[must_use]
    pub fn at(self, now_ms: i64) -> Self {
        let over = self.last_failure_ms.saturating_add(LOCK_MS) <= now_ms;
        if over && self.locked_until_ms <= now_ms {
            Self::default()
        } else {
            self
        }
    }

    /// The stricter of two counters in every respect: both have to let a guess pass.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self {
            failures: self.failures.max(other.failures),
            last_failure_ms: self.last_failure_ms.max(other.last_failure_ms),
            locked_until_ms: self.locked_until_ms.max(other.locked_until_ms),
        }
    }

    /// Whether no guess may be evaluated at `now_ms`.
    pub fn is_locked(self, now_ms: i64) -> bool {
        now_ms < self.locked_until_ms
    }

    /// Guesses left before the lock, of `attempts_max`.
    pub fn attempts_left(self, attempts_max: u32) -> u32 {
        attempts_max.saturating_sub(self.failures)
    }

    /// The counter after one wrong guess.
    #[must_use]
    pub fn after_wrong(self, attempts_max: u32, now_ms: i64) -> Self {
        let failures = self.failures.saturating_add(1);
        let locked_until_ms = if attempts_max <= failures {
            now_ms.saturating_add(LOCK_MS)
        } else {
            0
        };
        Self {
            failures,
            last_failure_ms: now_ms,
            locked_until_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[track_caller]
    fn check(history: &SendHistory, expected: Result<(), SendRefusal>) {
        assert_eq!(may_send(history, Pause::Kept, NOW), expected);
    }

    fn session(times: &[i64]) -> SendHistory {
        SendHistory {
            session: times.to_vec(),
            ..SendHistory::default()
        }
    }

    #[test]
    fn the_first_code_may_always_be_sent() {
        check(&SendHistory::default(), Ok(()));
    }

    #[test]
    fn a_second_code_waits_thirty_seconds_and_a_third_sixty() {
        check(
            &session(&[NOW - 29_999]),
            Err(SendRefusal::TooSoon {
                again_at_ms: NOW + 1,
            }),
        );
        check(&session(&[NOW - 30_000]), Ok(()));
        let twice = [NOW - 200_000, NOW - 59_999];
        check(
            &session(&twice),
            Err(SendRefusal::TooSoon {
                again_at_ms: NOW + 1,
            }),
        );
        check(&session(&[NOW - 200_000, NOW - 60_000]), Ok(()));
    }

    #[test]
    fn the_pause_grows_to_two_minutes_and_stays_there() {
        assert_eq!(resend_at(&[0]), Some(30_000));
        assert_eq!(resend_at(&[0, 0]), Some(60_000));
        assert_eq!(resend_at(&[0, 0, 0]), Some(120_000));
        assert_eq!(resend_at(&[0, 0, 0, 0]), Some(120_000));
    }

    #[test]
    fn a_failover_need_not_wait() {
        let history = session(&[NOW - 1]);
        assert_eq!(may_send(&history, Pause::Waived, NOW), Ok(()));
    }

    #[test]
    fn a_session_gets_three_sends() {
        check(&session(&[0, 1, 2]), Err(SendRefusal::SessionSpent));
    }

    #[test]
    fn a_number_gets_five_sends_a_day() {
        let mut history = SendHistory {
            address_day: vec![NOW - 10; 4],
            ..SendHistory::default()
        };
        check(&history, Ok(()));
        history.address_day.push(NOW - 5);
        check(
            &history,
            Err(SendRefusal::AddressSpent {
                again_at_ms: NOW - 10 + DAY_MS,
            }),
        );
    }

    #[test]
    fn an_ip_address_gets_twenty_sends_an_hour() {
        let mut history = SendHistory {
            ip_hour: vec![NOW - 10; 19],
            ..SendHistory::default()
        };
        check(&history, Ok(()));
        history.ip_hour.push(NOW - 5);
        check(
            &history,
            Err(SendRefusal::IpSpent {
                again_at_ms: NOW - 10 + HOUR_MS,
            }),
        );
    }

    #[test]
    fn the_fifth_wrong_guess_locks_for_the_whole_period() {
        let mut counter = Counter::default();
        for left in [4, 3, 2, 1, 0] {
            assert!(!counter.at(NOW).is_locked(NOW));
            counter = counter.at(NOW).after_wrong(ATTEMPTS_MAX, NOW);
            assert_eq!(counter.attempts_left(ATTEMPTS_MAX), left);
        }
        assert!(counter.at(NOW + LOCK_MS - 1).is_locked(NOW + LOCK_MS - 1));
        assert_eq!(counter.at(NOW + LOCK_MS), Counter::default());
    }

    #[test]
    fn of_two_counters_the_stricter_decides() {
        let once = Counter::default().after_wrong(ATTEMPTS_MAX, NOW - 5);
        let locked = Counter::default().after_wrong(1, NOW);
        for joined in [once.joined(locked), locked.joined(once)] {
            assert!(joined.is_locked(NOW + LOCK_MS - 1));
            assert_eq!((joined.failures, joined.last_failure_ms), (1, NOW));
        }
        let twice = once.after_wrong(ATTEMPTS_MAX, NOW);
        assert_eq!(once.joined(twice).attempts_left(ATTEMPTS_MAX), 3);
    }

    #[test]
    fn wrong_guesses_older_than_the_period_are_forgotten() {
        let counter = Counter::default().after_wrong(ATTEMPTS_MAX, NOW);
        assert_eq!(counter.at(NOW + LOCK_MS - 1).failures, 1);
        assert_eq!(counter.at(NOW + LOCK_MS).failures, 0);
    }
}
