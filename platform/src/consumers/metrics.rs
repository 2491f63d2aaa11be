//! What operators see of consumers.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};

const OF_SHARD: &[&str] = &["consumer", "stream", "shard"];

pub static LAG_MS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "How far a consumer is behind the end of a shard, ms; 0 at its end.";
    register_int_gauge_vec!("consumer_lag_milliseconds", help, OF_SHARD)
        .expect("the metric is registered once")
});
pub static TAKEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Records that a consumer was handed and has taken, those that it knew included.";
    register_int_counter_vec!("consumer_records_total", help, OF_SHARD)
        .expect("the metric is registered once")
});
pub static TROUBLES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "What a consumer has met in a stream that is no record; the log says where.";
    register_int_counter_vec!("consumer_troubles_total", help, OF_SHARD)
        .expect("the metric is registered once")
});
pub static FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Reads, takes and checkpoints that have failed and are tried again.";
    register_int_counter_vec!("consumer_failures_total", help, &["consumer", "what"])
        .expect("the metric is registered once")
});
pub static LEASES_LOST: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Leases that somebody else has taken from this process.";
    register_int_counter_vec!("consumer_leases_lost_total", help, &["consumer"])
        .expect("the metric is registered once")
});
pub static LEASES_HELD: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Shards that this process reads.";
    register_int_gauge_vec!("consumer_leases_held", help, &["consumer"])
        .expect("the metric is registered once")
});
static MISSING: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Events that never came although later ones of their subject did.";
    register_int_counter_vec!("consumer_missing_events_total", help, &["consumer"])
        .expect("the metric is registered once")
});

/// Counts events that never came.
pub fn missing(consumer: &str, n_missing: i64) {
    let n_missing = u64::try_from(n_missing).unwrap_or(0);
    MISSING.with_label_values(&[consumer]).inc_by(n_missing);
}
