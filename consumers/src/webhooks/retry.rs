//! When a call that was not taken is tried again.

/// How long a delivery is tried, ms, from when it first was due.
///
/// Source: three days outlast a weekend; issue 5 asks for them.
pub const WINDOW_MS: i64 = 3 * 24 * 3_600_000;
/// The shortest pause between two attempts, ms.
pub const PAUSE_MS_MIN: i64 = 1_000;
/// The longest pause before attempt 2, 3, ..., ms; the last one holds for all that follow.
///
/// Source: the first minutes for a restart, the hours for an outage; after Standard Webhooks, which suggests
/// 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, ... With full jitter the mean is half of each.
const PAUSES_MS_MAX: &[i64] = &[
    10_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 28_800_000,
];
/// The longest time that a receiver may ask us to stay away (`Retry-After`), ms.
///
/// Source: a receiver that wants a day should disable its endpoint.
pub const RETRY_AFTER_MS_MAX: i64 = 6 * 3_600_000;

/// When the next attempt is due, ms since the epoch; `None` when the window is over.
///
/// Full jitter: anything from [`PAUSE_MS_MIN`] to the pause of this many failures, by `draw`, which is uniform
/// over all of `u64`. The last attempt is at the end of the window, so that all of it is used.
#[must_use]
pub fn next_attempt(
    window_began_ms: i64,
    now_ms: i64,
    n_failed: u32,
    draw: u64,
    retry_after_ms: Option<i64>,
) -> Option<i64> {
    let window_end_ms = window_began_ms.saturating_add(WINDOW_MS);
    if window_end_ms <= now_ms {
        return None;
    }
    let step = usize::try_from(n_failed.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause_ms_max = PAUSES_MS_MAX[step.min(PAUSES_MS_MAX.len() - 1)];
    let n_choices =
        u64::try_from(pause_ms_max - PAUSE_MS_MIN + 1).expect("pauses are above the shortest");
    // Below 2^25 choices of 2^64 the remainder is uniform for every purpose.
    let jitter_ms = i64::try_from(draw % n_choices).expect("a pause is some hours");
    let asked_ms = retry_after_ms
        .unwrap_or_default()
        .clamp(0, RETRY_AFTER_MS_MAX);
    let pause_ms = (PAUSE_MS_MIN + jitter_ms).max(asked_ms);
    Some(now_ms.saturating_add(pause_ms).min(window_end_ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many attempts a delivery gets at a receiver that never takes it, by the draws of a generator.
    fn attempts(mut draw: impl FnMut() -> u64) -> (u32, i64) {
        let (mut n_failed, mut now_ms) = (1, 0);
        while let Some(due_ms) = next_attempt(0, now_ms, n_failed, draw(), None) {
            now_ms = due_ms;
            n_failed += 1;
        }
        (n_failed, now_ms)
    }

    #[test]
    fn a_receiver_that_is_down_is_tried_for_three_days_and_not_without_end() {
        assert_eq!(attempts(|| u64::MAX / 2).1, WINDOW_MS);
        let mut state = 7_u64;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 1
        };
        for _ in 0..100 {
            let (n, ended_ms) = attempts(&mut draw);
            assert!((15..80).contains(&n), "{n}");
            assert_eq!(ended_ms, WINDOW_MS);
        }
    }

    #[test]
    fn a_receiver_that_says_when_to_come_back_is_not_called_before() {
        assert_eq!(next_attempt(0, 0, 1, 0, Some(60_000)), Some(60_000));
        assert_eq!(
            next_attempt(0, 0, 1, 0, Some(i64::MAX)),
            Some(RETRY_AFTER_MS_MAX)
        );
        assert_eq!(next_attempt(0, 0, 1, 0, Some(-1)), Some(PAUSE_MS_MIN));
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shorter_or_longer_than_promised(
            n_failed in 0_u32..100, draw: u64, now_ms in 0..WINDOW_MS,
        ) {
            let due_ms = next_attempt(0, now_ms, n_failed, draw, None).unwrap();
            prop_assert!(due_ms <= WINDOW_MS);
            prop_assert!(now_ms < due_ms);
            let longest_ms = PAUSES_MS_MAX[(n_failed.max(1) as usize - 1).min(PAUSES_MS_MAX.len() - 1)];
            prop_assert!(due_ms - now_ms <= longest_ms);
        }
    }
}
