//! How a batch is cut in two, to find what of it the store refuses.

use std::collections::HashMap;

use btrust_schemas::ids::WorkflowId;

use crate::store::Write;

/// Cuts `writes` into two parts of about the same size; the second is empty when nothing may be cut.
///
/// A start and what it does to other workflows are in the store together or not at all: the workflow that it
/// ends has not ended if the new one has not begun.
pub fn halve(writes: Vec<Write>) -> (Vec<Write>, Vec<Write>) {
    let groups = groups(&writes);
    let mut sizes: HashMap<usize, usize> = HashMap::new();
    for group in &groups {
        *sizes.entry(*group).or_default() += 1;
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let half = writes.len().div_ceil(2);
    let mut of_first: HashMap<usize, bool> = HashMap::new();
    let mut n_first = 0;
    for (write, group) in writes.into_iter().zip(groups) {
        let is_first = *of_first.entry(group).or_insert_with(|| {
            let is_first = n_first < half;
            n_first += if is_first { sizes[&group] } else { 0 };
            is_first
        });
        if is_first {
            first.push(write);
        } else {
            second.push(write);
        }
    }
    (first, second)
}

/// The number of the group of each write; what hangs together has the same.
fn groups(writes: &[Write]) -> Vec<usize> {
    let places: HashMap<WorkflowId, usize> = writes
        .iter()
        .enumerate()
        .map(|(place, it)| (it.workflow, place))
        .collect();
    let mut groups: Vec<usize> = (0..writes.len()).collect();
    for (place, write) in writes.iter().enumerate() {
        for other in write.touched_by_start() {
            let Some(other) = places.get(&other) else {
                continue;
            };
            let (kept, joined) = (groups[place], groups[*other]);
            for group in groups.iter_mut().filter(|it| **it == joined) {
                *group = kept;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::first_write;

    fn id(n: u8) -> WorkflowId {
        WorkflowId::new(n, [n; 15])
    }

    fn ids(writes: &[Write]) -> Vec<u8> {
        writes.iter().map(|it| it.workflow.partition()).collect()
    }

    fn plain(n: u8) -> Write {
        Write {
            start: None,
            columns: None,
            ..first_write(id(n), n, 1)
        }
    }

    fn replacing(n: u8, old: u8) -> Write {
        let mut write = first_write(id(n), n, 1);
        if let Some(start) = &mut write.start {
            start.replaces = Some(id(old));
        }
        write
    }

    #[test]
    fn strangers_are_cut_in_the_middle() {
        let (first, second) = halve((1..=5).map(plain).collect());
        assert_eq!((ids(&first), ids(&second)), (vec![1, 2, 3], vec![4, 5]));
    }

    #[test]
    fn a_start_stays_with_what_it_ends() {
        let (first, second) = halve(vec![plain(1), plain(2), plain(3), replacing(4, 1)]);
        assert_eq!((ids(&first), ids(&second)), (vec![1, 4], vec![2, 3]));
        let (first, second) = halve(vec![plain(1), replacing(4, 1)]);
        assert_eq!((ids(&first), ids(&second)), (vec![1, 4], vec![]));
    }

    #[test]
    fn what_hangs_together_by_a_third_stays_together() {
        let (first, second) = halve(vec![replacing(4, 1), replacing(5, 1), plain(1), plain(2)]);
        assert_eq!((ids(&first), ids(&second)), (vec![4, 5, 1], vec![2]));
    }
}
