//! What the engine counts.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, exponential_buckets,
    register_histogram, register_int_counter, register_int_counter_vec, register_int_gauge,
    register_int_gauge_vec,
};

use btrust_schemas::queues::QueueView;

const ONCE: &str = "the metric is registered once";
/// Commands of one commit, from alone to a full batch.
const BATCH_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0];
/// Seconds of one flush, from a quiet disk to a stuck one.
const FLUSH_BUCKETS: [f64; 8] = [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.025, 0.1, 1.0];

/// Seconds until a checkpoint, from a second of the relay to well beyond the age at which one is made.
const AUDIT_BUCKETS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 90.0, 300.0, 3_600.0];

/// The histogram of turns: from 0.1 ms to a minute in steps small enough to read a median off them.
const TURN_SECONDS_MIN: f64 = 0.000_1;
const TURN_SECONDS_FACTOR: f64 = 1.2;
const N_TURN_BUCKETS: usize = 73;

pub static COMMITS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Transactions of the committer, by how they ended.";
    register_int_counter_vec!("engine_commits_total", help, &["outcome"]).expect(ONCE)
});
pub static COMMIT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Time of one transaction, its flush included.";
    register_histogram!(
        "engine_commit_duration_seconds",
        help,
        FLUSH_BUCKETS.to_vec()
    )
    .expect(ONCE)
});
pub static BATCH_COMMANDS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Commands that one transaction carried.";
    register_histogram!("engine_batch_commands", help, BATCH_BUCKETS.to_vec()).expect(ONCE)
});
pub static TURN_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Time from the commit that schedules a turn to the commit of its result.";
    let buckets = exponential_buckets(TURN_SECONDS_MIN, TURN_SECONDS_FACTOR, N_TURN_BUCKETS);
    let buckets = buckets.expect("the bounds grow");
    register_histogram!("engine_turn_duration_seconds", help, buckets).expect(ONCE)
});
pub static FENCED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Times that a commit was refused for a partition because another node owns it.";
    register_int_counter!("engine_fenced_total", help).expect(ONCE)
});
pub static LEASES_ENDED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Times that this node could not renew its lease and gave up all of its partitions.";
    register_int_counter!("engine_leases_ended_total", help).expect(ONCE)
});
pub static PARTITIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("engine_partitions", "Partitions that this node serves.").expect(ONCE)
});
pub static STARTED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("engine_workflows_started_total", "Workflows started.").expect(ONCE)
});
pub static STEPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Step attempts that have ended, by step and outcome or error.";
    register_int_counter_vec!("engine_steps_total", help, &["step", "outcome"]).expect(ONCE)
});
pub static INCIDENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Workflows that a fault has stopped, by code.";
    register_int_counter_vec!("engine_incidents_total", help, &["code"]).expect(ONCE)
});
pub static INCIDENTS_RESOLVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Incidents that an operator has resolved, by action.";
    register_int_counter_vec!("engine_incidents_resolved_total", help, &["action"]).expect(ONCE)
});
pub static LEASES_LOST: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Turns whose worker was lost without a result.";
    register_int_counter!("engine_leases_lost_total", help).expect(ONCE)
});
pub static MAILBOX: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "engine_mailbox_commands",
        "Commands that wait for the committer."
    )
    .expect(ONCE)
});
pub static MAILBOX_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "engine_mailbox_bytes",
        "Bytes of documents in commands that wait for the committers."
    )
    .expect(ONCE)
});
pub static QUEUE_DEPTH: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Turns that wait for a worker, by step and priority.";
    register_int_gauge_vec!("engine_queue_depth", help, &["step", "priority"]).expect(ONCE)
});
pub static QUEUE_IN_FLIGHT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Turns that workers hold, by step.";
    register_int_gauge_vec!("engine_queue_in_flight", help, &["step"]).expect(ONCE)
});
pub static QUEUE_NO_WORKER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Turns that no living worker may take, by step and the labels they ask for.";
    register_int_gauge_vec!("engine_queue_no_worker", help, &["step", "labels"]).expect(ONCE)
});
pub static QUEUE_AGE_MS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Age of the turn that has waited longest for a worker, by step, ms.";
    register_int_gauge_vec!("engine_queue_oldest_ms", help, &["step"]).expect(ONCE)
});
pub static AUDIT_SEQUENCED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Audit records that have got a place in the log of their tenant.";
    register_int_counter!("engine_audit_sequenced_total", help).expect(ONCE)
});
pub static AUDIT_SEQUENCED_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Time from the commit of an audit record to the checkpoint that covers it.";
    let buckets = AUDIT_BUCKETS.to_vec();
    register_histogram!("engine_audit_sequenced_seconds", help, buckets).expect(ONCE)
});
pub static AUDIT_BEHIND: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "Commits whose audit records are in the stream and not in a log yet.";
    register_int_gauge!("engine_audit_behind_commits", help).expect(ONCE)
});
pub static AUDIT_SET_ASIDE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "What keeps audit records out of their logs until it is mended, by code.";
    register_int_gauge_vec!("engine_audit_set_aside", help, &["code"]).expect(ONCE)
});
pub static AUDIT_FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Looks of the sequencer that have failed; it tries again each second.";
    register_int_counter!("engine_audit_failures_total", help).expect(ONCE)
});
pub static RELAYED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Public events handed to the streams.";
    register_int_counter_vec!("engine_relayed_total", help, &["stream"]).expect(ONCE)
});

/// Brings the gauges of the queues up to date.
pub fn observe_queues(queues: &[QueueView]) {
    let gauge = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
    // A label set that nobody asks for any more must not stay at its last value.
    QUEUE_NO_WORKER.reset();
    QUEUE_DEPTH.reset();
    for queue in queues {
        let step = queue.step.as_str();
        QUEUE_AGE_MS.with_label_values(&[step]).set(queue.oldest_ms);
        QUEUE_IN_FLIGHT
            .with_label_values(&[step])
            .set(gauge(queue.in_flight));
        // Zero is an answer too.
        QUEUE_DEPTH.with_label_values(&[step, "5"]).add(0);
        for group in &queue.groups {
            let priority = group.priority.to_string();
            QUEUE_DEPTH
                .with_label_values(&[step, &priority])
                .add(gauge(group.waiting));
            if !group.has_worker {
                QUEUE_NO_WORKER
                    .with_label_values(&[step, &group.labels])
                    .add(gauge(group.waiting));
            }
        }
    }
}
