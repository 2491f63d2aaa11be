//! Turns that nobody is given: of workflows that are paused, and of workflows that are being cancelled.

use btrust_schemas::ids::WorkflowId;
use btrust_schemas::turn::TurnKey;

use super::slots::Slot;
use super::{Dispatch, Inner};

impl Dispatch {
    /// The open turns of a workflow that is being cancelled which nobody has: they will not end.
    pub fn unheld(&self, workflow: WorkflowId) -> Vec<TurnKey> {
        let inner = self.lock();
        let is_unheld = |it: &&Slot| it.is_cancelled && it.lease.is_none() && it.n_reports == 0;
        let tasks = inner.slots.of_workflow(workflow).into_iter();
        tasks
            .filter_map(|it| inner.slots.get(it).filter(is_unheld).map(Slot::key))
            .collect()
    }
}

impl Inner {
    /// Gives nobody the turns of a workflow until it is resumed; whoever has one goes on.
    pub(super) fn pause(&mut self, workflow: WorkflowId) {
        self.paused.insert(workflow);
        for key in self.keys_of(workflow) {
            self.leave_line(key);
        }
    }

    pub(super) fn resume(&mut self, workflow: WorkflowId, now_ms: i64) {
        if self.paused.remove(&workflow) {
            for key in self.keys_of(workflow) {
                self.line_up(key, now_ms);
            }
        }
    }

    /// Gives nobody the turns that are open now, and tells those who have one.
    pub(super) fn cancel(&mut self, workflow: WorkflowId) {
        for key in self.keys_of(workflow) {
            self.leave_line(key);
            if let Some(slot) = self.slots.of_mut(key) {
                slot.is_cancelled = true;
            }
            self.tell_cancelled(key);
        }
    }

    /// Tells whoever holds a turn of a workflow that is being cancelled.
    pub(super) fn tell_cancelled(&mut self, key: TurnKey) {
        let slot = self.slots.of(key).filter(|it| it.is_cancelled);
        let lease = slot.and_then(|it| it.lease.as_ref());
        if let Some(session) = lease.and_then(|it| self.sessions.get_mut(it.session)) {
            session.cancelled.push(key);
            session.wake.notify_one();
        }
    }

    fn keys_of(&self, workflow: WorkflowId) -> Vec<TurnKey> {
        let tasks = self.slots.of_workflow(workflow).into_iter();
        tasks
            .filter_map(|it| self.slots.get(it).map(Slot::key))
            .collect()
    }
}
