//! The queue of one step: which of its waiting turns comes next.

use std::collections::{BTreeMap, BTreeSet};

use super::level::Level;

/// Priorities of workflows, 0 to 9; the higher one comes first.
pub const N_PRIORITIES: usize = 10;
/// How long a turn waits before it may come ahead of higher priorities, ms.
///
/// Source: half of the minute after which a person thinks that nothing happens.
pub const PRIORITY_AGED_MS: i64 = 30_000;
/// One in so many turns of a step goes to the one that has waited longest, if it has aged.
///
/// Source: what has aged moves on, and higher priorities keep three quarters of the workers.
pub const PRIORITY_AGED_EVERY: u32 = 4;

/// Where a turn waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub queue: u32,
    /// The set of labels that it asks for.
    pub labels: u32,
    pub priority: u8,
    pub tenant: u32,
}

/// What a queue serves next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    pub labels: u32,
    pub priority: u8,
    /// Whether it comes ahead of a higher priority because it has waited for long.
    pub is_aged: bool,
}

#[derive(Debug, Default)]
pub struct Queue {
    /// By the set of labels that the turns ask for; a fleet has few.
    groups: BTreeMap<u32, Group>,
    /// The label set that was served last.
    last_labels: u32,
    /// Turns handed out since one that had aged.
    n_ahead: u32,
    /// Calls that wait for this step, by the labels that they offer.
    pub calls: BTreeMap<u32, BTreeSet<u64>>,
    /// Turns of the step that workers hold.
    pub n_leased: u64,
    /// Sessions that serve this step, by the labels that they offer.
    pub n_serving: BTreeMap<u32, usize>,
}

#[derive(Debug, Default)]
struct Group {
    levels: [Level; N_PRIORITIES],
}

impl Group {
    fn top(&self) -> Option<usize> {
        (0..N_PRIORITIES)
            .rev()
            .find(|it| self.levels[*it].is_open())
    }
}

impl Queue {
    /// The level that a place names.
    pub fn level(&mut self, place: Place) -> &mut Level {
        let group = self.groups.entry(place.labels).or_default();
        &mut group.levels[usize::from(place.priority).min(N_PRIORITIES - 1)]
    }

    /// Label sets with a turn that could be taken now.
    pub fn open_labels(&self) -> impl Iterator<Item = u32> {
        let open = self.groups.iter().filter(|(_, it)| it.top().is_some());
        open.map(|(labels, _)| *labels)
    }

    /// The label set and priority to serve next, among the label sets that `fits` lets pass.
    pub fn pick(&self, fits: impl Fn(u32) -> bool, now_ms: i64) -> Option<Picked> {
        let fitting = || self.groups.iter().filter(|(labels, _)| fits(**labels));
        let top = fitting().filter_map(|(_, it)| it.top()).max()?;
        let priority = |level: usize| u8::try_from(level).unwrap_or(0);
        if PRIORITY_AGED_EVERY <= self.n_ahead + 1 {
            let below = fitting()
                .flat_map(|(labels, it)| (0..top).map(move |at| (*labels, at, &it.levels[at])));
            let aged = below
                .filter(|(_, _, level)| level.is_open())
                .filter_map(|(labels, at, level)| Some((level.oldest_ms()?, labels, at)))
                .min();
            if let Some((oldest_ms, labels, at)) = aged
                && oldest_ms.saturating_add(PRIORITY_AGED_MS) <= now_ms
            {
                return Some(Picked {
                    labels,
                    priority: priority(at),
                    is_aged: true,
                });
            }
        }
        // Label sets take turns, so that much of one does not delay another.
        let at_top = |(labels, it): &(&u32, &Group)| it.levels[top].is_open() && fits(**labels);
        let after = self.groups.range(self.last_labels.saturating_add(1)..);
        let (labels, _) = after.chain(&self.groups).find(at_top)?;
        Some(Picked {
            labels: *labels,
            priority: priority(top),
            is_aged: false,
        })
    }

    /// Notes that what was picked was handed out.
    pub fn served(&mut self, picked: Picked) {
        self.last_labels = picked.labels;
        self.n_ahead = if picked.is_aged {
            0
        } else {
            self.n_ahead.saturating_add(1)
        };
    }

    /// What waits at each label set and priority: how many, and since when the oldest, ms.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, u8, usize, i64)> {
        self.groups.iter().flat_map(|(labels, group)| {
            (0..).zip(&group.levels).filter_map(|(priority, level)| {
                Some((*labels, priority, level.n_waiting(), level.oldest_ms()?))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use btrust_schemas::ids::{TaskId, WorkflowId};

    use super::*;

    struct Bench {
        queue: Queue,
        number: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                queue: Queue::default(),
                number: 0,
            }
        }

        fn add(&mut self, labels: u32, priority: u8, ready_ms: i64) {
            let workflow = WorkflowId::new(0, [0; 15]);
            let task = TaskId {
                workflow,
                number: 1,
            };
            let place = Place {
                queue: 0,
                labels,
                priority,
                tenant: 0,
            };
            self.number += 1;
            self.queue.level(place).add(0, self.number, task, ready_ms);
        }

        fn take(&mut self, now_ms: i64) -> Option<(u32, u8)> {
            let picked = self.queue.pick(|_| true, now_ms)?;
            let place = Place {
                queue: 0,
                labels: picked.labels,
                priority: picked.priority,
                tenant: 0,
            };
            self.queue.level(place).take(0, 1)?;
            self.queue.served(picked);
            Some((picked.labels, picked.priority))
        }
    }

    #[test]
    fn the_higher_priority_comes_first_however_late_it_came() {
        let mut bench = Bench::new();
        for (priority, ready_ms) in [(0, 0), (5, 1), (9, 2), (5, 3)] {
            bench.add(0, priority, ready_ms);
        }
        let taken: Vec<_> = (0..5).map_while(|_| bench.take(4)).collect();
        assert_eq!(taken, [(0, 9), (0, 5), (0, 5), (0, 0)]);
    }

    #[test]
    fn a_low_priority_that_has_aged_gets_its_share_and_no_more() {
        let mut bench = Bench::new();
        for _ in 0..100 {
            bench.add(0, 0, 0);
            bench.add(0, 9, 0);
        }
        let early: Vec<_> = (0..20)
            .filter_map(|_| bench.take(PRIORITY_AGED_MS - 1))
            .collect();
        assert!(early.iter().all(|it| it.1 == 9), "{early:?}");
        let late: Vec<_> = (0..40)
            .filter_map(|_| bench.take(PRIORITY_AGED_MS))
            .collect();
        assert_eq!(late.iter().filter(|it| it.1 == 0).count(), 10, "{late:?}");
    }

    #[test]
    fn label_sets_take_turns_and_others_are_not_given_away() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.add(0, 5, 0);
        }
        bench.add(7, 5, 0);
        assert_eq!(bench.queue.pick(|labels| labels == 3, 0), None);
        let taken: Vec<_> = (0..4).filter_map(|_| bench.take(0)).collect();
        assert!(taken[..2].contains(&(7, 5)), "{taken:?}");
    }
}
