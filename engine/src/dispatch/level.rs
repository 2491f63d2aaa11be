//! Turns of one step, label set and priority: a line for each tenant, served in weighted turns.
//!
//! Start-time fair queueing: a line has a tag, the line with the smallest tag is served, and its tag
//! grows by one share divided by the tenant's weight. Who comes anew begins at the tag that is served
//! now, so a single turn never waits behind another tenant's many. A line that has become empty is
//! remembered until the others have caught up with its tag; otherwise whoever comes back for each
//! turn anew would always come first.

use std::collections::{BTreeMap, BTreeSet};

use btrust_schemas::ids::TaskId;

/// By how much one turn moves the tag of a tenant with weight 1.
///
/// Source: large, so that weights up to [`super::limits::WEIGHT_MAX`] divide it well; 2^43 turns fit.
const SHARE: u64 = 1 << 20;

/// Every operation costs O(log n).
#[derive(Debug, Default)]
pub struct Level {
    lines: BTreeMap<u32, Line>,
    /// Lines that may be served, by tag.
    order: BTreeSet<(u64, u32)>,
    /// Empty lines whose tag is still ahead.
    resting: BTreeSet<(u64, u32)>,
    /// When each waiting turn became ready, ms, by its number; numbers grow with time.
    ages: BTreeMap<u64, i64>,
    /// The tag of the line that was served last.
    now: u64,
}

#[derive(Debug, Default)]
struct Line {
    tag: u64,
    turns: BTreeMap<u64, TaskId>,
    /// Whether a limit keeps the line from being served.
    is_held_back: bool,
}

impl Level {
    /// Whether a turn waits that no limit holds back.
    pub fn is_open(&self) -> bool {
        !self.order.is_empty()
    }

    /// Turns that wait, held back or not.
    pub fn n_waiting(&self) -> usize {
        self.ages.len()
    }

    /// When the turn that has waited longest became ready, ms.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.ages.first_key_value().map(|(_, at_ms)| *at_ms)
    }

    /// Puts a turn at the end of its tenant's line; `number` is greater than any before.
    pub fn add(&mut self, tenant: u32, number: u64, task: TaskId, now_ms: i64) {
        let line = self.lines.entry(tenant).or_default();
        if line.turns.is_empty() {
            self.resting.remove(&(line.tag, tenant));
            line.tag = line.tag.max(self.now);
            if !line.is_held_back {
                self.order.insert((line.tag, tenant));
            }
        }
        line.turns.insert(number, task);
        self.ages.insert(number, now_ms);
    }

    /// The tenant whose line is to be served.
    pub fn next(&self) -> Option<u32> {
        self.order.first().map(|(_, tenant)| *tenant)
    }

    /// Serves the line of a tenant that [`Level::next`] has named.
    pub fn take(&mut self, tenant: u32, weight: u32) -> Option<TaskId> {
        let line = self.lines.get_mut(&tenant)?;
        let (number, task) = line.turns.pop_first()?;
        self.ages.remove(&number);
        self.order.remove(&(line.tag, tenant));
        self.now = self.now.max(line.tag);
        line.tag += SHARE / u64::from(weight.max(1));
        if line.turns.is_empty() {
            self.rest(tenant);
        } else {
            self.order.insert((line.tag, tenant));
        }
        self.forget_rested();
        Some(task)
    }

    /// Takes a turn out of its line.
    pub fn remove(&mut self, tenant: u32, number: u64) {
        let Some(line) = self.lines.get_mut(&tenant) else {
            return;
        };
        if line.turns.remove(&number).is_none() {
            return;
        }
        self.ages.remove(&number);
        if line.turns.is_empty() {
            self.order.remove(&(line.tag, tenant));
            self.rest(tenant);
        }
    }

    /// Keeps the line of a tenant from being served until [`Level::let_go`].
    pub fn hold_back(&mut self, tenant: u32) {
        if let Some(line) = self.lines.get_mut(&tenant) {
            line.is_held_back = true;
            self.order.remove(&(line.tag, tenant));
        }
    }

    /// Serves the line of a tenant again; says whether there is anything in it.
    pub fn let_go(&mut self, tenant: u32) -> bool {
        let Some(line) = self.lines.get_mut(&tenant) else {
            return false;
        };
        if !line.is_held_back {
            return !line.turns.is_empty();
        }
        line.is_held_back = false;
        if line.turns.is_empty() {
            return false;
        }
        // What it could have had meanwhile is not owed to it.
        line.tag = line.tag.max(self.now);
        self.order.insert((line.tag, tenant));
        true
    }

    fn rest(&mut self, tenant: u32) {
        if self.ages.is_empty() {
            // Nobody waits, so nobody can be ahead.
            *self = Self::default();
        } else if let Some(line) = self.lines.get(&tenant) {
            self.resting.insert((line.tag, tenant));
        }
    }

    fn forget_rested(&mut self) {
        while let Some((tag, tenant)) = self.resting.first().copied()
            && tag <= self.now
        {
            self.resting.pop_first();
            self.lines.remove(&tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use btrust_schemas::ids::WorkflowId;

    use super::*;

    fn task(number: u32) -> TaskId {
        let workflow = WorkflowId::new(0, [0; 15]);
        TaskId { workflow, number }
    }

    /// A level with so many turns of each tenant, in the order of tenants.
    fn level(counts: &[u32]) -> (Level, u64) {
        let mut level = Level::default();
        let mut number = 0;
        for (tenant, n_turns) in (0..).zip(counts) {
            for _ in 0..*n_turns {
                level.add(tenant, number, task(tenant), 0);
                number += 1;
            }
        }
        (level, number)
    }

    fn serve(level: &mut Level, weights: &[u32]) -> Option<u32> {
        let tenant = level.next()?;
        let weight = weights.get(tenant as usize).copied().unwrap_or(1);
        assert_eq!(level.take(tenant, weight), Some(task(tenant)));
        Some(tenant)
    }

    #[test]
    fn a_hundred_thousand_turns_of_one_tenant_do_not_delay_the_single_turn_of_another() {
        let (mut level, number) = level(&[100_000]);
        for _ in 0..1_000 {
            assert_eq!(serve(&mut level, &[]), Some(0));
        }
        level.add(1, number, task(1), 0);
        let first_two = [serve(&mut level, &[]), serve(&mut level, &[])];
        assert!(first_two.contains(&Some(1)), "{first_two:?}");
        assert_eq!(level.n_waiting(), 100_001 - 1_002);
    }

    #[test]
    fn tenants_are_served_by_their_weights() {
        let (mut level, _) = level(&[1_000, 1_000, 1_000]);
        let mut served = [0; 3];
        for _ in 0..600 {
            let tenant = serve(&mut level, &[1, 2, 3]).unwrap();
            served[tenant as usize] += 1;
        }
        for (n_served, expected) in served.into_iter().zip([100, 200, 300]) {
            assert!(i32::abs(n_served - expected) <= 2, "{served:?}");
        }
    }

    #[test]
    fn coming_back_for_every_turn_gives_no_more_than_a_fair_share() {
        let (mut level, mut number) = level(&[1_000]);
        let mut served = [0; 2];
        for _ in 0..200 {
            if level.lines.get(&1).is_none_or(|it| it.turns.is_empty()) {
                level.add(1, number, task(1), 0);
                number += 1;
            }
            served[serve(&mut level, &[]).unwrap() as usize] += 1;
        }
        assert!(i32::abs(served[0] - served[1]) <= 2, "{served:?}");
    }

    #[test]
    fn a_line_that_is_held_back_does_not_hold_up_the_others() {
        let (mut level, _) = level(&[5, 2]);
        level.hold_back(0);
        assert_eq!(serve(&mut level, &[]), Some(1));
        assert_eq!(serve(&mut level, &[]), Some(1));
        assert_eq!(serve(&mut level, &[]), None);
        assert!(!level.is_open() && level.n_waiting() == 5);
        assert!(level.let_go(0));
        assert_eq!(serve(&mut level, &[]), Some(0));
    }

    #[test]
    fn nothing_is_left_of_lines_that_are_empty() {
        let (mut level, number) = level(&[2, 2]);
        level.remove(0, 0);
        level.remove(0, 1);
        level.remove(0, 1);
        assert_eq!(level.oldest_ms(), Some(0));
        assert_eq!(serve(&mut level, &[]), Some(1));
        assert_eq!(serve(&mut level, &[]), Some(1));
        assert!(level.lines.is_empty() && level.resting.is_empty() && level.order.is_empty());
        level.add(2, number, task(2), 7);
        assert_eq!((level.next(), level.oldest_ms()), (Some(2), Some(7)));
    }
}
