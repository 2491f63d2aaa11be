//! Many identical starts at once, with one key.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use btrust_engine::check::check;
use btrust_engine::store::lists::ListFilter;

use crate::world::{TENANT, World, start_request};

/// Keys of the test.
const KEYS: usize = 50;
/// Starts at once with each key.
const STARTS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_identical_starts_at_once_are_one_workflow() {
    let world = World::new();
    let node = world.node().await;
    for key in 0..KEYS {
        let key = format!("key-{key}");
        let starts: Vec<_> = (0..STARTS)
            .map(|_| {
                let engine = node.engine.clone();
                let request = start_request(&key);
                tokio::spawn(async move { engine.start_workflow(request).await })
            })
            .collect();
        let answers: Vec<_> = join_all(starts)
            .await
            .into_iter()
            .map(|it| it.unwrap().unwrap())
            .collect();
        let ids: BTreeSet<_> = answers.iter().map(|it| it.workflow.id).collect();
        let n_created = answers.iter().filter(|it| it.created).count();
        assert_eq!((ids.len(), n_created), (1, 1), "{key}");
    }
    let everything = ListFilter {
        tenant: TENANT.to_owned(),
        limit: u32::try_from(2 * KEYS).unwrap(),
        ..ListFilter::default()
    };
    assert_eq!(node.lists.page(&everything).await.unwrap().rows.len(), KEYS);
    let checked = check(&*node.store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (KEYS, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identical_starts_before_and_after_a_restart_are_one_workflow() {
    let world = World::new();
    let node = world.node().await;
    let before = node.start("key").await.unwrap();
    node.stop().await;
    let node = world.node().await;
    let answers = join_all((0..STARTS).map(|_| node.start("key"))).await;
    let is_same = |it: &btrust_schemas::core::StartResponse| {
        !it.created && it.workflow.id == before.workflow.id
    };
    assert!(answers.into_iter().all(|it| is_same(&it.unwrap())));
}
