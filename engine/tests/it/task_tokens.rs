//! Tasks that wait for a token, and workers that fall silent.

use serde_json::{Value, json};

use btrust_engine::EngineError;
use btrust_schemas::core::{Status, TaskFailureRequest, TaskHeartbeatRequest, TaskSuccessRequest};
use btrust_schemas::definition::Publish;
use btrust_schemas::ids::{TaskToken, WorkflowId};

use crate::world::{
    Fault, Node, Plan, TENANT, WAIT_MS, Worker, World, complete, draft_request, envelope,
};

/// The flow of the world, whose form is filled in somewhere else within a heartbeat of 60 s.
fn waiting() -> Value {
    let mut waiting = envelope();
    let fill = &mut waiting["definition"]["States"]["Fill"];
    fill["Resource"] = json!("kyc:form@1.waitForTaskToken");
    fill["HeartbeatSeconds"] = json!(60);
    fill["Arguments"] = json!({ "token": "{% $states.context.Task.Token %}" });
    waiting
}

impl Node {
    async fn publish_next(&self, envelope: Value) {
        let request = draft_request(envelope, "1", Publish::Yes);
        self.engine.definitions().draft(request).await.unwrap();
    }

    /// A workflow whose worker has handed the form on, and the token that it was given.
    async fn handed_on(&self) -> (WorkflowId, TaskToken) {
        self.publish_next(waiting()).await;
        let id = self.started("key").await;
        let mut worker = Worker::new("first");
        let turn = worker.take(self).await;
        assert_eq!(turn.resource, "kyc:form@1");
        let token: TaskToken = turn.arguments["token"].as_str().unwrap().parse().unwrap();
        assert_eq!(token.task, turn.key.task);
        let code = worker.report(self, complete(turn.key, "submitted")).await;
        assert_eq!(code, "accepted");
        let view = self.engine.view(TENANT, id).await.unwrap();
        assert_eq!(
            (view.status, view.outcomes.get("Fill")),
            (Status::Running, None)
        );
        (id, token)
    }

    async fn succeed(&self, tenant: &str, token: TaskToken) -> Result<(), EngineError> {
        let request = TaskSuccessRequest {
            tenant: tenant.to_owned(),
            result: json!({ "outcome": "submitted", "output": { "values": {} } }),
            actor: "bank".to_owned(),
        };
        self.engine.succeed_task(token, request).await
    }

    async fn keep(&self, token: TaskToken) -> Result<(), EngineError> {
        let request = TaskHeartbeatRequest {
            tenant: TENANT.to_owned(),
        };
        self.engine.keep_task(token, request).await
    }

    /// Judges every deadline and says how the workflow stands.
    async fn status(&self, id: WorkflowId) -> Status {
        self.engine.wake().await;
        // Behind the wake in the mailbox, so the timers have been judged when this returns.
        self.started("judged").await;
        self.engine.view(TENANT, id).await.unwrap().status
    }
}

#[track_caller]
fn assert_unknown(answer: Result<(), EngineError>) {
    let error = answer.unwrap_err();
    assert_eq!((error.status(), error.code()), (404, "token_unknown"));
}

#[tokio::test]
pub async fn a_token_ends_its_task_once_also_after_a_restart() {
    let world = World::new();
    let node = world.node().await;
    let (id, token) = node.handed_on().await;
    assert_unknown(node.succeed("other", token).await);
    node.stop().await;

    let node = world.node().await;
    assert_unknown(node.succeed("other", token).await);
    node.succeed(TENANT, token).await.unwrap();
    assert_unknown(node.succeed(TENANT, token).await);
    let turn = Worker::new("second").take(&node).await;
    assert_eq!((turn.workflow, turn.state_name.as_str()), (id, "Look"));
    let view = node.engine.view(TENANT, id).await.unwrap();
    assert_eq!(view.outcomes["Fill"], "submitted");
    let history = node.history(id).await;
    assert!(history.contains(&"TaskSubmitted".to_owned()), "{history:?}");
}

#[tokio::test]
async fn a_token_that_comes_back_with_an_error_fails_its_task() {
    let node = World::new().node().await;
    let (id, token) = node.handed_on().await;
    let request = || TaskFailureRequest {
        tenant: TENANT.to_owned(),
        error: "Bank.Declined".to_owned(),
        cause: "the customer left".to_owned(),
        actor: "bank".to_owned(),
    };
    node.engine.fail_task(token, request()).await.unwrap();
    let result = node.engine.result(TENANT, id, 0).await.unwrap();
    assert_eq!(result.status, Status::Failed);
    assert_eq!(result.error.as_deref(), Some("Bank.Declined"));
    assert_eq!(result.cause.as_deref(), Some("the customer left"));
    // The workflow is over, and with it every token of it.
    assert_unknown(node.engine.fail_task(token, request()).await);
    assert_unknown(node.keep(token).await);
    // Another random part is another token, and a task that never was is nobody's.
    let text = token.to_string();
    let other = format!("{}{}", &text[..44], "0".repeat(32));
    assert_unknown(node.succeed(TENANT, other.parse().unwrap()).await);
}

#[tokio::test]
async fn heartbeats_keep_a_task_alive_across_a_restart_and_silence_ends_it() {
    let world = World::new();
    let node = world.node().await;
    let (id, token) = node.handed_on().await;
    let history = node.history(id).await;
    world.clock.advance(59_999);
    node.keep(token).await.unwrap();
    node.stop().await;

    // Long after the first heartbeat was due: the second one has to have been stored.
    world.clock.advance(59_999);
    let node = world.node().await;
    assert_eq!(node.status(id).await, Status::Running);
    node.keep(token).await.unwrap();
    world.clock.advance(59_999);
    assert_eq!(node.status(id).await, Status::Running);
    // A heartbeat is no event.
    assert_eq!(node.history(id).await, history);
    world.clock.advance(1);
    assert_eq!(node.status(id).await, Status::Failed);
    let result = node.engine.result(TENANT, id, WAIT_MS).await.unwrap();
    assert_eq!(result.error.as_deref(), Some("States.HeartbeatTimeout"));
    assert_unknown(node.keep(token).await);
    let checked = btrust_engine::check::check(&*node.store).await.unwrap();
    assert_eq!(checked.offenders, vec![]);
}

#[tokio::test]
async fn a_worker_that_falls_silent_misses_the_heartbeat_of_its_task() {
    let world = World::new();
    let node = world.node().await;
    let mut beating = envelope();
    beating["definition"]["States"]["Fill"]["HeartbeatSeconds"] = json!(20);
    node.publish_next(beating).await;
    let id = node.started("key").await;
    // Nobody has the turn yet, so nobody is silent.
    world.clock.advance(60_000);
    assert_eq!(node.status(id).await, Status::Running);
    let mut worker = Worker::new("a");
    let turn = worker.take(&node).await;
    assert_eq!(turn.workflow, id);
    world.clock.advance(19_999);
    assert_eq!(node.status(id).await, Status::Running);
    worker.exchange(&node, Vec::new(), 0, 0).await;
    world.clock.advance(19_999);
    assert_eq!(node.status(id).await, Status::Running);
    world.clock.advance(1);
    assert_eq!(node.status(id).await, Status::Failed);
    let result = node.engine.result(TENANT, id, WAIT_MS).await.unwrap();
    assert_eq!(result.error.as_deref(), Some("States.HeartbeatTimeout"));
    let late = worker.report(&node, complete(turn.key, "submitted")).await;
    assert_eq!(late, "workflow_closed");
}

#[tokio::test]
async fn a_heartbeat_whose_commit_is_not_there_is_not_acknowledged() {
    let world = World::new();
    // The commits before: the start, and that the worker has handed the form on.
    let fault = Some((3, Fault::UnknownAbsent));
    let node = world
        .node_with(Plan {
            fault,
            ..Plan::default()
        })
        .await;
    let (id, token) = node.handed_on().await;
    world.clock.advance(50_000);
    let error = node.keep(token).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (503, "unavailable"));
    node.keep(token).await.unwrap();
    node.stop().await;

    let node = world.node().await;
    world.clock.advance(50_000);
    assert_eq!(node.status(id).await, Status::Running);
}
