//! What a node should give up and take so that every node has its fair share: pure, and the same at all nodes.

use btrust_schemas::ids::N_PARTITIONS;

use crate::store::nodes::Survey;

/// Most partitions that a node gives up, or takes and recovers, in one go.
///
/// Source: a partition stands still while it changes hands; 32 of them are recovered well within the
/// time between two looks, so that nothing stands still for long in a move of half of all partitions.
pub const MOVED_AT_ONCE: usize = 32;

/// What one node should do about its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// How many it should have in the end.
    pub n_wanted: usize,
    pub give_up: Vec<u8>,
    pub take: Vec<u8>,
}

/// Compares what `node` has with its fair share; a node that is not alive has none.
pub fn plan(survey: &Survey, node: &str) -> Plan {
    let n_nodes = survey.nodes.len();
    let Some(rank) = survey.nodes.iter().position(|it| it.node == node) else {
        return Plan::default();
    };
    let n_partitions = usize::from(N_PARTITIONS);
    let n_wanted = n_partitions / n_nodes + usize::from(rank < n_partitions % n_nodes);
    let mine: Vec<u8> = survey
        .leases
        .iter()
        .filter(|it| it.owner == node)
        .map(|it| it.partition)
        .collect();
    let n_surplus = mine.len().saturating_sub(n_wanted).min(MOVED_AT_ONCE);
    // From the end: what is left is a block of neighbours, which are spread over the lanes.
    let give_up = mine.iter().rev().take(n_surplus).copied().collect();
    let n_missing = n_wanted.saturating_sub(mine.len()).min(MOVED_AT_ONCE);
    let mut free = survey.free();
    // Each node begins somewhere else, so that two do not reach for the same ones.
    let first = rank * free.len() / n_nodes;
    free.rotate_left(first);
    free.truncate(n_missing);
    free.sort_unstable();
    Plan {
        n_wanted,
        give_up,
        take: free,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::nodes::{LeaseRecord, NodeRecord};

    fn survey(nodes: &[&str], owned: impl IntoIterator<Item = (u8, &'static str)>) -> Survey {
        let node = |it: &&str| NodeRecord {
            node: (*it).to_owned(),
            url: format!("http://{it}"),
            started_ms: 0,
        };
        let lease = |(partition, owner): (u8, &str)| LeaseRecord {
            partition,
            owner: owner.to_owned(),
            epoch: 1,
        };
        Survey {
            nodes: nodes.iter().map(node).collect(),
            leases: owned.into_iter().map(lease).collect(),
        }
    }

    fn all(owner: &'static str) -> Vec<(u8, &'static str)> {
        (0..=u8::MAX).map(|it| (it, owner)).collect()
    }

    #[test]
    fn a_node_alone_takes_everything_piece_by_piece() {
        let plan = plan(&survey(&["a"], []), "a");
        assert_eq!(plan.n_wanted, 256);
        assert_eq!(plan.take, (0..32).collect::<Vec<u8>>());
        assert!(plan.give_up.is_empty());
    }

    #[test]
    fn the_one_who_has_all_gives_up_a_piece_for_the_one_who_joins() {
        let survey = survey(&["a", "b"], all("a"));
        let first = plan(&survey, "a");
        assert_eq!((first.n_wanted, first.give_up.len()), (128, MOVED_AT_ONCE));
        assert_eq!(first.give_up[0], 255);
        let second = plan(&survey, "b");
        assert_eq!(
            (second.n_wanted, second.take, second.give_up),
            (128, vec![], vec![])
        );
    }

    #[test]
    fn two_who_are_left_do_not_reach_for_the_same_partitions() {
        // c has died; a and b have a third each.
        let third = |it: u8| if it < 86 { "a" } else { "b" };
        let survey = survey(&["a", "b"], (0..171).map(|it| (it, third(it))));
        let plans = ["a", "b"].map(|it| plan(&survey, it));
        assert_eq!(plans.each_ref().map(|it| it.n_wanted), [128, 128]);
        let taken: BTreeSet<u8> = plans.iter().flat_map(|it| it.take.clone()).collect();
        assert_eq!(taken.len(), 2 * MOVED_AT_ONCE);
    }

    #[test]
    fn shares_add_up_and_nobody_moves_what_is_fair() {
        for n_nodes in [1, 2, 3, 5, 7] {
            let nodes: Vec<&'static str> = ["a", "b", "c", "d", "e", "f", "g"][..n_nodes].to_vec();
            let mut owned = Vec::new();
            let mut next = 0;
            for node in &nodes {
                let n_wanted = plan(&survey(&nodes, []), node).n_wanted;
                owned.extend((next..next + n_wanted).map(|it| (u8::try_from(it).unwrap(), *node)));
                next += n_wanted;
            }
            assert_eq!(next, 256, "{n_nodes}");
            let survey = survey(&nodes, owned);
            for node in &nodes {
                let plan = plan(&survey, node);
                assert_eq!((plan.give_up, plan.take), (vec![], vec![]), "{n_nodes}");
            }
        }
    }

    #[test]
    fn a_node_that_the_registry_does_not_know_takes_nothing() {
        assert_eq!(plan(&survey(&["a"], all("x")), "x"), Plan::default());
    }
}
