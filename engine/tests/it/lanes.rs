//! Several committers, each with its own partitions.

use futures_util::future::join_all;

use btrust_engine::check::check;
use btrust_schemas::core::Status;

use crate::world::{Fault, Plan, TENANT, WAIT_MS, Worker, World, complete, is_accepted};

const N_LANES: usize = 4;

#[tokio::test]
pub async fn workflows_of_all_lanes_come_to_their_end() {
    let plan = Plan {
        n_lanes: Some(N_LANES),
        ..Plan::default()
    };
    let world = World::new();
    let node = world.node_with(plan).await;
    let keys: Vec<String> = (0..60).map(|it| it.to_string()).collect();
    let started = join_all(keys.iter().map(|it| node.start(it))).await;
    let ids: Vec<_> = started
        .into_iter()
        .map(|it| it.unwrap().workflow.id)
        .collect();
    let lanes: std::collections::BTreeSet<usize> = ids
        .iter()
        .map(|it| usize::from(it.partition()) % N_LANES)
        .collect();
    assert_eq!(lanes.len(), N_LANES);
    let mut worker = Worker::new("a");
    let (mut results, mut n_accepted) = (Vec::new(), 0);
    while n_accepted < 2 * ids.len() {
        let brought = std::mem::take(&mut results);
        let response = worker.exchange(&node, brought, 8, WAIT_MS).await;
        n_accepted += response.acks.iter().filter(|it| is_accepted(it)).count();
        for turn in response.tasks {
            let is_form = turn.state_name == "Fill";
            let outcome = if is_form { "submitted" } else { "approved" };
            results.push(complete(turn.key, outcome));
        }
    }
    for id in ids {
        let view = node.engine.view(TENANT, id).await.unwrap();
        assert_eq!(view.status, Status::Succeeded, "{id}");
    }
    let checked = check(&*node.store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (0, vec![]));
}

#[tokio::test]
async fn a_lane_whose_commit_hangs_does_not_hold_up_the_others() {
    let plan = Plan {
        fault: Some((1, Fault::DiesBefore)),
        n_lanes: Some(N_LANES),
        ..Plan::default()
    };
    let world = World::new();
    let node = world.node_with(plan).await;
    let keys: Vec<String> = (0..40).map(|it| it.to_string()).collect();
    tokio::select! {
        _ = node.start("hangs") => panic!("the first commit did not hang"),
        () = node.store.fired() => {}
    }
    let mut n_answered = 0;
    let mut others: futures_util::stream::FuturesUnordered<_> =
        keys.iter().map(|it| node.start(it)).collect();
    // About a quarter of them are in the lane that hangs; the test ends when twenty have been answered.
    while n_answered < 20 {
        let answered = futures_util::StreamExt::next(&mut others).await.unwrap();
        answered.unwrap();
        n_answered += 1;
    }
}
