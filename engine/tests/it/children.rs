//! Child workflows and continue-as-new: one child an attempt, whatever crashes in between.

use serde_json::{Value, json};

use btrust_engine::check::check;
use btrust_engine::store::Store;
use btrust_schemas::core::{CancelRequest, ListQuery, ResultView, Status, WorkflowView};
use btrust_schemas::definition::{DraftRequest, Publish};
use btrust_schemas::exchange::ExchangeResponse;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::search::ListedWorkflow;
use btrust_schemas::turn::TurnInput;

use crate::world::{
    EVERYTHING, Fault, NOW_MS, Node, Plan, TENANT, WAIT_MS, Worker, World, complete, envelope,
    start_request,
};

/// Publishes a definition whose states are `states`.
async fn publish(node: &Node, name: &str, start_at: &str, states: Value) {
    let mut document = envelope();
    document["name"] = json!(name);
    document["definition"]["StartAt"] = json!(start_at);
    document["definition"]["States"] = states;
    let request = DraftRequest {
        tenant: TENANT.to_owned(),
        name: name.to_owned(),
        envelope: document,
        digest: format!("{name:0>64}"),
        publish: Publish::IfAllowed,
        actor: "admin".to_owned(),
    };
    node.engine.definitions().draft(request).await.unwrap();
}

fn call(arguments: Value) -> Value {
    json!({
        "Call": { "Type": "Task", "Resource": "btrust:workflow", "TimeoutSeconds": 900,
            "Arguments": arguments, "Output": { "child": "{% $states.result %}" }, "Next": "Done" },
        "Done": { "Type": "Succeed" },
    })
}

fn fill(next: Value) -> Value {
    json!({
        "Fill": { "Type": "Task", "Resource": "kyc:form@1", "TimeoutSeconds": 900,
            "Output": "{% $states.input %}", "Next": "End" },
        "End": next,
    })
}

/// A child that asks for one form, and parents of it.
pub async fn publish_all(node: &Node) {
    let approved = json!({ "Type": "Succeed", "Output": { "decision": "approved" } });
    publish(node, "child", "Fill", fill(approved)).await;
    let again = json!({ "Type": "Succeed", "BTrust.ContinueAsNew": {
        "input": { "secret": "of the next run" } } });
    publish(node, "again", "Fill", fill(again)).await;
    let input = "{% $states.input %}";
    for (name, arguments) in [
        ("parent", json!({ "definition": "child", "input": input })),
        (
            "spread",
            json!({ "definition": "child", "input": input, "spread": true }),
        ),
        (
            "leaving",
            json!({ "definition": "child", "input": input, "onParentClose": "abandon" }),
        ),
        (
            "grandparent",
            json!({ "definition": "parent", "input": input }),
        ),
        ("lost", json!({ "definition": "nowhere" })),
        (
            "wrong",
            json!({ "definition": "child", "input": { "secret": 5 } }),
        ),
        (
            "following",
            json!({ "definition": "again", "input": input }),
        ),
    ] {
        publish(node, name, "Call", call(arguments)).await;
    }
}

async fn start(node: &Node, definition: &str, key: &str) -> WorkflowId {
    let mut request = start_request(key);
    request.definition = definition.to_owned();
    node.engine
        .start_workflow(request)
        .await
        .unwrap()
        .workflow
        .id
}

async fn closed(node: &Node, id: WorkflowId) -> ResultView {
    let result = node.engine.result(TENANT, id, WAIT_MS).await.unwrap();
    assert_ne!(result.status, Status::Running, "{id} did not end in time");
    result
}

async fn view(node: &Node, id: WorkflowId) -> WorkflowView {
    node.engine.view(TENANT, id).await.unwrap()
}

async fn cancel(node: &Node, id: WorkflowId) {
    let request = CancelRequest {
        tenant: TENANT.to_owned(),
        reason: None,
        grace_seconds: 0,
        actor: "bank".to_owned(),
    };
    node.engine.cancel(id, request).await.unwrap();
}

/// The turn of a child, which has begun then.
async fn take(node: &Node, worker: &mut Worker) -> TurnInput {
    worker.take(node).await
}

async fn listed(node: &Node, definition: &str) -> Vec<ListedWorkflow> {
    let query = ListQuery {
        tenant: TENANT.to_owned(),
        definition: Some(definition.to_owned()),
        ..ListQuery::default()
    };
    node.engine.list(query).await.unwrap().workflows
}

async fn node() -> (World, Node) {
    let world = World::new();
    let node = world.node().await;
    publish_all(&node).await;
    (world, node)
}

#[tokio::test]
pub async fn a_parent_gets_what_its_child_has_decided() {
    let (_world, node) = node().await;
    let parent = start(&node, "parent", "key").await;
    let mut worker = Worker::new("a");
    let turn = take(&node, &mut worker).await;
    let child = turn.workflow;
    assert_ne!(child, parent);
    assert_eq!(child.partition(), parent.partition());
    let shown = view(&node, child).await;
    assert_eq!(
        (shown.lineage.parent, shown.definition.as_str()),
        (Some(parent), "child")
    );
    assert_eq!(turn.locale, "he");
    worker.report(&node, complete(turn.key, "submitted")).await;
    let result = closed(&node, parent).await;
    let expected = json!({ "child": { "workflow": child, "status": "succeeded",
        "decision": "approved", "output": { "decision": "approved" } } });
    assert_eq!(
        (result.status, result.output),
        (Status::Succeeded, Some(expected))
    );
    // Neither the child's decision nor anything else makes one of the parent.
    assert_eq!(result.decision, None);
    let history = node.history(parent).await;
    assert!(history.contains(&"TaskSubmitted".to_owned()), "{history:?}");
    assert_eq!(check(&*node.store).await.unwrap().offenders, []);
}

#[tokio::test]
async fn a_child_has_a_child_and_both_end() {
    let (_world, node) = node().await;
    let top = start(&node, "grandparent", "key").await;
    let mut worker = Worker::new("a");
    let turn = take(&node, &mut worker).await;
    let middle = view(&node, turn.workflow).await.lineage.parent.unwrap();
    assert_eq!(view(&node, middle).await.lineage.parent, Some(top));
    worker.report(&node, complete(turn.key, "submitted")).await;
    let result = closed(&node, top).await;
    let inner = &result.output.unwrap()["child"]["output"];
    assert_eq!(inner["child"]["workflow"], json!(turn.workflow));
}

#[tokio::test]
async fn a_spread_child_lies_anywhere() {
    let (_world, node) = node().await;
    let mut worker = Worker::new("a");
    let mut n_elsewhere = 0;
    for key in ["1", "2", "3", "4"] {
        let parent = start(&node, "spread", key).await;
        let turn = take(&node, &mut worker).await;
        n_elsewhere += u32::from(turn.workflow.partition() != parent.partition());
        worker.report(&node, complete(turn.key, "submitted")).await;
        assert_eq!(closed(&node, parent).await.status, Status::Succeeded);
    }
    assert!(0 < n_elsewhere);
}

#[tokio::test]
async fn a_child_that_is_cancelled_fails_its_parent() {
    let (_world, node) = node().await;
    let parent = start(&node, "parent", "key").await;
    let child = take(&node, &mut Worker::new("a")).await.workflow;
    cancel(&node, child).await;
    let result = closed(&node, parent).await;
    assert_eq!(result.error.as_deref(), Some("BTrust.ChildFailed"));
    let cause: Value = serde_json::from_str(&result.cause.unwrap()).unwrap();
    assert_eq!(
        (&cause["workflow"], &cause["status"]),
        (&json!(child), &json!("cancelled"))
    );
}

#[tokio::test]
async fn a_parent_that_is_cancelled_takes_its_child_with_it_or_leaves_it() {
    let (_world, node) = node().await;
    let mut worker = Worker::new("a");
    let parent = start(&node, "grandparent", "1").await;
    let child = take(&node, &mut worker).await.workflow;
    cancel(&node, parent).await;
    assert_eq!(closed(&node, child).await.status, Status::Cancelled);

    // The session of the first would hear that its turn is not wanted any more.
    let mut worker = Worker::new("b");
    let parent = start(&node, "leaving", "2").await;
    let turn = take(&node, &mut worker).await;
    cancel(&node, parent).await;
    worker.report(&node, complete(turn.key, "submitted")).await;
    assert_eq!(closed(&node, turn.workflow).await.status, Status::Succeeded);
    assert_eq!(view(&node, parent).await.status, Status::Cancelled);
    assert_eq!(check(&*node.store).await.unwrap().offenders, []);
}

#[tokio::test]
async fn a_child_that_cannot_start_says_why() {
    let (_world, node) = node().await;
    for (definition, error) in [
        ("lost", "BTrust.DefinitionUnknown"),
        ("wrong", "BTrust.InputInvalid"),
    ] {
        let parent = start(&node, definition, definition).await;
        let result = closed(&node, parent).await;
        assert_eq!(result.error.as_deref(), Some(error));
    }
}

#[tokio::test]
pub async fn a_workflow_goes_on_as_a_new_one() {
    let (world, node) = node().await;
    let first = start(&node, "again", "key").await;
    let mut worker = Worker::new("a");
    let turn = take(&node, &mut worker).await;
    worker.report(&node, complete(turn.key, "submitted")).await;
    let result = closed(&node, first).await;
    let next = result.continued_as.unwrap();
    assert_eq!((result.status, result.decision), (Status::Continued, None));
    assert_eq!(view(&node, first).await.lineage.continued_as, Some(next));
    // Not before its time.
    assert_eq!(
        node.engine.view(TENANT, next).await.unwrap_err().code(),
        "workflow_unknown"
    );
    world.clock.set(NOW_MS + 1_000);
    node.engine.wake().await;
    let turn = take(&node, &mut worker).await;
    assert_eq!((turn.workflow, turn.locale.as_str()), (next, "he"));
    let shown = view(&node, next).await;
    assert_eq!(
        (shown.lineage.continued_from, shown.version),
        (Some(first), 1)
    );
    assert_eq!(listed(&node, "again").await.len(), 2);
    assert_eq!(check(&*node.store).await.unwrap().offenders, []);
}

#[tokio::test]
async fn a_parent_follows_a_child_that_goes_on_as_a_new_one() {
    let (world, node) = node().await;
    let parent = start(&node, "following", "key").await;
    let mut worker = Worker::new("a");
    let turn = take(&node, &mut worker).await;
    worker.report(&node, complete(turn.key, "submitted")).await;
    let next = closed(&node, turn.workflow).await.continued_as.unwrap();
    world.clock.set(NOW_MS + 1_000);
    node.engine.wake().await;
    let turn = take(&node, &mut worker).await;
    assert_eq!(turn.workflow, next);
    assert_eq!(view(&node, next).await.lineage.parent, Some(parent));
    // Whoever ends the parent ends the run that is its child now.
    cancel(&node, parent).await;
    assert_eq!(closed(&node, next).await.status, Status::Cancelled);
}

/// Brings a workflow to its end: every turn of a form is submitted.
async fn finish(node: &Node, id: WorkflowId, session: &str) -> ResultView {
    let mut worker = Worker::new(session);
    let work = async {
        let mut results = Vec::new();
        loop {
            let request = worker.request(results.clone(), 1, WAIT_MS);
            // What a fault has refused is reported again.
            let Ok(answer) = node.engine.exchange("workers", &EVERYTHING, request).await else {
                continue;
            };
            let response: ExchangeResponse = serde_json::from_slice(&answer).unwrap();
            worker.held = response.tasks.iter().map(|it| it.key).collect();
            let keys = response.tasks.iter().map(|it| it.key);
            results = keys.map(|it| complete(it, "submitted")).collect();
        }
    };
    tokio::select! {
        biased;
        result = closed(node, id) => result,
        () = work => unreachable!("the work has no end"),
    }
}

/// Starts a parent, whatever the first commit does.
async fn start_in_spite(node: &Node, definition: &str) -> WorkflowId {
    let mut request = start_request("key");
    request.definition = definition.to_owned();
    loop {
        if let Ok(started) = node.engine.start_workflow(request.clone()).await {
            return started.workflow.id;
        }
    }
}

async fn a_family_survives(definition: &str, number: usize, fault: Fault) {
    let world = World::new();
    let node = world.node().await;
    publish_all(&node).await;
    node.stop().await;
    let plan = Plan {
        fault: Some((number, fault)),
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    let first = async {
        let id = start_in_spite(&node, definition).await;
        finish(&node, id, "first").await
    };
    let died = async {
        node.store.fired().await;
        if !matches!(fault, Fault::DiesBefore | Fault::DiesAfter) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        _ = first => {}
        () = died => {}
    }
    // Nobody has said good-bye: everything that was promised is in the store.
    assert_eq!(check(&*node.store).await.unwrap().offenders, []);
    let node = world.node().await;
    let id = start_in_spite(&node, definition).await;
    let result = finish(&node, id, "second").await;
    assert_eq!(result.status, Status::Succeeded, "{number} {fault:?}");
    let children = listed(&node, "child").await;
    assert_eq!(children.len(), 1, "{number} {fault:?}");
    let child = json!(children[0].id);
    assert_eq!(
        result.output.unwrap()["child"]["workflow"],
        child,
        "{number} {fault:?}"
    );
    let history = node.history(id).await;
    let n_succeeded = history.iter().filter(|it| *it == "TaskSucceeded").count();
    assert_eq!(n_succeeded, 1, "{number} {fault:?}: {history:?}");
    assert_eq!(check(&*node.store).await.unwrap().offenders, []);
}

#[tokio::test]
async fn whatever_commit_a_process_dies_at_there_is_one_child_and_its_end_is_heard() {
    // The start, the child's start, the word of it, the child's end, its being heard, the word of that.
    for number in 1..=6 {
        for fault in [Fault::DiesBefore, Fault::DiesAfter] {
            a_family_survives("parent", number, fault).await;
        }
    }
}

#[tokio::test]
async fn whatever_commit_fails_there_is_one_child_and_its_end_is_heard() {
    for number in 1..=6 {
        for fault in [
            Fault::Unavailable,
            Fault::UnknownAbsent,
            Fault::UnknownPresent,
        ] {
            a_family_survives("spread", number, fault).await;
        }
    }
}

#[tokio::test]
async fn a_child_that_is_lost_is_found_out() {
    let (world, node) = node().await;
    let parent = start(&node, "parent", "key").await;
    let child = take(&node, &mut Worker::new("a")).await.workflow;
    // The parent knows that its child has begun once that is in its history.
    while !node
        .history(parent)
        .await
        .contains(&"TaskSubmitted".to_owned())
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(check(&*node.store).await.unwrap().offenders, []);
    let file = world.dir.path().join("state.sqlite");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    sqlx::query("DELETE FROM snapshot WHERE workflow = ?")
        .bind(child.to_string())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    // The timer of its time limit does not excuse it.
    let open = node.store.open_workflows(parent.partition(), None, 9).await;
    assert!(open.unwrap()[0].wake_at_ms.is_some());
    assert_eq!(check(&*node.store).await.unwrap().offenders, [parent]);
}
