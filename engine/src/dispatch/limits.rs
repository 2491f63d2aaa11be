//! Limits as they meet the queues: what opens when a lease ends, a token comes, or the limits change.

use std::collections::BTreeSet;
use std::sync::Arc;

use btrust_schemas::ids::TaskId;
use btrust_schemas::task_limits::TaskLimits;

use super::gates::{Gates, Scope};
use super::queue::Place;
use super::{Dispatch, Inner};

impl Dispatch {
    /// Enforces this node's share of `limits` from now on, of which there are `n_nodes`.
    pub fn set_limits(&self, limits: &TaskLimits, n_nodes: u32, now_ms: i64) {
        let mut inner = self.lock();
        let held_back = inner.gates.let_all_go();
        inner.serve_again(held_back);
        let Inner { steps, tenants, .. } = &mut *inner;
        let mut gates = Gates::new(limits, n_nodes, steps, tenants, now_ms);
        gates.keep_tokens_of(&inner.gates);
        inner.gates = gates;
        inner.place_anew(now_ms);
        let queues: Vec<u32> = inner.queues.keys().copied().collect();
        for queue in queues {
            inner.wake_all_for(queue);
        }
        self.token_sooner.notify_one();
    }

    /// When the next token that a turn waits for is there, ms.
    pub fn next_token_ms(&self) -> Option<i64> {
        self.lock().gates.next_ms()
    }

    /// Serves again what has waited for a token that is there now.
    pub fn tokens(&self, now_ms: i64) {
        let mut inner = self.lock();
        for scope in inner.gates.due(now_ms) {
            inner.opened(scope);
        }
    }

    /// Rings when whoever sleeps until the next token may sleep too long.
    pub(super) fn expect_token(&self, inner: &Inner) {
        if inner.gates.next_ms().is_some() {
            self.token_sooner.notify_one();
        }
    }
}

impl Inner {
    /// A worker has given back a turn of this place, in whatever way.
    pub(super) fn lease_ended(&mut self, place: Place) {
        if let Some(queue) = self.queues.get_mut(&place.queue) {
            queue.n_leased = queue.n_leased.saturating_sub(1);
        }
        for scope in self.gates.lease_ends(place) {
            self.opened(scope);
        }
    }

    fn opened(&mut self, scope: Scope) {
        let held_back = self.gates.let_go(scope);
        self.serve_again(held_back);
        if let Scope::Step(queue) = scope {
            self.wake_all_for(queue);
        }
    }

    fn serve_again(&mut self, places: BTreeSet<Place>) {
        for place in places {
            let queue = self.queues.get_mut(&place.queue);
            if queue.is_some_and(|it| it.level(place).let_go(place.tenant)) {
                self.wake_one(place.queue, place.labels);
            }
        }
    }

    /// Counts the leases for new limits, and moves the turns whose tenant asks for other labels now.
    fn place_anew(&mut self, now_ms: i64) {
        let mut moved: Vec<(u64, TaskId)> = Vec::new();
        for task in self.slots.all() {
            let Some(slot) = self.slots.get(task) else {
                continue;
            };
            let (owner, turn) = (Arc::clone(&slot.owner), Arc::clone(&slot.turn));
            let place = self.place(&owner, &turn);
            let Some(slot) = self.slots.get_mut(task) else {
                continue;
            };
            if slot.lease.is_some() {
                self.gates.lease_begins(place);
            }
            let before = std::mem::replace(&mut slot.place, place);
            if before == place {
                continue;
            }
            if let Some(number) = slot.waiting.take() {
                moved.push((number, task));
                if let Some(queue) = self.queues.get_mut(&before.queue) {
                    queue.level(before).remove(before.tenant, number);
                }
            }
        }
        // In the order in which they came.
        moved.sort_unstable();
        for (_, task) in moved {
            if let Some(key) = self.slots.get(task).map(super::slots::Slot::key) {
                self.line_up(key, now_ms);
            }
        }
    }
}
