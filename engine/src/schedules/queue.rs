//! When which schedule of this node is due: memory only, fed by acts, firing and recovery.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::schedules::ScheduleRecord;

/// Names a schedule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub partition: u8,
    pub tenant: String,
    pub name: String,
}

impl Key {
    pub fn of(record: &ScheduleRecord) -> Self {
        Self {
            partition: record.partition,
            tenant: record.tenant.clone(),
            name: record.name.clone(),
        }
    }
}

#[derive(Default)]
pub struct Queue {
    times: Mutex<Times>,
    pub wanted: Notify,
}

#[derive(Default)]
struct Times {
    by_time: BTreeSet<(i64, Key)>,
    by_key: BTreeMap<Key, i64>,
    /// Partitions whose schedules are this node's; those of others are due nowhere here.
    served: BTreeSet<u8>,
}

impl Queue {
    /// Replaces when a schedule is due; `None` is never.
    pub fn set(&self, record: &ScheduleRecord, at_ms: Option<i64>) {
        self.set_key(Key::of(record), at_ms);
    }

    pub fn set_key(&self, key: Key, at_ms: Option<i64>) {
        self.lock().set(key, at_ms);
        self.wanted.notify_one();
    }

    /// Takes the schedules of a partition from now on.
    pub fn serve(&self, partition: u8) {
        self.lock().served.insert(partition);
    }

    /// Removes the schedules of a partition, and takes none of it.
    pub fn forget(&self, partition: u8) {
        let mut times = self.lock();
        times.served.remove(&partition);
        let keys: Vec<Key> = times
            .by_key
            .keys()
            .filter(|it| it.partition == partition)
            .cloned()
            .collect();
        for key in keys {
            times.set(key, None);
        }
    }

    pub fn wake(&self) {
        self.wanted.notify_one();
    }

    pub fn next_ms(&self) -> Option<i64> {
        self.lock().by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Removes and returns up to `limit` schedules that are due, the earliest first.
    pub fn take_due(&self, now_ms: i64, limit: usize) -> Vec<Key> {
        let mut times = self.lock();
        let mut due = Vec::new();
        while due.len() < limit
            && let Some((at_ms, key)) = times.by_time.first().cloned()
            && at_ms <= now_ms
        {
            times.set(key.clone(), None);
            due.push(key);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    fn set(&mut self, key: Key, at_ms: Option<i64>) {
        if let Some(earlier_ms) = self.by_key.remove(&key) {
            self.by_time.remove(&(earlier_ms, key.clone()));
        }
        let at_ms = at_ms.filter(|_| self.served.contains(&key.partition));
        if let Some(at_ms) = at_ms {
            self.by_time.insert((at_ms, key.clone()));
            self.by_key.insert(key, at_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: u8, name: &str) -> Key {
        Key {
            partition,
            tenant: "acme".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn what_is_due_is_taken_once_in_the_order_of_time() {
        let queue = Queue::default();
        queue.serve(1);
        for (name, at_ms) in [("a", 30), ("b", 10), ("c", 20)] {
            queue.set_key(key(1, name), Some(at_ms));
        }
        queue.set_key(key(1, "a"), Some(15));
        assert_eq!(queue.take_due(20, 2), [key(1, "b"), key(1, "a")]);
        assert_eq!(queue.next_ms(), Some(20));
        queue.set_key(key(1, "c"), None);
        assert_eq!(queue.take_due(99, 9), []);
    }

    #[test]
    fn what_another_node_fires_is_forgotten() {
        let queue = Queue::default();
        queue.serve(1);
        queue.serve(2);
        queue.set_key(key(1, "a"), Some(1));
        queue.set_key(key(2, "b"), Some(1));
        queue.forget(1);
        // Whoever was firing it when it went says when it is due next, to nobody.
        queue.set_key(key(1, "a"), Some(1));
        assert_eq!(queue.take_due(1, 9), [key(2, "b")]);
    }
}
