//! How often this process waits for a disk: the one cost that no processor takes away.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, register_int_counter_vec};

static FLUSHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Transactions and appends that were flushed to stable storage, by store.";
    register_int_counter_vec!("store_flushes_total", help, &["store"])
        .expect("the metric is registered once")
});

/// What is flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushed {
    /// A commit of workflows.
    State,
    /// Keys of new workflows.
    Keys,
    /// An append to a stream.
    Streams,
    /// How far the streams have been told.
    Cursors,
}

/// Counts one flush.
pub fn count(flushed: Flushed) {
    let store = match flushed {
        Flushed::State => "state",
        Flushed::Keys => "keys",
        Flushed::Streams => "streams",
        Flushed::Cursors => "cursors",
    };
    FLUSHES.with_label_values(&[store]).inc();
}
