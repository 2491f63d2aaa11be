//! When which workflow of a partition wants to be woken: memory only, fed by commits and recovery.

use std::collections::{BTreeSet, HashMap};

use btrust_schemas::ids::WorkflowId;

/// At most one wish a workflow; the latest one counts.
#[derive(Debug, Default)]
pub struct Timers {
    by_time: BTreeSet<(i64, WorkflowId)>,
    by_workflow: HashMap<WorkflowId, i64>,
}

impl Timers {
    /// Replaces the wish of `workflow`; `None` means never.
    pub fn set(&mut self, workflow: WorkflowId, at_ms: Option<i64>) {
        if let Some(earlier_ms) = self.by_workflow.remove(&workflow) {
            self.by_time.remove(&(earlier_ms, workflow));
        }
        if let Some(at_ms) = at_ms {
            self.by_workflow.insert(workflow, at_ms);
            self.by_time.insert((at_ms, workflow));
        }
    }

    /// Wakes `workflow` by `at_ms`, or earlier where that is its wish already.
    pub fn hasten(&mut self, workflow: WorkflowId, at_ms: i64) {
        let earlier_ms = self.by_workflow.get(&workflow).copied();
        self.set(workflow, Some(earlier_ms.map_or(at_ms, |it| it.min(at_ms))));
    }

    /// The earliest wish.
    pub fn next_ms(&self) -> Option<i64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Removes and returns up to `limit` workflows whose time has come, earliest first.
    pub fn take_due(&mut self, now_ms: i64, limit: usize) -> Vec<WorkflowId> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some((at_ms, workflow)) = self.by_time.first().copied()
            && at_ms <= now_ms
        {
            self.set(workflow, None);
            due.push(workflow);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(n: u8) -> WorkflowId {
        WorkflowId::new(0, [n; 15])
    }

    #[test]
    fn the_latest_wish_of_a_workflow_counts() {
        let mut timers = Timers::default();
        timers.set(workflow(1), Some(10));
        timers.set(workflow(1), Some(30));
        timers.set(workflow(2), Some(20));
        assert_eq!(timers.next_ms(), Some(20));
        assert_eq!(timers.take_due(25, 9), [workflow(2)]);
        timers.set(workflow(1), None);
        assert_eq!(timers.next_ms(), None);
        assert_eq!(timers.take_due(99, 9), []);
    }

    #[test]
    fn a_wish_that_is_hastened_is_never_put_off() {
        let mut timers = Timers::default();
        timers.hasten(workflow(1), 30);
        timers.hasten(workflow(1), 40);
        assert_eq!(timers.next_ms(), Some(30));
        timers.hasten(workflow(1), 20);
        assert_eq!(timers.take_due(20, 9), [workflow(1)]);
        assert_eq!(timers.next_ms(), None);
    }

    #[test]
    fn the_earliest_are_woken_first_and_no_more_than_asked_for() {
        let mut timers = Timers::default();
        for (n, at_ms) in [(1, 30), (2, 10), (3, 20)] {
            timers.set(workflow(n), Some(at_ms));
        }
        assert_eq!(timers.take_due(30, 2), [workflow(2), workflow(3)]);
        assert_eq!(timers.take_due(29, 2), []);
        assert_eq!(timers.take_due(30, 2), [workflow(1)]);
    }
}
