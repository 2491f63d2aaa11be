//! Which workers may take which turns: a turn asks for labels, a worker offers some.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Most different sets of labels that a process tells apart.
///
/// Source: a fleet has a handful of regions and kinds of hardware; this bounds what workers with wrong
/// labels could make the server remember.
pub const LABEL_SETS_MAX: usize = 10_000;

/// The number of the set without labels: what most turns ask for, and most workers offer.
pub const NO_LABELS: u32 = 0;

/// Sets of labels (`region=eu`, `gpu`) by number.
#[derive(Debug)]
pub struct LabelSets {
    sets: Vec<Arc<BTreeSet<String>>>,
    numbers: HashMap<Arc<BTreeSet<String>>, u32>,
}

impl Default for LabelSets {
    fn default() -> Self {
        let none = Arc::new(BTreeSet::new());
        Self {
            sets: vec![Arc::clone(&none)],
            numbers: HashMap::from([(none, NO_LABELS)]),
        }
    }
}

impl LabelSets {
    /// The number of a set.
    pub fn number(&mut self, labels: BTreeSet<String>) -> u32 {
        if labels.is_empty() {
            return NO_LABELS;
        }
        if let Some(number) = self.numbers.get(&labels) {
            return *number;
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let labels = Arc::new(labels);
        self.sets.push(Arc::clone(&labels));
        self.numbers.insert(labels, number);
        number
    }

    /// The number of a set that a worker offers; with too many known already it counts as offering none.
    pub fn number_if_room(&mut self, labels: BTreeSet<String>) -> u32 {
        if LABEL_SETS_MAX <= self.sets.len() && !self.numbers.contains_key(&labels) {
            return NO_LABELS;
        }
        self.number(labels)
    }

    /// Whether whoever offers the one set may take what asks for the other: all of its labels are there.
    pub fn fits(&self, asked: u32, offered: u32) -> bool {
        asked == NO_LABELS || asked == offered || self.set(asked).is_subset(self.set(offered))
    }

    /// The labels of a set, as people write them.
    pub fn text(&self, number: u32) -> String {
        let labels: Vec<&str> = self.set(number).iter().map(String::as_str).collect();
        labels.join(",")
    }

    fn set(&self, number: u32) -> &BTreeSet<String> {
        let index = usize::try_from(number).unwrap_or(0);
        &self.sets[index.min(self.sets.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[&str]) -> BTreeSet<String> {
        labels.iter().map(|&it| it.to_owned()).collect()
    }

    #[test]
    fn a_worker_needs_every_label_that_is_asked_for() {
        let mut sets = LabelSets::default();
        let asked = sets.number(set(&["gpu", "region=eu"]));
        let more = sets.number(set(&["fast", "gpu", "region=eu"]));
        let fewer = sets.number(set(&["region=eu"]));
        assert!(sets.fits(asked, asked) && sets.fits(asked, more));
        assert!(!sets.fits(asked, fewer) && !sets.fits(asked, NO_LABELS));
        assert!(sets.fits(NO_LABELS, NO_LABELS) && sets.fits(NO_LABELS, fewer));
        assert_eq!(sets.text(asked), "gpu,region=eu");
        assert_eq!(sets.number(set(&["gpu", "region=eu"])), asked);
    }
}
