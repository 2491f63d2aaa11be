//! Who gets which turn: priorities, labels, limits, progress, and turns that kill their workers.

use serde_json::json;

use btrust_engine::EngineError;
use btrust_machine::limits::LEASES_LOST_MAX;
use btrust_schemas::core::{CancelRequest, StartRequest, Status};
use btrust_schemas::exchange::Progress;
use btrust_schemas::incidents::{IncidentQuery, IncidentView, ResolutionAction, ResolutionRequest};
use btrust_schemas::task_limits::{TaskLimits, TaskLimitsRequest};

use crate::world::{
    EVERYTHING, Node, Plan, TENANT, WAIT_MS, Worker, World, complete, start_request,
};

async fn started_with(node: &Node, key: &str, priority: u8) -> Result<(), EngineError> {
    let request = StartRequest {
        priority: Some(priority),
        ..start_request(key)
    };
    node.engine.start_workflow(request).await.map(|_| ())
}

fn limits(text: &str) -> TaskLimits {
    serde_json::from_str(text).unwrap()
}

async fn incidents(node: &Node, resolved: bool) -> Vec<IncidentView> {
    let query = IncidentQuery {
        tenant: TENANT.to_owned(),
        resolved,
        step: Some("form".to_owned()),
        ..IncidentQuery::default()
    };
    node.engine.incidents(query).await.unwrap().incidents
}

fn resolution(action: ResolutionAction) -> ResolutionRequest {
    ResolutionRequest {
        tenant: TENANT.to_owned(),
        action,
        error: None,
        cause: None,
        note: Some("looked at it".to_owned()),
        actor: "operator".to_owned(),
    }
}

/// Workers take the turn and die, so often that it is one time too many, or one time fewer.
async fn kill_workers(world: &World, node: &Node, from: u32, until: u32) {
    for n in from..until {
        Worker::new(&format!("victim-{n}")).take(node).await;
        world.clock.advance(30_000);
        node.engine.wake().await;
    }
}

#[tokio::test]
async fn the_urgent_workflow_comes_first_also_after_a_restart() {
    let world = World::new();
    let node = world.node().await;
    for (key, priority) in [("low", 0), ("high", 9), ("middle", 5)] {
        started_with(&node, key, priority).await.unwrap();
    }
    let refused = started_with(&node, "too-high", 10).await.unwrap_err();
    assert_eq!(refused.code(), "priority_invalid");
    let mut worker = Worker::new("a");
    let high = worker.take(&node).await.workflow;
    node.stop().await;

    let node = world.node().await;
    let mut worker = Worker::new("b");
    assert_eq!(worker.take(&node).await.workflow, high);
}

#[tokio::test]
async fn a_turn_that_kills_its_workers_is_parked_and_the_count_survives_a_restart() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    kill_workers(&world, &node, 0, LEASES_LOST_MAX - 1).await;
    assert_eq!(incidents(&node, false).await, []);
    node.stop().await;

    let node = world.node().await;
    kill_workers(&world, &node, LEASES_LOST_MAX - 1, LEASES_LOST_MAX).await;
    let mut worker = Worker::new("survivor");
    let given = worker.exchange(&node, Vec::new(), 1, 0).await;
    assert!(given.tasks.is_empty());
    let open = incidents(&node, false).await;
    assert_eq!(open.len(), 1);
    let incident = &open[0];
    assert_eq!(
        (incident.workflow, incident.code.as_str()),
        (id, "turn_poisoned")
    );
    assert_eq!(incident.state.as_deref(), Some("Fill"));
    let checked = btrust_engine::check::check(node.store.as_ref())
        .await
        .unwrap();
    assert_eq!(checked.offenders, []);
    node.stop().await;

    // It stays parked, and an operator lets it run again.
    let node = world.node().await;
    let given = worker.exchange(&node, Vec::new(), 1, 0).await;
    assert!(given.tasks.is_empty());
    let resolved = node
        .engine
        .resolve_incident(incident.id, resolution(ResolutionAction::Retry))
        .await
        .unwrap();
    assert_eq!(resolved.resolution.as_ref().unwrap().by, "operator");
    let turn = worker.take(&node).await;
    assert_eq!(
        worker.report(&node, complete(turn.key, "submitted")).await,
        "accepted"
    );
    assert_eq!(incidents(&node, false).await, []);
    assert_eq!(incidents(&node, true).await.len(), 1);
    let history = node.history(id).await;
    for event in ["IncidentRaised", "IncidentResolved"] {
        assert_eq!(history.iter().filter(|it| *it == event).count(), 1);
    }
    let again = node
        .engine
        .resolve_incident(incident.id, resolution(ResolutionAction::Retry))
        .await;
    assert_eq!(again.unwrap_err().code(), "incident_closed");
}

#[tokio::test]
async fn an_operator_fails_or_ends_what_stands_still() {
    for (action, status) in [
        (ResolutionAction::Fail, Status::Failed),
        (ResolutionAction::Terminate, Status::Terminated),
    ] {
        let world = World::new();
        let node = world.node().await;
        let id = node.started("key").await;
        kill_workers(&world, &node, 0, LEASES_LOST_MAX).await;
        let incident = incidents(&node, false).await.remove(0).id;
        let other = ResolutionRequest {
            tenant: "other".to_owned(),
            ..resolution(action)
        };
        let refused = node.engine.resolve_incident(incident, other).await;
        assert_eq!(refused.unwrap_err().code(), "incident_unknown");
        node.engine
            .resolve_incident(incident, resolution(action))
            .await
            .unwrap();
        let result = node.engine.result(TENANT, id, WAIT_MS).await.unwrap();
        assert_eq!(result.status, status);
        if action == ResolutionAction::Fail {
            assert_eq!(result.error.as_deref(), Some("BTrust.Incident"));
        }
    }
}

#[tokio::test]
async fn an_incident_that_is_overtaken_closes_by_itself() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut late = Worker::new("late");
    let turn = late.take(&node).await;
    world.clock.advance(30_000);
    node.engine.wake().await;
    kill_workers(&world, &node, 1, LEASES_LOST_MAX).await;
    assert_eq!(incidents(&node, false).await.len(), 1);
    // The first worker was not dead, only slow: its result counts.
    assert_eq!(
        late.report(&node, complete(turn.key, "submitted")).await,
        "accepted"
    );
    assert_eq!(incidents(&node, false).await, []);
    let closed = incidents(&node, true).await.remove(0);
    assert_eq!(closed.resolution.unwrap().action, "overtaken");
    assert_eq!(closed.workflow, id);
}

#[tokio::test]
async fn progress_is_shown_while_the_turn_runs_and_never_kept() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    let before = node.history(id).await;
    let mut request = worker.request(Vec::new(), 0, 0);
    request.progress.push(Progress {
        key,
        percent: Some(200),
        note: Some("reading chip".to_owned()),
        details: Some(json!({ "page": 2 })),
    });
    let exchanged = node.engine.exchange("workers", &EVERYTHING, request);
    exchanged.await.unwrap();
    let running = node.engine.view(TENANT, id).await.unwrap().running;
    assert_eq!(running.len(), 1);
    let progress = running[0].progress.as_ref().unwrap();
    // A note is a code, and a share is at most all of it.
    assert_eq!((progress.percent, &progress.note), (Some(100), &None));
    assert_eq!(progress.details, Some(json!({ "page": 2 })));
    assert_eq!(node.history(id).await, before);
    worker.report(&node, complete(key, "submitted")).await;
    let running = node.engine.view(TENANT, id).await.unwrap().running;
    assert!(running.iter().all(|it| it.task != key.task));
}

#[tokio::test]
async fn a_worker_hears_that_its_turn_is_cancelled() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(&node).await.key;
    let request = CancelRequest {
        tenant: TENANT.to_owned(),
        reason: None,
        grace_seconds: 0,
        actor: "bank".to_owned(),
    };
    let parked = worker.request(Vec::new(), 1, WAIT_MS);
    let engine = node.engine.clone();
    let (answer, cancelled) = tokio::join!(
        engine.exchange("workers", &EVERYTHING, parked),
        engine.cancel(id, request)
    );
    cancelled.unwrap();
    let response: btrust_schemas::exchange::ExchangeResponse =
        serde_json::from_slice(&answer.unwrap()).unwrap();
    assert_eq!(response.cancelled, [key]);
}

#[tokio::test]
async fn limits_hold_from_the_setting_and_change_when_an_operator_says_so() {
    let world = World::new();
    let setting = limits(r#"{"steps":{"form":{"concurrent":1}}}"#);
    let plan = Plan {
        task_limits: setting.clone(),
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    for key in ["one", "two", "three"] {
        node.started(key).await;
    }
    let mut worker = Worker::new("a");
    worker.take(&node).await;
    let given = worker.exchange(&node, Vec::new(), 9, 0).await;
    assert!(given.tasks.is_empty());
    let view = node.engine.task_limits();
    assert_eq!((view.revision, view.limits), (0, setting));

    let wider = TaskLimitsRequest {
        limits: limits(r#"{"steps":{"form":{"concurrent":2}}}"#),
        expected: Some(0),
        actor: "operator".to_owned(),
    };
    let put = node.engine.put_task_limits(wider.clone()).await.unwrap();
    assert_eq!(
        (put.revision, put.changed_by.as_deref()),
        (1, Some("operator"))
    );
    let given = worker.exchange(&node, Vec::new(), 9, 0).await;
    assert_eq!(given.tasks.len(), 1);
    let stale = node.engine.put_task_limits(wider).await.unwrap_err();
    assert_eq!((stale.code(), stale.status()), ("task_limits_changed", 412));
    node.stop().await;

    // What is stored takes the place of the setting.
    let node = world.node().await;
    assert_eq!(node.engine.task_limits().revision, 1);
}

#[tokio::test]
async fn a_tenant_that_starts_too_fast_is_told_when_to_come_back() {
    let world = World::new();
    let plan = Plan {
        task_limits: limits(r#"{"tenants":{"acme":{"startsPerSecond":2}}}"#),
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    for key in ["one", "two"] {
        node.started(key).await;
    }
    let refused = node.start("three").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.status(), refused.retry_after_s()),
        ("too_many_requests", 429, Some(1))
    );
    world.clock.advance(500);
    node.started("three").await;
}
