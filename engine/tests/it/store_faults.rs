//! Every method of the store, failing in every way: nothing is lost and nothing doubled.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;

use btrust_engine::EngineError;
use btrust_engine::check::check;
use btrust_schemas::core::{ListQuery, Status, SubmissionRequest};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::turn::TurnReason;

use crate::world::{
    CALL_FAULTS, EVERYTHING, Fault, Node, Plan, TENANT, Worker, World, applicant, ask, complete,
};

/// How often a client repeats what could not be done.
const TRIES_MAX: usize = 20;

/// Does something until it is done, as clients do.
async fn until_done<T, F>(what: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, EngineError>>,
{
    for _ in 0..TRIES_MAX {
        match what().await {
            Ok(done) => return done,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    panic!("it is refused for ever");
}

/// Reports a turn until it is acknowledged.
async fn report(node: &Node, worker: &mut Worker, report: btrust_schemas::exchange::Report) {
    for _ in 0..TRIES_MAX {
        let request = worker.request(vec![report.clone()], 0, 0);
        match node.engine.exchange("workers", &EVERYTHING, request).await {
            Ok(bytes) => {
                let response: btrust_schemas::exchange::ExchangeResponse =
                    serde_json::from_slice(&bytes).unwrap();
                if response.acks.iter().any(|it| it.key == report.key) {
                    worker.held.retain(|it| *it != report.key);
                    assert!(response.acks.iter().all(crate::world::is_accepted));
                    return;
                }
            }
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
    panic!("a report is not taken");
}

/// The first half of a workflow: started, asked, and answered.
async fn first_half(node: &Node) -> WorkflowId {
    let id = until_done(|| node.start("key")).await.workflow.id;
    let mut worker = Worker::new("first");
    let turn = worker.take(node).await;
    report(node, &mut worker, ask(turn.key, 60_000)).await;
    let prompts = until_done(|| node.engine.prompts(TENANT, id, None, None, 0)).await;
    let prompt = prompts.prompts[0].id;
    until_done(|| {
        let request = SubmissionRequest {
            tenant: TENANT.to_owned(),
            submitter: applicant(),
            body: json!({}),
            digest: "a".repeat(64),
        };
        node.engine.submit(prompt, request)
    })
    .await;
    id
}

/// The second half, after a restart: both steps end, and everything is looked at.
async fn second_half(node: &Node, id: WorkflowId) {
    assert!(!until_done(|| node.start("key")).await.created);
    let mut worker = Worker::new("second");
    let turn = worker.take(node).await;
    assert!(matches!(turn.reason, TurnReason::Submission { .. }));
    report(node, &mut worker, complete(turn.key, "submitted")).await;
    let turn = worker.take(node).await;
    assert_eq!(turn.state_name, "Look");
    report(node, &mut worker, complete(turn.key, "approved")).await;
    let query = ListQuery {
        tenant: TENANT.to_owned(),
        ..ListQuery::default()
    };
    let page = until_done(|| node.engine.list(query.clone())).await;
    assert_eq!(page.workflows.len(), 1);
    let view = until_done(|| node.engine.view(TENANT, id)).await;
    assert_eq!(view.status, Status::Succeeded);
}

async fn history(node: &Node, id: WorkflowId) -> Vec<String> {
    let page = until_done(|| node.engine.history(TENANT, id, 0, Some(1_000))).await;
    let types = page.events.iter().map(|it| it["type"].as_str().unwrap());
    types.map(str::to_owned).collect()
}

/// Ids of the published events, in the order of their first coming.
fn published(world: &World) -> Vec<String> {
    let mut ids = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(world.streams())
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    files.sort();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let id = event["id"].as_str().unwrap();
            // What comes before the first dot names the workflow.
            let number = id.split_once('.').unwrap().1.to_owned();
            if !ids.contains(&number) {
                ids.push(number);
            }
        }
    }
    ids
}

/// What a run has come to.
#[derive(Debug, PartialEq)]
struct Ended {
    history: Vec<String>,
    published: Vec<String>,
}

/// Starts an engine, as often as it takes.
async fn node_with(world: &World, plan: &Plan) -> Option<Node> {
    // A failed start has used its fault up.
    match world.try_node_with(plan.clone()).await {
        Ok(node) => Some(node),
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            None
        }
    }
}

/// Plays a workflow over a restart with one fault before or after it; returns whether the fault has struck.
async fn play(plan: &Plan, is_second: bool) -> (Ended, bool) {
    let world = World::new();
    let calm = Plan::default();
    let (first_plan, second_plan) = if is_second {
        (&calm, plan)
    } else {
        (plan, &calm)
    };
    let mut has_struck = false;
    let at = plan.call.map_or(0, |it| it.1);
    let started = node_with(&world, first_plan).await;
    has_struck |= started.is_none();
    let first = match started {
        Some(node) => node,
        None => world.node().await,
    };
    let id = first_half(&first).await;
    let first_store = Arc::clone(&first.store);
    first.stop().await;
    has_struck |= !is_second && 0 < at && at <= first_store.n_calls();
    let started = node_with(&world, second_plan).await;
    has_struck |= started.is_none();
    let second = match started {
        Some(node) => node,
        None => world.node().await,
    };
    second_half(&second, id).await;
    let history = history(&second, id).await;
    let second_store = Arc::clone(&second.store);
    second.stop().await;
    has_struck |= is_second && 0 < at && at <= second_store.n_calls();
    // What the second could not publish before its end, the third does.
    let third = world.node().await;
    let checked = check(&*third.store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (0, vec![]));
    third.stop().await;
    let published = published(&world);
    (Ended { history, published }, has_struck)
}

/// A method fails in every way, at its first calls, before the restart and after it.
async fn check_method(method: &'static str, also: Option<(usize, Fault)>) {
    let (expected, _) = play(&Plan::default(), false).await;
    assert_eq!(expected.history.last().unwrap(), "ExecutionSucceeded");
    let mut cases = Vec::new();
    for fault in CALL_FAULTS {
        for (at, is_second) in [(1, false), (2, false), (1, true), (3, true)] {
            let plan = Plan {
                call: Some((method, at, fault)),
                fault: also,
                ..Plan::default()
            };
            cases.push((plan, is_second));
        }
    }
    let runs = join_all(cases.iter().map(|(plan, is_second)| play(plan, *is_second))).await;
    for ((plan, is_second), (ended, _)) in cases.iter().zip(&runs) {
        assert_eq!(
            *ended, expected,
            "{:?}, after the restart: {is_second}",
            plan.call
        );
    }
    for fault in CALL_FAULTS {
        let is_of_fault = |plan: &Plan| plan.call.is_some_and(|it| it.2 == fault);
        let mut runs = cases.iter().zip(&runs);
        let has_struck = runs.any(|((plan, _), (_, has_struck))| is_of_fault(plan) && *has_struck);
        assert!(has_struck, "{method} has never failed with {fault:?}");
    }
}

macro_rules! methods {
    ($($name:ident $method:literal $also:expr),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            check_method($method, $also).await;
        })*
    };
}

methods! {
    nothing_is_lost_or_doubled_when_acquire_fails "acquire" None,
    nothing_is_lost_or_doubled_when_commit_fails "commit" None,
    // Only an unknown commit asks for the last batches.
    nothing_is_lost_or_doubled_when_last_batches_fails "last_batches" Some((2, Fault::UnknownPresent)),
    nothing_is_lost_or_doubled_when_load_fails "load" None,
    nothing_is_lost_or_doubled_when_open_workflows_fails "open_workflows" None,
    nothing_is_lost_or_doubled_when_history_fails "history" None,
    nothing_is_lost_or_doubled_when_page_fails "page" None,
    nothing_is_lost_or_doubled_when_find_starts_fails "find_starts" None,
    nothing_is_lost_or_doubled_when_outbox_fails "outbox" None,
    nothing_is_lost_or_doubled_when_cursors_fails "cursors" None,
    nothing_is_lost_or_doubled_when_put_cursors_fails "put_cursors" None,
}

#[tokio::test]
async fn an_incident_that_cannot_be_marked_stops_one_workflow_all_the_same() {
    for fault in CALL_FAULTS {
        let world = World::new();
        let plan = Plan {
            call: Some(("put_incident", 1, fault)),
            refused_digest: Some("b".repeat(64)),
            ..Plan::default()
        };
        let node = world.node_with(plan).await;
        let mut bad = crate::world::start_request("bad");
        bad.request_digest = "b".repeat(64);
        let (refused, good) = tokio::join!(node.engine.start_workflow(bad), node.start("good"));
        assert_eq!(
            refused.unwrap_err().code(),
            "workflow_incident",
            "{fault:?}"
        );
        assert!(good.unwrap().created, "{fault:?}");
        assert_eq!(node.store.n_calls(), 1, "{fault:?}");
        let checked = check(&*node.store).await.unwrap();
        assert_eq!(
            (checked.n_open, checked.offenders),
            (1, vec![]),
            "{fault:?}"
        );
    }
}
