//! What operators do to workflows, and signals.

use serde_json::{Value, json};

use btrust_engine::{EngineError, check};
use btrust_platform::streams::{Stream, read_jsonl};
use btrust_schemas::commands::{
    Act, ActRequest, ManyRequest, RedriveRequest, SignalRequest, SignalResponse,
};
use btrust_schemas::core::{CancelRequest, ListQuery, Status, SubmissionRequest, WorkflowView};
use btrust_schemas::definition::Publish;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::turn::TurnReason;

use crate::world::{
    Node, TENANT, WAIT_MS, Worker, World, any_file_has, applicant, ask, complete, draft_request,
    envelope, fail,
};

/// The flow of the world, whose first state waits for a signal without a limit.
fn signalled() -> Value {
    let mut signalled = envelope();
    signalled["definition"]["States"]["Fill"] = json!({
        "Type": "Task", "Resource": "btrust:signal",
        "Arguments": { "name": "payment-received" }, "Output": "{% $states.input %}", "Next": "Look",
    });
    signalled
}

/// The flow of the world, whose form is undone by another form.
fn compensated() -> Value {
    let mut compensated = envelope();
    compensated["definition"]["States"]["Fill"]["BTrust.Compensation"] =
        json!({ "Resource": "kyc:form@1", "TimeoutSeconds": 60 });
    compensated
}

fn act(actor: &str) -> ActRequest {
    ActRequest {
        tenant: TENANT.to_owned(),
        reason: Some("the secret reason".to_owned()),
        actor: actor.to_owned(),
    }
}

impl Node {
    async fn publish_live(&self, envelope: Value) {
        let request = draft_request(envelope, "1", Publish::Yes);
        self.engine.definitions().draft(request).await.unwrap();
    }

    async fn signal(
        &self,
        id: WorkflowId,
        key: &str,
        payload: Value,
    ) -> Result<SignalResponse, EngineError> {
        let request = SignalRequest {
            tenant: TENANT.to_owned(),
            name: "payment-received".to_owned(),
            request_digest: payload.to_string(),
            payload,
            idempotency_key: key.to_owned(),
            actor: "bank".to_owned(),
        };
        self.engine.signal(id, request).await
    }

    async fn cancel_within(
        &self,
        id: WorkflowId,
        grace_seconds: u32,
    ) -> Result<WorkflowView, EngineError> {
        let request = CancelRequest {
            tenant: TENANT.to_owned(),
            reason: None,
            grace_seconds,
            actor: "operator".to_owned(),
        };
        self.engine.cancel(id, request).await
    }

    async fn redrive(&self, id: WorkflowId, key: &str) -> Result<WorkflowView, EngineError> {
        let request = RedriveRequest {
            tenant: TENANT.to_owned(),
            reason: None,
            idempotency_key: key.to_owned(),
            actor: "operator".to_owned(),
        };
        self.engine.redrive(id, request).await
    }

    async fn assert_all_alive(&self) {
        let checked = check::check(&*self.store).await.unwrap();
        assert_eq!(checked.offenders, [], "{checked:?}");
    }
}

#[tokio::test]
pub async fn a_signal_is_waited_for_without_a_limit_and_across_a_restart() {
    let world = World::new();
    let node = world.node().await;
    node.publish_live(signalled()).await;
    let id = node.started("key").await;
    node.assert_all_alive().await;
    node.stop().await;

    let node = world.node().await;
    let sent = node.signal(id, "1", json!({ "amount": 7 })).await.unwrap();
    assert!(sent.created);
    let again = node.signal(id, "1", json!({ "amount": 7 })).await.unwrap();
    assert!(!again.created);
    let other = node.signal(id, "1", json!({ "amount": 8 })).await;
    assert_eq!(other.unwrap_err().code(), "idempotency_key_reused");
    let missing = node.signal(id, "", json!({})).await.unwrap_err();
    assert_eq!(
        (missing.code(), missing.status()),
        ("idempotency_key_missing", 400)
    );
    let turn = Worker::new("a").take(&node).await;
    assert_eq!((turn.workflow, turn.state_name.as_str()), (id, "Look"));
}

#[tokio::test]
async fn a_paused_workflow_is_handed_to_nobody_until_it_is_resumed() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let paused = node.engine.pause(id, act("operator")).await.unwrap();
    assert!(paused.paused);
    let mut worker = Worker::new("a");
    assert_eq!(worker.exchange(&node, Vec::new(), 1, 0).await.tasks, []);
    node.assert_all_alive().await;
    world.clock.advance(86_400_000);
    node.engine.wake().await;
    node.stop().await;

    // Neither a restart nor a deadline that has passed changes that.
    let node = world.node().await;
    assert_eq!(worker.exchange(&node, Vec::new(), 1, 0).await.tasks, []);
    assert_eq!(
        node.engine.view(TENANT, id).await.unwrap().status,
        Status::Running
    );
    let resumed = node.engine.resume(id, act("operator")).await.unwrap();
    assert_eq!((resumed.paused, resumed.status), (false, Status::Failed));

    let id = node.started("other").await;
    node.engine.pause(id, act("operator")).await.unwrap();
    let (turn, resumed) = tokio::join!(worker.take(&node), node.engine.resume(id, act("operator")));
    assert_eq!(turn.workflow, id);
    resumed.unwrap();
}

#[tokio::test]
async fn who_has_a_turn_of_a_paused_workflow_keeps_it_and_is_believed() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let turn = worker.take(&node).await;
    node.engine.pause(id, act("operator")).await.unwrap();
    assert_eq!(
        worker.report(&node, complete(turn.key, "submitted")).await,
        "accepted"
    );
    let view = node.engine.view(TENANT, id).await.unwrap();
    assert_eq!(view.outcomes["Fill"], "submitted");
    assert_eq!(worker.exchange(&node, Vec::new(), 1, 0).await.tasks, []);
    node.assert_all_alive().await;
    node.engine.resume(id, act("operator")).await.unwrap();
    assert_eq!(worker.take(&node).await.state_name, "Look");
}

#[tokio::test]
pub async fn an_answer_that_comes_in_a_pause_after_a_restart_is_kept_for_the_end_of_the_pause() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let turn = worker.take(&node).await;
    worker.report(&node, ask(turn.key, 60_000)).await;
    let asked = node.engine.prompts(TENANT, id, None, None, WAIT_MS).await;
    let prompt = asked.unwrap().prompts[0].id;
    node.engine.pause(id, act("operator")).await.unwrap();
    node.stop().await;

    // Nobody owed a turn, so the next process has had no reason to look at the workflow.
    let node = world.node().await;
    let answer = SubmissionRequest {
        tenant: TENANT.to_owned(),
        submitter: applicant(),
        body: json!({ "text": "yes" }),
        digest: "1".repeat(64),
    };
    node.engine.submit(prompt, answer).await.unwrap();
    assert_eq!(worker.exchange(&node, Vec::new(), 1, 0).await.tasks, []);
    node.engine.resume(id, act("operator")).await.unwrap();
    let turn = worker.take(&node).await;
    assert!(matches!(turn.reason, TurnReason::Submission { .. }));
}

#[tokio::test]
pub async fn many_workflows_are_paused_a_page_at_a_time_and_found_as_paused() {
    let world = World::new();
    let node = world.node().await;
    for n in 0..5 {
        node.started(&n.to_string()).await;
    }
    let many = |act, dry_run, cursor| ManyRequest {
        act,
        filter: ListQuery {
            tenant: TENANT.to_owned(),
            definition: Some("flow".to_owned()),
            limit: Some(2),
            cursor,
            ..ListQuery::default()
        },
        dry_run,
        reason: None,
        actor: "operator".to_owned(),
    };
    let list = async |paused| {
        let query = ListQuery {
            tenant: TENANT.to_owned(),
            paused: Some(paused),
            ..ListQuery::default()
        };
        node.engine.list(query).await.unwrap().workflows.len()
    };
    let run = async |act, dry_run| {
        let (mut cursor, mut sums) = (None, Vec::new());
        loop {
            let page = node
                .engine
                .act_on_many(many(act, dry_run, cursor))
                .await
                .unwrap();
            assert_eq!(page.refused, 0);
            sums.push((page.done, page.unchanged));
            cursor = page.next;
            if cursor.is_none() {
                return sums;
            }
        }
    };
    assert_eq!(run(Act::Pause, true).await, [(2, 0), (2, 0), (1, 0)]);
    assert_eq!((list(true).await, list(false).await), (0, 5));
    assert_eq!(run(Act::Pause, false).await, [(2, 0), (2, 0), (1, 0)]);
    assert_eq!(run(Act::Pause, false).await, [(0, 2), (0, 2), (0, 1)]);
    assert_eq!((list(true).await, list(false).await), (5, 0));
    assert_eq!(run(Act::Resume, false).await, [(2, 0), (2, 0), (1, 0)]);
    assert_eq!((list(true).await, list(false).await), (0, 5));
}

#[tokio::test]
pub async fn what_is_terminated_is_over_at_once_and_the_audit_stream_says_by_whom() {
    let world = World::new();
    let node = world.node().await;
    node.publish_live(compensated()).await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    worker.report(&node, complete(key, "submitted")).await;
    let view = node.engine.terminate(id, act("operator-7")).await.unwrap();
    assert_eq!(view.status, Status::Terminated);
    let again = node
        .engine
        .terminate(id, act("operator-7"))
        .await
        .unwrap_err();
    assert_eq!(again.code(), "workflow_closed");
    node.stop().await;
    let records = read_jsonl(&world.streams(), Stream::Audit).unwrap();
    let records = records
        .iter()
        .map(|it| serde_json::from_slice::<Value>(it).unwrap());
    let terminated = records
        .flat_map(|it| it["data"]["events"].as_array().unwrap().clone())
        .find(|it| it["type"] == "ExecutionTerminated");
    assert_eq!(terminated.unwrap()["by"], "operator-7");
    assert!(!any_file_has(&world.streams(), b"the secret reason"));
}

#[tokio::test]
async fn who_has_a_turn_of_a_cancelled_workflow_is_told_and_may_end_it() {
    let world = World::new();
    let node = world.node().await;
    node.publish_live(compensated()).await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    let (told, view) = tokio::join!(
        worker.exchange(&node, Vec::new(), 1, WAIT_MS),
        node.cancel_within(id, 60)
    );
    assert_eq!(told.cancelled, [key]);
    let view = view.unwrap();
    assert_eq!((view.status, view.cancelling), (Status::Running, true));
    node.assert_all_alive().await;

    assert_eq!(
        worker.report(&node, complete(key, "submitted")).await,
        "accepted"
    );
    let undoing = worker.take(&node).await;
    assert_eq!(undoing.state_name, "Fill");
    worker
        .report(&node, complete(undoing.key, "submitted"))
        .await;
    let view = node.engine.view(TENANT, id).await.unwrap();
    assert_eq!((view.status, view.cancelling), (Status::Cancelled, false));
}

#[tokio::test]
async fn nobody_waits_for_a_turn_that_no_worker_has() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let view = node.cancel_within(id, 60).await.unwrap();
    assert_eq!(view.status, Status::Cancelled);
    assert_eq!(
        Worker::new("a")
            .exchange(&node, Vec::new(), 1, 0)
            .await
            .tasks,
        []
    );
}

#[tokio::test]
async fn the_grace_ends_also_when_nobody_ran_meanwhile() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    node.cancel_within(id, 60).await.unwrap();
    node.stop().await;

    let node = world.node().await;
    // The worker is still at it, and is told again by the process that knows nothing of the first time.
    let told = worker.exchange(&node, Vec::new(), 1, 0).await;
    assert_eq!((told.cancelled, told.tasks), (vec![key], Vec::new()));
    world.clock.advance(60_000);
    node.engine.wake().await;
    let result = node.engine.result(TENANT, id, WAIT_MS).await;
    assert_eq!(result.unwrap().status, Status::Cancelled);
    assert_eq!(
        worker.report(&node, complete(key, "submitted")).await,
        "workflow_closed"
    );
}

#[tokio::test]
pub async fn a_failed_workflow_goes_on_from_where_it_failed_with_what_it_had() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    worker.report(&node, complete(key, "submitted")).await;
    let key = worker.take(&node).await.key;
    worker.report(&node, fail(key, "Down")).await;
    let view = node.engine.view(TENANT, id).await.unwrap();
    assert_eq!(
        (view.status, view.error.as_deref()),
        (Status::Failed, Some("Down"))
    );
    node.stop().await;

    let node = world.node().await;
    let view = node.redrive(id, "1").await.unwrap();
    assert_eq!(
        (view.status, view.redrives, view.closed_at),
        (Status::Running, 1, None)
    );
    assert_eq!(view.outcomes["Fill"], "submitted");
    assert_eq!(node.redrive(id, "1").await.unwrap().redrives, 1);
    assert_eq!(
        node.redrive(id, "2").await.unwrap_err().code(),
        "workflow_running"
    );
    node.assert_all_alive().await;
    let turn = worker.take(&node).await;
    assert_eq!(turn.state_name, "Look");
    worker.report(&node, ask(turn.key, 60_000)).await;
    world.clock.advance(60_000);
    node.engine.wake().await;
    let turn = worker.take(&node).await;
    worker.report(&node, complete(turn.key, "approved")).await;
    let view = node.engine.view(TENANT, id).await.unwrap();
    assert_eq!(
        (view.status, view.decision.as_deref()),
        (Status::Succeeded, Some("approved"))
    );
    assert_eq!(
        node.redrive(id, "3").await.unwrap_err().code(),
        "redrive_impossible"
    );
    assert_eq!(
        node.redrive(id, "").await.unwrap_err().code(),
        "idempotency_key_missing"
    );
    let listed = |status| ListQuery {
        tenant: TENANT.to_owned(),
        status: Some(status),
        ..ListQuery::default()
    };
    let failed = node.engine.list(listed(Status::Failed)).await.unwrap();
    assert_eq!(failed.workflows.len(), 0);
}
