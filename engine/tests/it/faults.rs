//! Commits that fail, and commits that nobody knows the end of.

use futures_util::future::join_all;

use btrust_engine::check::check;
use btrust_engine::store::{Fence, Store};
use btrust_schemas::core::Status;
use btrust_schemas::exchange::Ack;
use btrust_schemas::search::HoldRequest;

use crate::world::{
    EVERYTHING, Fault, Plan, TENANT, Worker, World, checkpoint, complete, start_request,
};

fn at(number: usize, fault: Fault) -> Plan {
    Plan {
        fault: Some((number, fault)),
        ..Plan::default()
    }
}

#[tokio::test]
pub async fn a_start_whose_commit_fails_is_not_there_and_can_be_repeated() {
    for fault in [Fault::Unavailable, Fault::UnknownAbsent] {
        let world = World::new();
        let node = world.node_with(at(1, fault)).await;
        let error = node.start("key").await.unwrap_err();
        assert_eq!(
            (error.code(), error.status()),
            ("unavailable", 503),
            "{fault:?}"
        );
        let again = node.start("key").await.unwrap();
        assert!(again.created, "{fault:?}");
        assert_eq!(node.history(again.workflow.id).await[0], "ExecutionStarted");
    }
}

#[tokio::test]
pub async fn a_commit_that_turns_out_to_be_there_is_answered_as_such() {
    let world = World::new();
    let node = world.node_with(at(1, Fault::UnknownPresent)).await;
    let first = node.start("key").await.unwrap();
    let again = node.start("key").await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!(first.workflow, again.workflow);
}

#[tokio::test]
pub async fn a_result_whose_commit_fails_is_neither_lost_nor_doubled() {
    for fault in [
        Fault::Unavailable,
        Fault::UnknownAbsent,
        Fault::UnknownPresent,
    ] {
        let world = World::new();
        let node = world.node_with(at(2, fault)).await;
        let id = node.started("key").await;
        let mut worker = Worker::new("a");
        let key = worker.take(&node).await.key;
        let request = worker.request(vec![complete(key, "submitted")], 0, 0);
        let first = node.engine.exchange("workers", &EVERYTHING, request).await;
        // A worker whose results cannot be stored is told to stay away for a moment.
        let error = first.err().map(|it| (it.code().to_owned(), it.status()));
        let expected = (fault != Fault::UnknownPresent).then(|| ("unavailable".to_owned(), 503));
        assert_eq!(error, expected, "{fault:?}");
        // Without an acknowledgement the worker brings it again; the turn was not given away meanwhile.
        assert_eq!(
            worker.report(&node, complete(key, "submitted")).await,
            Ack::ACCEPTED
        );
        let next = worker.take(&node).await;
        assert_eq!(next.state_name, "Look");
        worker.report(&node, complete(next.key, "approved")).await;
        let history = node.history(id).await;
        assert_eq!(
            history.iter().filter(|it| *it == "TaskSucceeded").count(),
            2,
            "{fault:?}: {history:?}"
        );
        assert_eq!(
            node.engine.view(TENANT, id).await.unwrap().status,
            Status::Succeeded
        );
    }
}

#[tokio::test]
pub async fn one_workflow_that_the_store_refuses_does_not_hold_up_the_others() {
    let world = World::new();
    let bad_digest = "b".repeat(64);
    let plan = Plan {
        refused_digest: Some(bad_digest.clone()),
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    let mut bad = start_request("bad");
    bad.request_digest = bad_digest;
    let keys: Vec<String> = (0..40).map(|it| it.to_string()).collect();
    let (refused, good) = tokio::join!(
        node.engine.start_workflow(bad),
        join_all(keys.iter().map(|it| node.start(it)))
    );
    assert_eq!(refused.unwrap_err().code(), "workflow_incident");
    assert!(good.iter().all(Result::is_ok));
    let checked = check(&*node.store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (40, vec![]));
}

#[tokio::test]
pub async fn a_process_that_was_taken_over_cannot_write_any_more() {
    let world = World::new();
    let old = world.node().await;
    let id = old.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&old).await.key;
    let new = world.node().await;
    let request = worker.request(vec![complete(key, "expired")], 0, 0);
    let refused = old.engine.exchange("workers", &EVERYTHING, request).await;
    assert_eq!(refused.unwrap_err().code(), "unavailable");
    let n_lost = [&old, &new].map(|it| it.engine.n_lost_partitions());
    assert_eq!(n_lost, [1, 0]);
    assert_eq!(
        old.start("another").await.unwrap_err().code(),
        "unavailable"
    );

    let mut worker = Worker::new("b");
    let key = worker.take(&new).await.key;
    assert_eq!(
        worker.report(&new, complete(key, "submitted")).await,
        Ack::ACCEPTED
    );
    assert_eq!(
        new.engine.view(TENANT, id).await.unwrap().outcomes["Fill"],
        "submitted"
    );
}

#[tokio::test]
async fn a_committer_that_has_ended_is_noticed() {
    let world = World::new();
    let mut node = world.node_with(at(1, Fault::Panics)).await;
    assert_eq!(node.start("key").await.unwrap_err().code(), "unavailable");
    // Core ends with an error then, instead of refusing everybody for ever.
    node.running.ended().await;
    assert_eq!(node.start("key").await.unwrap_err().code(), "unavailable");
    node.stop().await;
}

#[tokio::test]
pub async fn an_incident_that_a_commit_clears_gives_all_turns_back() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut first = Worker::new("a");
    let key = first.take(&node).await.key;
    let fence = Fence {
        partition: id.partition(),
        epoch: 1,
    };
    node.store
        .put_incident(id, "commit_refused", fence)
        .await
        .unwrap();
    // A restart leaves out what an incident has stopped.
    let node = world.node().await;
    let mut second = Worker::new("b");
    let nothing = second.exchange(&node, Vec::new(), 1, 0).await;
    assert!(nothing.tasks.is_empty());
    assert_eq!(first.report(&node, checkpoint(key)).await, Ack::ACCEPTED);
    assert_eq!(second.take(&node).await.key, key);
}

#[tokio::test]
pub async fn a_note_about_a_workflow_that_an_incident_has_stopped_leaves_it_stopped() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let fence = Fence {
        partition: id.partition(),
        epoch: 1,
    };
    let marked = node.store.put_incident(id, "commit_refused", fence).await;
    marked.unwrap();
    for hold in [true, false] {
        let node = world.node().await;
        let request = HoldRequest {
            tenant: TENANT.to_owned(),
            hold,
            actor: "ops".to_owned(),
        };
        assert_eq!(
            node.engine.hold(id, request).await.unwrap().legal_hold,
            hold
        );
        let nothing = Worker::new("a").exchange(&node, Vec::new(), 1, 0).await;
        assert!(nothing.tasks.is_empty());
        let record = node.store.load(&[id]).await.unwrap().pop().unwrap();
        assert_eq!(record.incident.as_deref(), Some("commit_refused"));
        assert_eq!(record.columns.legal_hold, hold);
        assert_eq!(node.history(id).await.last().unwrap(), "WorkflowAnnotated");
    }
}
