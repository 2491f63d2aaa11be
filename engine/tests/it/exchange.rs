//! The protocol between workers and core.

use btrust_engine::EngineError;
use btrust_schemas::exchange::{Ack, ExchangeResponse};
use btrust_schemas::turn::{TurnKey, TurnReason};
use serde_json::json;

use crate::world::{EVERYTHING, TENANT, WAIT_MS, Worker, World, checkpoint, complete, is_accepted};

#[tokio::test]
async fn a_turn_carries_what_its_step_needs() {
    let node = World::new().node().await;
    let id = node.started("key").await;
    node.engine
        .acknowledgements()
        .put(TENANT, "uncertified_liveness", "we know", "admin")
        .await
        .unwrap();
    let turn = Worker::new("a").take(&node).await;
    assert_eq!(
        (turn.workflow, turn.tenant.as_str(), turn.locale.as_str()),
        (id, TENANT, "he")
    );
    assert_eq!(
        (turn.state_name.as_str(), turn.resource.as_str()),
        ("Fill", "kyc:form@1")
    );
    assert_eq!((turn.key.attempt, turn.key.turn), (1, 1));
    assert_eq!(turn.arguments, json!({ "secret": "only-for-the-step" }));
    assert_eq!(turn.reason, TurnReason::First);
    assert_eq!(
        (turn.subject, turn.acknowledgements),
        (id.to_string(), vec!["uncertified_liveness".to_owned()])
    );
    assert_eq!((turn.state, turn.checkpoint), (None, None));
}

#[tokio::test]
pub async fn an_acknowledgement_brings_the_next_turn_with_it() {
    let node = World::new().node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let turn = worker.take(&node).await;
    let response = worker
        .exchange(&node, vec![complete(turn.key, "submitted")], 1, WAIT_MS)
        .await;
    assert!(response.acks.iter().all(is_accepted) && response.acks.len() == 1);
    assert_eq!(response.tasks.len(), 1);
    assert_eq!(response.tasks[0].state_name, "Look");
    assert_eq!(response.nodes, ["http://localhost:5002"]);
    let response = worker
        .exchange(
            &node,
            vec![complete(response.tasks[0].key, "approved")],
            1,
            WAIT_MS,
        )
        .await;
    assert!(response.acks.iter().all(is_accepted) && response.tasks.is_empty());
    let view = node.engine.view(TENANT, id).await.unwrap();
    assert_eq!(view.decision.as_deref(), Some("approved"));
    assert_eq!(view.outcomes["Look"], "approved");
    // Start, and one commit a step.
    assert_eq!(node.store.n_commits(), 3);
}

#[tokio::test]
async fn a_parked_worker_hears_of_a_turn_at_once() {
    let node = World::new().node().await;
    let mut worker = Worker::new("a");
    let (turn, id) = tokio::join!(worker.take(&node), node.started("key"));
    assert_eq!(turn.workflow, id);
}

#[tokio::test]
async fn a_repeated_call_gets_the_stored_answer() {
    let node = World::new().node().await;
    node.started("key").await;
    let mut worker = Worker::new("a");
    let request = worker.request(Vec::new(), 1, WAIT_MS);
    let first = node
        .engine
        .exchange("workers", &EVERYTHING, request.clone())
        .await
        .unwrap();
    let again = node
        .engine
        .exchange("workers", &EVERYTHING, request.clone())
        .await
        .unwrap();
    assert_eq!(first, again);
    let response: ExchangeResponse = serde_json::from_slice(&again).unwrap();
    assert_eq!(response.tasks.len(), 1);

    worker.held = response.tasks.iter().map(|it| it.key).collect();
    worker.exchange(&node, Vec::new(), 0, 0).await;
    let late = node
        .engine
        .exchange("workers", &EVERYTHING, request)
        .await
        .unwrap_err();
    assert_eq!(late.code(), "exchange_out_of_order");
}

#[tokio::test]
async fn a_later_call_ends_a_parked_one() {
    let node = World::new().node().await;
    let mut worker = Worker::new("a");
    let parked = worker.request(Vec::new(), 1, WAIT_MS);
    let later = worker.request(Vec::new(), 0, 0);
    let engine = node.engine.clone();
    let (parked, later) = tokio::join!(
        engine.exchange("workers", &EVERYTHING, parked),
        engine.exchange("workers", &EVERYTHING, later)
    );
    assert_eq!(parked.unwrap_err().code(), "exchange_out_of_order");
    assert!(later.is_ok());
}

#[tokio::test]
async fn a_turn_that_is_not_held_goes_to_somebody_else_at_once() {
    let node = World::new().node().await;
    node.started("key").await;
    let (mut first, mut second) = (Worker::new("a"), Worker::new("b"));
    let turn = first.take(&node).await;
    assert!(
        second
            .exchange(&node, Vec::new(), 1, 0)
            .await
            .tasks
            .is_empty()
    );
    first.held.clear();
    first.exchange(&node, Vec::new(), 0, 0).await;
    assert_eq!(second.take(&node).await, turn);

    // The first result counts, whatever lease it was made under; the other one is told.
    assert_eq!(
        first.report(&node, complete(turn.key, "submitted")).await,
        Ack::ACCEPTED
    );
    assert_eq!(
        second.report(&node, complete(turn.key, "expired")).await,
        "turn_closed"
    );
}

#[tokio::test]
async fn a_silent_worker_loses_its_turns_after_its_lease() {
    let world = World::new();
    let node = world.node().await;
    node.started("key").await;
    let (mut first, mut second) = (Worker::new("a"), Worker::new("b"));
    let turn = first.take(&node).await;
    world.clock.advance(29_999);
    node.engine.wake().await;
    assert!(
        second
            .exchange(&node, Vec::new(), 1, 0)
            .await
            .tasks
            .is_empty()
    );
    world.clock.advance(1);
    node.engine.wake().await;
    assert_eq!(second.take(&node).await, turn);
}

#[tokio::test]
pub async fn a_doubled_result_gets_the_same_acknowledgement() {
    let node = World::new().node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    for _ in 0..2 {
        assert_eq!(
            worker.report(&node, complete(key, "submitted")).await,
            Ack::ACCEPTED
        );
    }
    let twice = vec![complete(key, "submitted"), complete(key, "submitted")];
    let response = worker.exchange(&node, twice, 0, 0).await;
    assert!(response.acks.iter().all(is_accepted) && response.acks.len() == 2);
    let n_succeeded = node
        .history(id)
        .await
        .iter()
        .filter(|it| *it == "TaskSucceeded")
        .count();
    assert_eq!(n_succeeded, 1);
}

#[tokio::test]
async fn a_result_of_a_turn_that_is_not_open_is_refused_by_code() {
    let node = World::new().node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    let later = TurnKey { turn: 2, ..key };
    assert_eq!(
        worker.report(&node, complete(later, "submitted")).await,
        "turn_unknown"
    );
    let mut elsewhere = key;
    elsewhere.task.workflow = btrust_schemas::ids::WorkflowId::new(9, [9; 15]);
    assert_eq!(
        worker.report(&node, complete(elsewhere, "submitted")).await,
        "workflow_unknown"
    );
    let cancel = btrust_schemas::core::CancelRequest {
        tenant: TENANT.to_owned(),
        reason: None,
        grace_seconds: 0,
        actor: "bank".to_owned(),
    };
    node.engine.cancel(id, cancel).await.unwrap();
    assert_eq!(
        worker.report(&node, complete(key, "submitted")).await,
        "workflow_closed"
    );
}

#[tokio::test]
async fn a_checkpoint_is_known_to_whoever_gets_the_turn_next() {
    let world = World::new();
    let node = world.node().await;
    node.started("key").await;
    let (mut first, mut second) = (Worker::new("a"), Worker::new("b"));
    let key = first.take(&node).await.key;
    assert_eq!(first.report(&node, checkpoint(key)).await, Ack::ACCEPTED);
    first.held.clear();
    first.exchange(&node, Vec::new(), 0, 0).await;
    let again = second.take(&node).await;
    assert_eq!(
        (again.key, again.checkpoint),
        (key, Some(json!({ "sending": true })))
    );
    // A third process, after the node has died.
    let node = world.node().await;
    let again = Worker::new("c").take(&node).await;
    assert_eq!(
        (again.key, again.checkpoint),
        (key, Some(json!({ "sending": true })))
    );
}

#[tokio::test]
async fn only_the_holder_of_a_turn_may_begin_its_effect() {
    let node = World::new().node().await;
    node.started("key").await;
    let (mut first, mut second) = (Worker::new("a"), Worker::new("b"));
    let key = first.take(&node).await.key;
    first.held.clear();
    first.exchange(&node, Vec::new(), 0, 0).await;
    assert_eq!(second.take(&node).await.key, key);
    assert_eq!(first.report(&node, checkpoint(key)).await, "lease_lost");
    assert_eq!(second.report(&node, checkpoint(key)).await, Ack::ACCEPTED);
}

#[tokio::test]
async fn an_exchange_without_a_session_is_refused() {
    let node = World::new().node().await;
    let request = Worker::new("").request(Vec::new(), 1, 0);
    let error = node
        .engine
        .exchange("workers", &EVERYTHING, request)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            EngineError::Invalid {
                code: "exchange_invalid",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_stale_holder_cannot_repeat_an_effect_that_another_session_has_begun() {
    let world = World::new();
    let node = world.node().await;
    node.started("key").await;
    let (mut stale, mut second) = (Worker::new("a"), Worker::new("b"));
    let key = stale.take(&node).await.key;
    let release = async |worker: &mut Worker, node| {
        worker.held.clear();
        worker.exchange(node, Vec::new(), 0, 0).await;
    };
    release(&mut stale, &node).await;
    assert_eq!(second.take(&node).await.key, key);
    assert_eq!(second.report(&node, checkpoint(key)).await, Ack::ACCEPTED);
    assert_eq!(second.report(&node, checkpoint(key)).await, Ack::ACCEPTED);
    release(&mut second, &node).await;

    // Nobody holds it now, so the stale worker is taken for its holder, but not for the effect's.
    stale.held = vec![key];
    assert_eq!(stale.report(&node, checkpoint(key)).await, "lease_lost");
    release(&mut stale, &node).await;
    // Whoever is given the turn with the checkpoint knows of it and goes on.
    let mut third = Worker::new("c");
    let turn = third.take(&node).await;
    assert_eq!((turn.key, turn.checkpoint.is_some()), (key, true));
    assert_eq!(third.report(&node, checkpoint(key)).await, Ack::ACCEPTED);

    // After a restart nobody knows whose it was.
    let node = world.node().await;
    assert_eq!(third.report(&node, checkpoint(key)).await, "lease_lost");
}
