//! Calls that wait for turns; each is woken for one turn, and wakes the next if there are more.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::queue::Queue;
use super::{Dispatch, Inner};

/// A waiting call.
#[derive(Debug)]
pub struct Parked {
    pub queues: Vec<u32>,
    /// The set of labels that its session offers.
    pub labels: u32,
    pub wake: Arc<Notify>,
}

/// Waiting calls in the order in which they came.
#[derive(Debug, Default)]
pub struct Parking {
    calls: BTreeMap<u64, Parked>,
    n_parks: u64,
}

impl Parking {
    /// Calls that wait now.
    #[cfg(test)]
    pub fn n_waiting(&self) -> usize {
        self.calls.len()
    }
}

/// A call that waits for turns; it leaves the waiting line when dropped.
pub struct ParkedCall<'a> {
    dispatch: &'a Dispatch,
    number: u64,
    queues: Vec<u32>,
    labels: u32,
}

impl Drop for ParkedCall<'_> {
    fn drop(&mut self) {
        let mut inner = self.dispatch.lock();
        if inner.unpark(self.number).is_none() {
            // It was woken for a turn. If the call ends without taking it, somebody else must hear of it.
            for queue in &self.queues {
                inner.wake_for(*queue, self.labels);
            }
        }
    }
}

impl Inner {
    /// Puts a call into the waiting lines of its queues.
    pub fn park<'a>(&mut self, dispatch: &'a Dispatch, parked: Parked) -> ParkedCall<'a> {
        self.parking.n_parks += 1;
        let number = self.parking.n_parks;
        let labels = parked.labels;
        for queue in &parked.queues {
            let calls = &mut self.queues.entry(*queue).or_default().calls;
            calls.entry(labels).or_default().insert(number);
        }
        let call = ParkedCall {
            dispatch,
            number,
            queues: parked.queues.clone(),
            labels,
        };
        self.parking.calls.insert(number, parked);
        call
    }

    fn unpark(&mut self, number: u64) -> Option<Parked> {
        let parked = self.parking.calls.remove(&number)?;
        for queue in &parked.queues {
            if let Some(queue) = self.queues.get_mut(queue)
                && let Some(calls) = queue.calls.get_mut(&parked.labels)
            {
                calls.remove(&number);
                if calls.is_empty() {
                    queue.calls.remove(&parked.labels);
                }
            }
        }
        Some(parked)
    }

    /// Wakes the call that has waited longest among those that may take a turn of this step that asks
    /// for these labels.
    pub fn wake_one(&mut self, queue: u32, labels: u32) -> bool {
        let Some(calls) = self.queues.get(&queue).map(|it| &it.calls) else {
            return false;
        };
        let fitting = calls
            .iter()
            .filter(|(offered, _)| self.label_sets.fits(labels, **offered));
        let first = fitting.filter_map(|(_, it)| it.first().copied()).min();
        let Some(parked) = first.and_then(|it| self.unpark(it)) else {
            return false;
        };
        parked.wake.notify_one();
        true
    }

    /// Wakes a call for what a call with labels `offered` could have taken from a queue.
    pub fn wake_for(&mut self, queue: u32, offered: u32) {
        let Some(open) = self.queues.get(&queue).map(Queue::open_labels) else {
            return;
        };
        let fitting = open.filter(|asked| self.label_sets.fits(*asked, offered));
        for labels in fitting.collect::<Vec<_>>() {
            self.wake_one(queue, labels);
        }
    }

    /// Wakes a call for each set of labels that something waits for in a queue.
    pub fn wake_all_for(&mut self, queue: u32) {
        let open = self.queues.get(&queue).map(|it| it.open_labels().collect());
        let open: Vec<u32> = open.unwrap_or_default();
        for labels in open {
            self.wake_one(queue, labels);
        }
    }
}
