//! Leases that were lost without a result: each is counted before its turn is handed out again, so that
//! a turn that kills its workers comes to an end.

use std::collections::BTreeSet;

use btrust_schemas::turn::TurnKey;

use super::sessions::SessionNumber;
use super::{Dispatch, Inner};

impl Dispatch {
    /// Gives up the leases of sessions that have been silent for too long; returns their turns, which
    /// stay out of the queues until [`Dispatch::loss_noted`].
    pub fn expire(&self, now_ms: i64) -> Vec<TurnKey> {
        let mut inner = self.lock();
        let mut lost = Vec::new();
        for number in inner.sessions.silent(now_ms) {
            let Some(session) = inner.sessions.remove(number) else {
                continue;
            };
            inner.serves_no_more(session.labels, &session.serves);
            for key in session.held {
                lost.extend(inner.lose(number, key, now_ms));
            }
        }
        lost
    }

    /// Makes the leases of a session what the worker says it holds; returns the turns that it has lost.
    ///
    /// A worker that leaves, and one that never got the answer with the turn, have lost nothing.
    pub fn hold(
        &self,
        number: SessionNumber,
        held: &BTreeSet<TurnKey>,
        is_leaving: bool,
        now_ms: i64,
    ) -> Vec<TurnKey> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get(number) else {
            return Vec::new();
        };
        let generation = session.generation;
        let missing: Vec<TurnKey> = session.held.difference(held).copied().collect();
        let unknown: Vec<TurnKey> = held.difference(&session.held).copied().collect();
        let mut lost = Vec::new();
        for key in missing {
            let slot = inner.slots.of(key);
            let lease = slot.and_then(|it| it.lease.as_ref());
            // Had it not been in the call after the one that brought it, that would have given it back.
            let had_it = lease.is_some_and(|it| it.generation + 1 < generation);
            if had_it && !is_leaving {
                lost.extend(inner.lose(number, key, now_ms));
            } else {
                inner.release(number, key, now_ms);
            }
        }
        // Held but not leased: this process has restarted, and the worker is still at it.
        for key in unknown {
            if inner.slots.of(key).is_some_and(|it| it.lease.is_none()) {
                inner.lease(number, key, now_ms);
                inner.tell_cancelled(key);
            }
        }
        lost
    }

    /// The loss of a turn's lease has been counted, or could not be: the turn may be handed out again.
    pub fn loss_noted(&self, key: TurnKey, now_ms: i64) {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.of_mut(key) {
            slot.n_reports = slot.n_reports.saturating_sub(1);
            inner.line_up(key, now_ms);
        }
    }
}

impl Inner {
    /// Ends a lease and keeps its turn out of the queues; `None` when a result of it is on its way.
    pub(super) fn lose(
        &mut self,
        number: SessionNumber,
        key: TurnKey,
        now_ms: i64,
    ) -> Option<TurnKey> {
        let slot = self.slots.of_mut(key);
        let lost = slot.filter(|it| it.n_reports == 0 && it.is_held_by(number));
        let is_lost = lost.is_some();
        if let Some(slot) = lost {
            slot.n_reports += 1;
        }
        self.release(number, key, now_ms);
        is_lost.then_some(key)
    }
}
