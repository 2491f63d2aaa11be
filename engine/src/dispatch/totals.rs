//! How much waits and is held, for scalers and people; costs O(queues), never O(turns).

use super::Dispatch;

/// What waits of one step, label set and priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    pub queue: String,
    pub n_ready: usize,
    pub oldest_ms: i64,
}

impl Dispatch {
    /// How much waits in each queue.
    pub fn depths(&self, now_ms: i64) -> Vec<Depth> {
        let inner = self.lock();
        let depth = |(number, queue): (&u32, &super::queue::Queue)| Depth {
            queue: inner.steps.name(*number).to_string(),
            n_ready: queue.waiting().map(|(_, _, n_ready, _)| n_ready).sum(),
            oldest_ms: queue
                .waiting()
                .map(|(_, _, _, since_ms)| now_ms - since_ms)
                .max()
                .unwrap_or(0),
        };
        inner.queues.iter().map(depth).collect()
    }
}
