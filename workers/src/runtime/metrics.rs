//! What a worker counts: turns with their durations and results, and failed exchanges.

use std::sync::LazyLock;
use std::time::Instant;

use prometheus::{HistogramVec, IntCounter, IntGaugeVec, histogram_opts, opts};

use btrust_schemas::turn::TurnResult;

use super::step::Fault;

/// Upper bounds of the duration histogram, in seconds: from a lookup to a long recognition.
const DURATION_BUCKETS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];

static TURN_DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let opts = histogram_opts!(
        "btrust_turn_duration_seconds",
        "Time a turn took, by step and result",
        DURATION_BUCKETS.to_vec()
    );
    let histogram =
        HistogramVec::new(opts, &["step", "result"]).expect("the name and labels are constants");
    registered(histogram)
});
static TURNS_RUNNING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = opts!("btrust_turns_running", "Turns that run now, by step");
    registered(IntGaugeVec::new(opts, &["step"]).expect("the name and labels are constants"))
});
static EXCHANGES_FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    let counter = IntCounter::new(
        "btrust_exchanges_failed_total",
        "Exchanges with core that got no answer",
    );
    registered(counter.expect("the name is a constant"))
});

fn registered<C: prometheus::core::Collector + Clone + 'static>(collector: C) -> C {
    prometheus::register(Box::new(collector.clone())).expect("each name is registered once, here");
    collector
}

/// Counts an exchange without an answer.
pub fn exchange_failed() {
    EXCHANGES_FAILED.inc();
}

/// A turn that is being timed.
#[derive(Debug)]
pub struct TurnTimer {
    step: &'static str,
    since: Instant,
}

/// Starts timing a turn.
pub fn turn_begins(step: &'static str) -> TurnTimer {
    TURNS_RUNNING.with_label_values(&[step]).inc();
    TurnTimer {
        step,
        since: Instant::now(),
    }
}

impl TurnTimer {
    /// Books the turn; returns the label of its result and its duration in milliseconds.
    pub fn ends(self, result: &Result<TurnResult, Fault>) -> (String, u64) {
        let label = match result {
            Ok(TurnResult::Complete { outcome, .. }) => outcome.clone(),
            Ok(TurnResult::Ask(_)) => "ask".to_owned(),
            Ok(TurnResult::Fail { error, .. }) => error.clone(),
            Err(Fault::Failed { error, .. }) => (*error).to_owned(),
            Err(Fault::Superseded) => "superseded".to_owned(),
        };
        let duration = self.since.elapsed();
        TURNS_RUNNING.with_label_values(&[self.step]).dec();
        TURN_DURATION
            .with_label_values(&[self.step, &label])
            .observe(duration.as_secs_f64());
        (
            label,
            u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        )
    }
}
