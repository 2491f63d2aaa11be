//! What every [`NodeStore`] must do; each adapter's tests call [`check`] with a store that nobody shares.

#![expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]

use super::nodes::{NodeEntry, NodeStore};
use super::{Batch, Cursor, Fence, Store};

/// Longer than any test runs, ms.
const LONG_MS: i64 = 3_600_000;
/// A lease that has ended when it begins, ms.
const OVER_MS: i64 = -1;

/// Runs every rule against `nodes`, whose journal is `store`.
///
/// # Panics
///
/// At the first rule that the store breaks.
pub async fn check(nodes: &dyn NodeStore, store: &dyn Store) {
    a_node_lives_until_its_time_ends(nodes).await;
    a_partition_is_taken_once_and_again_when_its_owner_is_dead(nodes, store).await;
    what_is_given_back_is_free_and_its_late_writes_are_fenced(nodes, store).await;
    a_node_that_leaves_or_enters_again_leaves_nothing_behind(nodes).await;
}

fn entry(node: &str) -> NodeEntry {
    NodeEntry {
        node: node.to_owned(),
        url: format!("http://{node}:5002"),
    }
}

async fn names(nodes: &dyn NodeStore) -> Vec<String> {
    let survey = nodes.survey().await.unwrap();
    survey.nodes.into_iter().map(|it| it.node).collect()
}

async fn take(nodes: &dyn NodeStore, node: &str, partitions: &[u8]) -> Vec<Fence> {
    let acquired = nodes.take(node, partitions).await.unwrap();
    let fence = |it: &super::OwnedPartition| Fence {
        partition: it.partition,
        epoch: it.epoch,
    };
    acquired.partitions.iter().map(fence).collect()
}

/// Which of these fences the store holds against a commit, and against the relay.
async fn fenced(store: &dyn Store, fences: &[Fence]) -> Vec<u8> {
    let batch = Batch {
        fences: fences.to_vec(),
        ..Batch::default()
    };
    let of_commit = store.commit(&batch).await.unwrap().fenced;
    let cursor = |it: &Fence| Cursor {
        partition: it.partition,
        batch: 1,
    };
    let cursors: Vec<Cursor> = fences.iter().map(cursor).collect();
    let of_relay = store.put_cursors(&cursors, fences).await.unwrap().fenced;
    assert_eq!(of_commit, of_relay);
    of_commit
}

async fn a_node_lives_until_its_time_ends(nodes: &dyn NodeStore) {
    assert_eq!(nodes.join(&entry("b"), None, LONG_MS).await.unwrap(), 1);
    nodes.join(&entry("a"), None, LONG_MS).await.unwrap();
    nodes.join(&entry("late"), None, OVER_MS).await.unwrap();
    assert_eq!(names(nodes).await, ["a", "b"]);
    assert!(nodes.renew("a", LONG_MS).await.unwrap());
    for node in ["late", "unknown"] {
        assert!(!nodes.renew(node, LONG_MS).await.unwrap(), "{node}");
    }
    assert_eq!(names(nodes).await, ["a", "b"]);
    let survey = nodes.survey().await.unwrap();
    assert_eq!(survey.nodes[1].url, "http://b:5002");
    assert_eq!(take(nodes, "late", &[1]).await, []);
}

async fn a_partition_is_taken_once_and_again_when_its_owner_is_dead(
    nodes: &dyn NodeStore,
    store: &dyn Store,
) {
    let first = take(nodes, "a", &[10, 11]).await;
    assert_eq!(first.len(), 2);
    assert_eq!(take(nodes, "a", &[10]).await, []);
    let second = take(nodes, "b", &[11, 12]).await;
    assert_eq!(second.len(), 1);
    let survey = nodes.survey().await.unwrap();
    let owners: Vec<(u8, &str, i64)> = survey
        .leases
        .iter()
        .map(|it| (it.partition, it.owner.as_str(), it.epoch))
        .collect();
    let expected = [
        (10, "a", first[0].epoch),
        (11, "a", first[1].epoch),
        (12, "b", second[0].epoch),
    ];
    assert_eq!(owners, expected);
    assert_eq!(survey.free().len(), 253);
    assert!(fenced(store, &first).await.is_empty());

    // Its time ends: others take what it had, and what it writes late is refused.
    nodes.renew("a", OVER_MS).await.unwrap();
    let taken = take(nodes, "b", &[10]).await;
    assert_eq!(taken[0].epoch, first[0].epoch + 1);
    assert_eq!(fenced(store, &first).await, [10]);
    assert!(fenced(store, &taken).await.is_empty());
}

async fn what_is_given_back_is_free_and_its_late_writes_are_fenced(
    nodes: &dyn NodeStore,
    store: &dyn Store,
) {
    let held = take(nodes, "b", &[20, 21]).await;
    let earlier = Fence {
        epoch: held[1].epoch - 1,
        ..held[1]
    };
    // Not what another one has, nor what it had under an earlier epoch.
    nodes.give_back("c", &held).await.unwrap();
    nodes.give_back("b", &[held[0], earlier]).await.unwrap();
    assert_eq!(fenced(store, &held).await, [20]);
    nodes.join(&entry("c"), None, LONG_MS).await.unwrap();
    let taken = take(nodes, "c", &[20, 21]).await;
    assert_eq!((taken.len(), taken[0].partition), (1, 20));
    assert!(held[0].epoch < taken[0].epoch);
    assert!(fenced(store, &taken).await.is_empty());
}

async fn a_node_that_leaves_or_enters_again_leaves_nothing_behind(nodes: &dyn NodeStore) {
    let of_c = take(nodes, "c", &[30]).await;
    nodes.join(&entry("d"), Some("c"), LONG_MS).await.unwrap();
    assert_eq!(names(nodes).await, ["b", "d"]);
    let of_d = take(nodes, "d", &[30]).await;
    assert_eq!(of_d[0].epoch, of_c[0].epoch + 1);
    nodes.leave("d").await.unwrap();
    nodes.leave("b").await.unwrap();
    let survey = nodes.survey().await.unwrap();
    assert_eq!((survey.nodes.len(), survey.free().len()), (0, 256));
}
