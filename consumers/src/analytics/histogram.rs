//! Durations as counts in buckets that add up across hours, groups and processes.

use std::sync::LazyLock;

/// How far a quantile may be from the true one, as a part of it.
///
/// Source: each bucket ends at most 21/19 above the one before, and the harmonic mean of its ends is within
/// (21 - 19) / (21 + 19) of everything in it.
pub const RELATIVE_ERROR: f64 = 0.05;
/// Durations above this count as this, ms.
///
/// Source: ten years, longer than any workflow may run.
const DURATION_MAX_MS: i64 = 10 * 366 * 86_400_000;

/// The last duration of each bucket, ms: 0, 1, 2, ... and from 10 on each 21/19 of the one before.
static BOUNDS: LazyLock<Vec<i64>> = LazyLock::new(|| {
    let mut bounds = vec![0];
    let mut last = 0;
    while last < DURATION_MAX_MS {
        last = (last * 21 / 19).max(last + 1);
        bounds.push(last);
    }
    bounds
});

/// The bucket of a duration, named by the longest duration in it, ms.
#[must_use]
pub fn bucket(duration_ms: i64) -> i64 {
    let duration_ms = duration_ms.clamp(0, DURATION_MAX_MS);
    BOUNDS[BOUNDS.partition_point(|it| *it < duration_ms)]
}

/// Counts by bucket.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Histogram(std::collections::BTreeMap<i64, i64>);

impl Histogram {
    /// Adds a count to a bucket; what is taken back is negative.
    pub fn add(&mut self, bucket: i64, count: i64) {
        *self.0.entry(bucket).or_default() += count;
    }

    #[must_use]
    pub fn count(&self) -> i64 {
        self.0.values().sum()
    }

    /// The duration that so many percent do not exceed (the nearest rank), ms, within [`RELATIVE_ERROR`] of
    /// the true one; `None` where nothing was counted.
    #[must_use]
    pub fn quantile_ms(&self, percent: i64) -> Option<f64> {
        let rank = (self.count() * percent + 99) / 100;
        let mut n_below = 0;
        for (bucket, count) in &self.0 {
            n_below += count;
            if 0 < *count && rank <= n_below {
                return Some(middle(*bucket));
            }
        }
        None
    }
}

/// What stands for every duration of a bucket: the harmonic mean of its shortest and its longest.
#[expect(
    clippy::cast_precision_loss,
    reason = "durations of ten years have 39 bits"
)]
fn middle(bucket: i64) -> f64 {
    let below = BOUNDS.partition_point(|it| *it < bucket);
    let shortest = below.checked_sub(1).map_or(0, |it| BOUNDS[it] + 1);
    if shortest == bucket {
        return bucket as f64;
    }
    let (shortest, longest) = (shortest as f64, bucket as f64);
    2.0 * shortest * longest / (shortest + longest)
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "durations of ten years have 39 bits"
)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_a_bucket_is_within_the_error_of_its_middle() {
        for pair in BOUNDS.windows(2) {
            let (shortest, longest) = (pair[0] + 1, pair[1]);
            assert_eq!(bucket(shortest), longest);
            assert_eq!(bucket(longest), longest);
            let middle = middle(longest);
            for duration in [shortest as f64, longest as f64] {
                let error = (middle - duration).abs() / duration;
                assert!(error <= RELATIVE_ERROR + 1e-12, "{pair:?}: {error}");
            }
        }
        assert_eq!((bucket(0), bucket(-5)), (0, 0));
        assert!(DURATION_MAX_MS <= bucket(i64::MAX));
        assert!(BOUNDS.len() < 300, "{} buckets", BOUNDS.len());
    }

    #[test]
    fn quantiles_are_those_of_all_durations_within_the_error() {
        // A spread as of people's: from a second to a day.
        let durations: Vec<i64> = (0..5_000_i64).map(|it| 1_000 + it * it * 3).collect();
        let mut halves = [Histogram::default(), Histogram::default()];
        for (index, duration) in durations.iter().enumerate() {
            halves[index % 2].add(bucket(*duration), 1);
        }
        let [mut all, other] = halves;
        for (bucket, count) in &other.0 {
            all.add(*bucket, *count);
        }
        for percent in [1, 50, 95, 100] {
            let rank = durations.len() * usize::try_from(percent).unwrap() / 100;
            let exact = durations[rank - 1] as f64;
            let found = all.quantile_ms(percent).unwrap();
            let error = (found - exact).abs() / exact;
            assert!(error <= RELATIVE_ERROR, "p{percent}: {found} for {exact}");
        }
        assert_eq!(Histogram::default().quantile_ms(50), None);
    }
}
