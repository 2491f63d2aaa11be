//! Processes that die, at every commit, before and after the write.

use btrust_engine::check::check;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::turn::TurnReason;

use crate::world::{
    Fault, Node, Plan, TENANT, WAIT_MS, Worker, World, applicant, ask, checkpoint, complete,
};

/// Commits of [`play`] when nothing fails: start, checkpoint, ask, answer, end of form, end of review.
const N_COMMITS: usize = 6;

/// Plays one workflow to its end, as clients do that repeat what was not answered.
async fn play(node: &Node, session: &str) -> WorkflowId {
    let id = node.started("key").await;
    let mut worker = Worker::new(session);
    while node
        .engine
        .view(TENANT, id)
        .await
        .unwrap()
        .decision
        .is_none()
    {
        let view = node
            .engine
            .prompts(TENANT, id, None, None, 0)
            .await
            .unwrap();
        if let Some(prompt) = view.prompts.first() {
            let request = btrust_schemas::core::SubmissionRequest {
                tenant: TENANT.to_owned(),
                submitter: applicant(),
                body: serde_json::json!({}),
                digest: "a".repeat(64),
            };
            node.engine.submit(prompt.id, request).await.unwrap();
            continue;
        }
        let turn = worker.take(node).await;
        let report = match (turn.state_name.as_str(), &turn.reason) {
            ("Fill", TurnReason::First) => {
                if turn.checkpoint.is_none() {
                    worker.report(node, checkpoint(turn.key)).await;
                }
                ask(turn.key, 60_000)
            }
            ("Fill", _) => complete(turn.key, "submitted"),
            _ => complete(turn.key, "approved"),
        };
        worker.report(node, report).await;
    }
    id
}

#[tokio::test]
pub async fn a_kill_at_any_commit_leaves_the_same_history() {
    let world = World::new();
    let node = world.node().await;
    let id = play(&node, "calm").await;
    assert_eq!(node.store.n_commits(), N_COMMITS);
    let expected = node.history(id).await;
    assert_eq!(expected.last().unwrap(), "ExecutionSucceeded");

    for number in 1..=N_COMMITS {
        for fault in [Fault::DiesBefore, Fault::DiesAfter] {
            let world = World::new();
            let node = world
                .node_with(Plan {
                    fault: Some((number, fault)),
                    ..Plan::default()
                })
                .await;
            tokio::select! {
                _ = play(&node, "killed") => panic!("commit {number} did not die"),
                () = node.store.fired() => {}
            }
            let node = world.node().await;
            let id = play(&node, "after").await;
            assert_eq!(
                node.history(id).await,
                expected,
                "commit {number}, {fault:?}"
            );
            let checked = check(&*node.store).await.unwrap();
            assert_eq!((checked.n_open, checked.offenders), (0, vec![]));
        }
    }
}

#[tokio::test]
pub async fn a_worker_goes_on_across_a_restart_of_core() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let turn = worker.take(&node).await;
    node.stop().await;

    let node = world.node().await;
    // It says what it holds, so nobody else gets it.
    worker.exchange(&node, Vec::new(), 0, 0).await;
    let mut other = Worker::new("b");
    assert!(
        other
            .exchange(&node, Vec::new(), 1, 0)
            .await
            .tasks
            .is_empty()
    );
    let response = worker
        .exchange(&node, vec![complete(turn.key, "submitted")], 1, WAIT_MS)
        .await;
    assert_eq!(response.tasks[0].state_name, "Look");
    assert_eq!(
        node.engine.view(TENANT, id).await.unwrap().outcomes["Fill"],
        "submitted"
    );
}

#[tokio::test]
pub async fn a_workflow_without_its_key_is_gone_and_the_others_go_on() {
    let world = World::new();
    let node = world.node().await;
    let erased = node.started("erased").await;
    let kept = node.started("kept").await;
    node.workflow_keys.destroy(TENANT, erased).await.unwrap();
    node.stop().await;
    let node = world.node().await;
    let error = node.engine.view(TENANT, erased).await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("workflow_erased", 410));
    assert_eq!(Worker::new("a").take(&node).await.workflow, kept);
    let checked = check(&*node.store).await.unwrap();
    assert_eq!(
        (checked.n_open, checked.n_incidents, checked.offenders),
        (2, 1, vec![])
    );
}

#[tokio::test]
async fn a_row_that_cannot_be_read_does_not_stop_the_start() {
    let world = World::new();
    let node = world.node().await;
    let bad = node.started("bad").await;
    let good = node.started("good").await;
    node.stop().await;
    let file = world.dir.path().join("state.sqlite");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    sqlx::query("UPDATE workflow SET version = 'x' WHERE workflow = ?")
        .bind(bad.to_string())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let node = world.node().await;
    assert_eq!(Worker::new("a").take(&node).await.workflow, good);
    let checked = check(&*node.store).await.unwrap();
    assert_eq!((checked.n_open, checked.n_incidents), (2, 1));
}
