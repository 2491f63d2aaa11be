//! Commands that reach a node which does not own their workflow.

use poem::http::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use btrust_platform::http::Shutdown;
use btrust_schemas::definition::Publish;
use btrust_schemas::ids::WorkflowId;

use crate::http::{client, routes_of, send, token};
use crate::world::{Node, Plan, TENANT, WAIT_MS, World, draft_request, envelope, start_request};

pub struct Server {
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn stop(self) {
        self.shutdown.trigger();
        self.serving.await.unwrap();
    }
}

/// A node whose server is at the address that the registry names.
pub async fn served(world: &World) -> (Node, Server) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let plan = Plan {
        member: Some(address.leak()),
        ..Plan::default()
    };
    let node = world.node_with(plan).await;
    let shutdown = Shutdown::new();
    let routes = routes_of(world, &node, shutdown.clone());
    let serving = btrust_platform::http::serve("core", listener, routes, shutdown.clone());
    let serving = tokio::spawn(async move { serving.await.unwrap() });
    (node, Server { shutdown, serving })
}

pub async fn both_have_their_share(nodes: [&Node; 2]) {
    for node in nodes {
        let mut watch = node.engine.watch_partitions();
        watch.wait_for(|it| *it == 128).await.unwrap();
    }
}

/// Starts workflows at one node until the other owns one; returns that one.
async fn started_elsewhere(
    client: &poem::test::TestClient<impl poem::Endpoint>,
    owner: &Node,
) -> WorkflowId {
    for key in 0..100 {
        let start = serde_json::to_value(start_request(&key.to_string())).unwrap();
        let path = "/internal/v1/workflows";
        let (status, body) = send(client, "core:call", Method::POST, path, Some(start)).await;
        assert_eq!((status, &body["created"]), (StatusCode::OK, &json!(true)));
        let id: WorkflowId = body["workflow"]["id"].as_str().unwrap().parse().unwrap();
        if owner.engine.owns(id) {
            return id;
        }
    }
    panic!("all keys are of one node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_brought_to_the_owner_with_its_callers_own_token() {
    let world = World::new();
    let (near, _) = served(&world).await;
    let (far, _) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    let client = client(&world, &near);
    let id = started_elsewhere(&client, &far).await;

    // Not what the caller may do: the owner says so.
    let cancel = format!("/internal/v1/workflows/{id}/cancel");
    let body = json!({ "tenant": TENANT, "actor": "bank", "reason": "enough" });
    let (status, _) = send(
        &client,
        "queue:form",
        Method::POST,
        &cancel,
        Some(body.clone()),
    )
    .await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    // A call that waits parks at the owner, and hears of what happens there.
    let result = format!("/internal/v1/workflows/{id}/result?tenant={TENANT}&waitMs={WAIT_MS}");
    let waiting = send(&client, "core:call", Method::GET, &result, None);
    let cancelling = send(&client, "core:call", Method::POST, &cancel, Some(body));
    let ((status, ended), (cancelled, _)) = tokio::join!(waiting, cancelling);
    assert_eq!(
        (status, cancelled),
        (StatusCode::OK, StatusCode::OK),
        "{ended}"
    );
    assert_eq!(ended["status"], "cancelled");

    // What anybody can read from the store needs no owner.
    let view = format!("/internal/v1/workflows/{id}?tenant={TENANT}");
    let (_, view) = send(&client, "core:call", Method::GET, &view, None).await;
    assert_eq!(view["status"], "cancelled");
    let (_, nodes) = send(
        &client,
        "core:call",
        Method::GET,
        "/internal/v1/nodes",
        None,
    )
    .await;
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 2, "{nodes}");
    assert_eq!(
        (&nodes["nOwned"], &nodes["nWanted"]),
        (&json!(128), &json!(128))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_goes_one_hop_and_no_further() {
    let world = World::new();
    let (near, _) = served(&world).await;
    let (far, _) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    let client = client(&world, &near);
    let id = started_elsewhere(&client, &far).await;
    let body = json!({ "tenant": TENANT, "actor": "bank", "reason": "enough" });
    let response = client
        .post(format!("/internal/v1/workflows/{id}/cancel"))
        .header("authorization", format!("Bearer {}", token("core:call")))
        .header("x-btrust-forwarded", "1")
        .body_json(&body)
        .send()
        .await;
    response.assert_status(StatusCode::SERVICE_UNAVAILABLE);
    response.assert_header("retry-after", "1");
    response.assert_header("x-btrust-elsewhere", "1");
    assert!(far.engine.owns(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_during_a_hand_over_waits_for_the_next_owner() {
    let world = World::new();
    let (near, _) = served(&world).await;
    let (far, server) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    let client = client(&world, &near);
    let id = started_elsewhere(&client, &far).await;
    // As in production, its server ends first and its partitions go a moment later.
    server.stop().await;
    let stopping = tokio::spawn(far.stop());
    let body = json!({ "tenant": TENANT, "actor": "bank", "reason": "enough" });
    let path = format!("/internal/v1/workflows/{id}/cancel");
    let cancel = || {
        send(
            &client,
            "core:call",
            Method::POST,
            &path,
            Some(body.clone()),
        )
    };
    let (mut status, mut view) = cancel().await;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // It was brought over a connection that the server had just ended: a command whose end nobody
        // knows is its caller's to repeat.
        (status, view) = cancel().await;
    }
    assert_eq!(
        (status, &view["status"]),
        (StatusCode::OK, &json!("cancelled"))
    );
    stopping.await.unwrap();
    assert!(near.engine.owns(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_on_many_reaches_the_workflows_of_all_nodes() {
    const N_WORKFLOWS: u64 = 12;
    let world = World::new();
    let (near, _) = served(&world).await;
    let (far, _) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    let client = client(&world, &near);
    for key in 0..N_WORKFLOWS {
        let start = serde_json::to_value(start_request(&key.to_string())).unwrap();
        let path = "/internal/v1/workflows";
        let (status, body) = send(&client, "core:call", Method::POST, path, Some(start)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let list = async |paused| {
        let path = format!("/internal/v1/workflows?tenant={TENANT}&paused={paused}");
        let (_, page) = send(&client, "core:call", Method::GET, &path, None).await;
        let listed = page["workflows"].as_array().unwrap().iter();
        let ids = listed.map(|it| it["id"].as_str().unwrap().parse::<WorkflowId>().unwrap());
        ids.collect::<Vec<_>>()
    };
    let running = list(false).await;
    assert!(running.iter().any(|it| near.engine.owns(*it)));
    assert!(running.iter().any(|it| far.engine.owns(*it)));

    let act = async |act: &str, dry_run: bool| {
        let body = json!({
            "act": act, "filter": { "tenant": TENANT }, "dryRun": dry_run, "actor": "operator",
        });
        let path = "/internal/v1/workflow-acts";
        let (status, view) = send(&client, "core:call", Method::POST, path, Some(body)).await;
        assert_eq!((status, &view["refused"]), (StatusCode::OK, &json!(0)));
        let count = |name: &str| view[name].as_u64().unwrap();
        (count("done"), count("unchanged"))
    };
    assert_eq!(act("pause", true).await, (N_WORKFLOWS, 0));
    assert_eq!(list(true).await, []);
    assert_eq!(act("pause", false).await, (N_WORKFLOWS, 0));
    assert_eq!(list(true).await, running);
    assert_eq!(act("pause", false).await, (0, N_WORKFLOWS));
    assert_eq!(act("resume", false).await, (N_WORKFLOWS, 0));
    assert_eq!(list(true).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_moves_the_workflows_of_all_nodes() {
    const N_WORKFLOWS: usize = 12;
    const LIMIT: usize = 7;
    let world = World::new();
    let (near, _) = served(&world).await;
    let (far, _) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    let client = client(&world, &near);
    let post = async |path: &str, body| {
        let (status, body) = send(&client, "core:call", Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    };
    let mut ids: Vec<WorkflowId> = Vec::new();
    for key in 0..N_WORKFLOWS {
        let start = serde_json::to_value(start_request(&key.to_string())).unwrap();
        let started = post("/internal/v1/workflows", start).await;
        ids.push(started["workflow"]["id"].as_str().unwrap().parse().unwrap());
    }
    assert!(ids.iter().any(|it| near.engine.owns(*it)));
    assert!(ids.iter().any(|it| far.engine.owns(*it)));
    let mut next = envelope();
    next["title"] = json!("Another");
    let request = draft_request(next, "2", Publish::Yes);
    near.engine.definitions().draft(request).await.unwrap();

    let migrate = async |dry_run: bool, cursor: Option<&str>| {
        let body = json!({
            "tenant": TENANT, "from": 1, "to": 2, "dryRun": dry_run, "limit": LIMIT,
            "cursor": cursor, "actor": "admin",
        });
        let view = post("/internal/v1/definitions/flow/migrations", body).await;
        assert_eq!(view["cannot"], json!(0), "{view}");
        let next = view["next"].as_str().map(str::to_owned);
        (view["move"].as_u64().unwrap(), next)
    };
    let version = async |id| near.engine.view(TENANT, id).await.unwrap().version;
    let (would_move, _) = migrate(true, None).await;
    assert_eq!(would_move, LIMIT as u64);
    assert_eq!(version(ids[0]).await, 1);
    let (moved, cursor) = migrate(false, None).await;
    let (moved_then, end) = migrate(false, cursor.as_deref()).await;
    assert_eq!((moved, moved_then), (7, 5));
    assert!(cursor.is_some() && end.is_none());
    for id in ids {
        assert_eq!(version(id).await, 2, "{id}");
    }
}
