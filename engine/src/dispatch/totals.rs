//! How much waits and is held, for scalers and people; costs O(queues), never O(turns).

use std::collections::BTreeMap;

use btrust_schemas::queues::{QueueGroup, QueueView};

use super::queue::Queue;
use super::{Dispatch, Inner};

impl Dispatch {
    /// What waits and is held of each step, in the order of their names.
    pub fn queues(&self, now_ms: i64) -> Vec<QueueView> {
        let inner = self.lock();
        let views = inner
            .queues
            .iter()
            .map(|(number, queue)| inner.view(*number, queue, now_ms));
        let by_name: BTreeMap<String, QueueView> = views.map(|it| (it.step.clone(), it)).collect();
        by_name.into_values().collect()
    }
}

impl Inner {
    fn view(&self, number: u32, queue: &Queue, now_ms: i64) -> QueueView {
        let mut groups: Vec<QueueGroup> = queue
            .waiting()
            .map(|(labels, priority, n_waiting, since_ms)| QueueGroup {
                priority,
                labels: self.label_sets.text(labels),
                waiting: n_waiting as u64,
                oldest_ms: (now_ms - since_ms).max(0),
                has_worker: queue
                    .n_serving
                    .keys()
                    .any(|offered| self.label_sets.fits(labels, *offered)),
            })
            .collect();
        groups.sort_by(|a, b| (b.priority, &a.labels).cmp(&(a.priority, &b.labels)));
        let without_worker = groups.iter().filter(|it| !it.has_worker);
        QueueView {
            step: self.steps.name(number).to_string(),
            waiting: groups.iter().map(|it| it.waiting).sum(),
            oldest_ms: groups.iter().map(|it| it.oldest_ms).max().unwrap_or(0),
            in_flight: queue.n_leased,
            no_worker: without_worker.map(|it| it.waiting).sum(),
            groups,
        }
    }
}
