//! What webhooks count.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, exponential_buckets, register_histogram,
    register_int_counter, register_int_counter_vec, register_int_gauge,
};

const ONCE: &str = "the metric is registered once";
/// The histogram of calls: from 5 ms to beyond the longest one.
const CALL_SECONDS_MIN: f64 = 0.005;
const CALL_SECONDS_FACTOR: f64 = 2.0;
const N_CALL_BUCKETS: usize = 14;

pub static ENQUEUED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Deliveries made of events.";
    register_int_counter!("webhooks_enqueued_total", help).expect(ONCE)
});
pub static TOO_OLD: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Events that were read too late to tell whether they had been told before.";
    register_int_counter!("webhooks_too_old_total", help).expect(ONCE)
});
pub static UNREADABLE: LazyLock<IntCounter> = LazyLock::new(|| {
    let help =
        "Records of the audit stream that were passed over because they could not be understood.";
    register_int_counter!("webhooks_unreadable_records_total", help).expect(ONCE)
});
pub static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Calls, by how they ended: the class of the status, or the fault.";
    register_int_counter_vec!("webhooks_attempts_total", help, &["outcome"]).expect(ONCE)
});
pub static CALL_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(CALL_SECONDS_MIN, CALL_SECONDS_FACTOR, N_CALL_BUCKETS);
    let buckets = buckets.expect("the bounds grow");
    register_histogram!(
        "webhooks_call_duration_seconds",
        "Time of one call.",
        buckets
    )
    .expect(ONCE)
});
pub static IN_FLIGHT: LazyLock<IntGauge> =
    LazyLock::new(|| register_int_gauge!("webhooks_in_flight", "Calls under way.").expect(ONCE));
pub static GIVEN_UP: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Deliveries that were given up.";
    register_int_counter!("webhooks_given_up_total", help).expect(ONCE)
});
pub static STOPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Endpoints that the platform stopped calling, by reason.";
    register_int_counter_vec!("webhooks_endpoints_stopped_total", help, &["reason"]).expect(ONCE)
});
