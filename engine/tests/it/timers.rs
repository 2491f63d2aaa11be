//! Deadlines, by a clock that the test moves.

use btrust_schemas::core::Status;
use btrust_schemas::turn::TurnReason;

use crate::world::{TENANT, WAIT_MS, Worker, World, ask, complete};

#[tokio::test]
async fn a_step_that_nobody_takes_times_out_at_its_deadline() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    world.clock.advance(899_999);
    node.engine.wake().await;
    // Behind the wake in the mailbox, so the timers have been judged when this returns.
    node.started("other").await;
    assert_eq!(
        node.engine.view(TENANT, id).await.unwrap().status,
        Status::Running
    );
    world.clock.advance(1);
    node.engine.wake().await;
    let result = node.engine.result(TENANT, id, WAIT_MS).await.unwrap();
    assert_eq!(
        (result.status, result.error.as_deref()),
        (Status::Failed, Some("States.Timeout"))
    );
    assert!(
        Worker::new("a")
            .exchange(&node, Vec::new(), 9, 0)
            .await
            .tasks
            .iter()
            .all(|it| it.workflow != id)
    );
}

#[tokio::test]
async fn a_prompt_that_nobody_answers_becomes_a_turn_that_says_so() {
    let world = World::new();
    let node = world.node().await;
    node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    worker.report(&node, ask(key, 60_000)).await;
    world.clock.advance(60_000);
    let engine = node.engine.clone();
    let (turn, ()) = tokio::join!(worker.take(&node), engine.wake());
    assert!(
        matches!(turn.reason, TurnReason::Expired { .. }),
        "{:?}",
        turn.reason
    );
}

#[tokio::test]
pub async fn a_deadline_that_passed_while_nobody_ran_is_judged_at_the_next_start() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    node.stop().await;
    world.clock.advance(900_000);
    let node = world.node().await;
    let result = node.engine.result(TENANT, id, WAIT_MS).await.unwrap();
    assert_eq!(result.status, Status::Failed);
}

#[tokio::test]
async fn time_does_not_run_back_with_the_clock() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    world.clock.advance(-1_000_000);
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    worker.report(&node, complete(key, "submitted")).await;
    let page = node.engine.history(TENANT, id, 0, None).await.unwrap();
    let times: Vec<_> = page
        .events
        .iter()
        .map(|it| it["timestamp"].as_str().unwrap().to_owned())
        .collect();
    assert!(times.is_sorted() && 3 < times.len(), "{times:?}");
}
