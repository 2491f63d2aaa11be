//! Core's server: who may call it and how it refuses.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use poem::http::StatusCode;
use poem::test::TestClient;
use serde_json::{Value, json};

use btrust_engine::core::routes;
use btrust_engine::store::{Fence, Store};
use btrust_platform::http::{Shutdown, wrap};
use btrust_platform::token::{AUDIENCE, Claims, Kind, Verifier};
use btrust_schemas::exchange::Ack;

use crate::world::{NOW_MS, Node, Worker, World, complete, start_request};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn token(scope: &str) -> String {
    token_of(Kind::Service, scope)
}

fn token_of(kind: Kind, scope: &str) -> String {
    let claims = Claims {
        sub: "service".to_owned(),
        tenant: "platform".to_owned(),
        scope: scope.to_owned(),
        kind,
        workflow: None,
        device: None,
        session_end: None,
        exp: NOW_MS / 1_000 + 600,
        iat: NOW_MS / 1_000,
        iss: "auth".to_owned(),
        aud: AUDIENCE.to_owned(),
        jti: "1".to_owned(),
    };
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.kid = Some("one".to_owned());
    let der = key().to_pkcs8_der().unwrap();
    let key = jsonwebtoken::EncodingKey::from_ed_der(der.as_bytes());
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

pub fn client(world: &World, node: &Node) -> TestClient<impl poem::Endpoint> {
    client_until(world, node, Shutdown::new())
}

fn client_until(world: &World, node: &Node, shutdown: Shutdown) -> TestClient<impl poem::Endpoint> {
    TestClient::new(wrap("core", routes_of(world, node, shutdown)))
}

/// The endpoints of a node, for whoever has a token of [`token`].
pub fn routes_of(world: &World, node: &Node, shutdown: Shutdown) -> poem::Route {
    let x = URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one", "x": x });
    let jwks = serde_json::from_value(json!({ "keys": [jwk] })).unwrap();
    let verifier = Verifier::with_keys(&jwks, Arc::clone(&world.clock) as _);
    routes(Arc::clone(&node.engine), verifier, shutdown)
}

/// Sends and returns status and body.
pub async fn send(
    client: &TestClient<impl poem::Endpoint>,
    scope: &str,
    method: poem::http::Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let mut request = client
        .request(method, path)
        .header("authorization", format!("Bearer {}", token(scope)));
    if let Some(body) = body {
        request = request.body_json(&body);
    }
    let response = request.send().await;
    let status = response.0.status();
    let bytes = response.0.into_body().into_bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn the_gateway_starts_and_reads_over_http() {
    use poem::http::Method;
    let world = World::new();
    let node = world.node().await;
    let client = client(&world, &node);
    let start = serde_json::to_value(start_request("key")).unwrap();
    let (status, started) = send(
        &client,
        "core:call",
        Method::POST,
        "/internal/v1/workflows",
        Some(start),
    )
    .await;
    assert_eq!(
        (status, &started["created"]),
        (StatusCode::OK, &json!(true))
    );
    let id = started["workflow"]["id"].as_str().unwrap().to_owned();
    for (path, field, expected) in [
        (
            format!("/internal/v1/workflows/{id}?tenant=acme"),
            "/status",
            json!("running"),
        ),
        (
            format!("/internal/v1/workflows/{id}/result?tenant=acme&waitMs=1"),
            "/status",
            json!("running"),
        ),
        (
            format!("/internal/v1/workflows/{id}/history?tenant=acme&limit=1"),
            "/next",
            json!(1),
        ),
        (
            format!("/internal/v1/workflows/{id}/prompts?tenant=acme&audience=applicant"),
            "/prompts",
            json!([]),
        ),
        (
            "/internal/v1/workflows?tenant=acme&status=running&limit=5".to_owned(),
            "/workflows/0/id",
            json!(id),
        ),
        (
            "/internal/v1/definitions?tenant=acme".to_owned(),
            "/0/name",
            json!("flow"),
        ),
        (
            "/internal/v1/definitions/flow?tenant=acme&version=1".to_owned(),
            "/envelope/name",
            json!("flow"),
        ),
        (
            "/internal/v1/tenants/acme/acknowledgements".to_owned(),
            "",
            json!([]),
        ),
    ] {
        let (status, body) = send(&client, "core:call", Method::GET, &path, None).await;
        assert_eq!(
            (status, body.pointer(field)),
            (StatusCode::OK, Some(&expected)),
            "{path}: {body}"
        );
    }
    let acknowledgement =
        json!({ "kind": "uncertified_liveness", "statement": "we know", "by": "admin", "at": "" });
    let path = "/internal/v1/tenants/acme/acknowledgements";
    let (status, body) = send(
        &client,
        "core:call",
        Method::POST,
        path,
        Some(acknowledgement),
    )
    .await;
    assert_eq!(
        (status, &body["statement"]),
        (StatusCode::OK, &json!("we know"))
    );
    let (status, body) = send(
        &client,
        "core:call",
        Method::POST,
        &format!("/internal/v1/workflows/{id}/cancel"),
        Some(json!({ "tenant": "acme", "actor": "bank" })),
    )
    .await;
    assert_eq!(
        (status, &body["status"]),
        (StatusCode::OK, &json!("cancelled"))
    );
}

#[tokio::test]
async fn the_acts_on_versions_are_answered_over_http() {
    use poem::http::Method;
    let world = World::new();
    let node = world.node().await;
    let client = client(&world, &node);
    let act =
        |tenant: &str| json!({ "tenant": tenant, "live": true, "version": 1, "actor": "admin" });
    let (ok, conflict, absent) = (StatusCode::OK, StatusCode::CONFLICT, StatusCode::NOT_FOUND);
    for (method, path, body, expected, (field, value)) in [
        (
            Method::GET,
            "versions?tenant=acme",
            None,
            ok,
            ("/versions/0/publisher", json!("admin")),
        ),
        (
            Method::GET,
            "live?tenant=acme",
            None,
            ok,
            ("/revision", json!(1)),
        ),
        (
            Method::PUT,
            "live",
            Some(act("acme")),
            ok,
            ("/version", json!(1)),
        ),
        (
            Method::PUT,
            "live",
            Some(act("other")),
            absent,
            ("/code", json!("definition_unknown")),
        ),
        (
            Method::POST,
            "versions/1/publication",
            Some(act("acme")),
            ok,
            ("/status", json!("published")),
        ),
        (
            Method::POST,
            "migrations",
            Some(json!({ "tenant": "acme", "from": 1, "to": 1, "dryRun": true, "actor": "admin" })),
            ok,
            ("/move", json!(0)),
        ),
        (
            Method::POST,
            "versions/1/retirement",
            Some(act("acme")),
            conflict,
            ("/code", json!("version_live")),
        ),
    ] {
        let path = format!("/internal/v1/definitions/flow/{path}");
        let (status, body) = send(&client, "core:call", method, &path, body).await;
        assert_eq!(
            (status, body.pointer(field)),
            (expected, Some(&value)),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_code() {
    use poem::http::Method;
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let client = client(&world, &node);
    let exchange = json!({ "session": "a", "seq": 1, "held": [], "results": [], "want": 0, "queues": ["otp", "ocr"] });
    let workflow = format!("/internal/v1/workflows/{id}");
    for (scope, method, path, body, status, code) in [
        (
            "queue:otp",
            Method::GET,
            format!("{workflow}?tenant=acme"),
            None,
            403,
            "scope_missing",
        ),
        (
            "core:call",
            Method::GET,
            format!("{workflow}?tenant=other"),
            None,
            404,
            "workflow_unknown",
        ),
        (
            "core:call",
            Method::GET,
            "/internal/v1/workflows/nonsense?tenant=acme".to_owned(),
            None,
            404,
            "workflow_unknown",
        ),
        (
            "core:call",
            Method::GET,
            "/internal/v1/nothing".to_owned(),
            None,
            404,
            "not_found",
        ),
        (
            "core:call",
            Method::POST,
            "/internal/v1/prompts/prm_1/submissions".to_owned(),
            Some(
                json!({ "tenant": "acme", "submitter": { "kind": "applicant", "id": "a" }, "body": {}, "digest": "" }),
            ),
            404,
            "prompt_unknown",
        ),
        (
            "queue:otp",
            Method::POST,
            "/internal/v1/tasks/exchange".to_owned(),
            Some(exchange.clone()),
            403,
            "queue_forbidden",
        ),
        (
            "core:call",
            Method::POST,
            "/internal/v1/workflows".to_owned(),
            Some(json!({ "tenant": 1 })),
            400,
            "malformed_json",
        ),
        (
            "core:call",
            Method::POST,
            "/internal/v1/tenants/acme/acknowledgements".to_owned(),
            Some(json!({ "kind": "x", "statement": "", "by": "", "at": "" })),
            400,
            "acknowledgement_unknown",
        ),
    ] {
        let (got, problem) = send(&client, scope, method, &path, body).await;
        assert_eq!(
            (got.as_u16(), &problem["code"]),
            (status, &json!(code)),
            "{path}: {problem}"
        );
    }
    let (status, _) = send(
        &client,
        "queue:*",
        Method::POST,
        "/internal/v1/tasks/exchange",
        Some(exchange),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    let response = client.get(workflow).send().await;
    response.assert_status(StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_that_nobody_waits_for_is_unknown_however_it_comes_back() {
    use poem::http::Method;
    let world = World::new();
    let node = world.node().await;
    let workflow = node.started("key").await;
    let client = client(&world, &node);
    let random = "0".repeat(32);
    for token in ["tkn_1", &format!("tkn_{}00000001{random}", workflow.hex())] {
        for (how, body) in [
            (
                "success",
                json!({ "tenant": "acme", "result": {}, "actor": "bank" }),
            ),
            (
                "failure",
                json!({ "tenant": "acme", "error": "x", "cause": "", "actor": "bank" }),
            ),
            ("heartbeat", json!({ "tenant": "acme" })),
        ] {
            let path = format!("/internal/v1/task-tokens/{token}/{how}");
            let (status, body) = send(&client, "core:call", Method::POST, &path, Some(body)).await;
            assert_eq!(
                (status.as_u16(), &body["code"]),
                (404, &json!("token_unknown")),
                "{path}"
            );
        }
    }
}

const EXCHANGE: &str = "/internal/v1/tasks/exchange";

#[tokio::test]
async fn a_worker_cannot_touch_the_turns_of_a_step_that_its_token_does_not_name() {
    use poem::http::Method;
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let mut worker = Worker::new("form");
    let key = worker.take(&node).await.key;
    let fence = Fence {
        partition: id.partition(),
        epoch: 1,
    };
    node.store.put_incident(id, "code", fence).await.unwrap();
    // The second node does not know the turn but from the workflow itself.
    for node in [&node, &world.node().await] {
        let before = node.history(id).await;
        let client = client(&world, node);
        let exchange = json!({
            "session": "thief", "seq": 1, "held": [key], "results": [complete(key, "submitted")],
            "want": 1, "queues": [],
        });
        let (status, body) = send(
            &client,
            "queue:otp",
            Method::POST,
            EXCHANGE,
            Some(exchange.clone()),
        )
        .await;
        let codes: Vec<&Value> = body["acks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["code"])
            .collect();
        assert_eq!(
            (status, codes),
            (StatusCode::OK, vec![&json!("queue_forbidden")])
        );
        assert_eq!(node.history(id).await, before);
        let applicant = client
            .post(EXCHANGE)
            .header(
                "authorization",
                format!("Bearer {}", token_of(Kind::Applicant, "queue:form")),
            )
            .body_json(&exchange)
            .send()
            .await;
        applicant.assert_status(StatusCode::FORBIDDEN);
        let (status, problem) = send(
            &client,
            "core:call",
            Method::POST,
            EXCHANGE,
            Some(exchange.clone()),
        )
        .await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::FORBIDDEN, &json!("queue_forbidden"))
        );
        assert_eq!(node.history(id).await, before);
    }
}

#[tokio::test]
async fn results_are_answered_after_the_shutdown_has_begun() {
    use poem::http::Method;
    let world = World::new();
    let node = world.node().await;
    node.started("key").await;
    let mut worker = Worker::new("form");
    let key = worker.take(&node).await.key;
    let shutdown = Shutdown::new();
    shutdown.trigger();
    let client = client_until(&world, &node, shutdown);
    let exchange = |seq: u32, results: Value| {
        json!({
            "session": "other", "seq": seq, "held": [], "results": results, "want": 1,
            "queues": ["form"], "waitMs": 20_000,
        })
    };
    let result = json!([complete(key, "submitted")]);
    let (status, body) = send(
        &client,
        "queue:form",
        Method::POST,
        EXCHANGE,
        Some(exchange(1, result)),
    )
    .await;
    assert_eq!(
        (status, &body["acks"][0]["code"]),
        (StatusCode::OK, &json!(Ack::ACCEPTED))
    );
    let (status, _) = send(
        &client,
        "queue:form",
        Method::POST,
        EXCHANGE,
        Some(exchange(2, json!([]))),
    )
    .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn operators_see_queues_incidents_and_limits_over_http() {
    use poem::http::Method;
    let world = World::new();
    let node = world.node().await;
    node.started("key").await;
    let client = client(&world, &node);
    let get = async |path: &str| send(&client, "core:call", Method::GET, path, None).await;
    let (status, queues) = get("/internal/v1/queues").await;
    assert_eq!(status, StatusCode::OK);
    let form = &queues["queues"][0];
    assert_eq!(
        (&form["step"], &form["waiting"]),
        (&json!("form"), &json!(1))
    );
    assert_eq!(
        (&form["noWorker"], &form["inFlight"]),
        (&json!(1), &json!(0))
    );
    let (status, _) = send(
        &client,
        "queue:form",
        Method::GET,
        "/internal/v1/queues",
        None,
    )
    .await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    let (status, page) = get("/internal/v1/incidents?tenant=acme&step=form&limit=1").await;
    assert_eq!((status, &page["incidents"]), (StatusCode::OK, &json!([])));
    for id in ["wf_00", &format!("inc_{}", "00".repeat(20))] {
        let (status, problem) = get(&format!("/internal/v1/incidents/{id}?tenant=acme")).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::NOT_FOUND, &json!("incident_unknown"))
        );
    }

    let put = async |limits: Value| {
        let body = json!({ "limits": limits, "expected": null, "actor": "operator" });
        let path = "/internal/v1/task-limits";
        send(&client, "core:call", Method::PUT, path, Some(body)).await
    };
    let (status, problem) = put(json!({ "tenants": { "acme": { "weight": 0 } } })).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::BAD_REQUEST, &json!("task_limits_invalid"))
    );
    let limits = json!({ "tenants": { "acme": { "turns": {}, "startsPerSecond": 1 } } });
    let (status, _) = put(limits.clone()).await;
    assert_eq!(status, StatusCode::OK);
    let (_, view) = get("/internal/v1/task-limits").await;
    assert_eq!((&view["revision"], &view["limits"]), (&json!(1), &limits));

    node.started("first").await;
    let start = serde_json::to_value(start_request("second")).unwrap();
    let request = client
        .post("/internal/v1/workflows")
        .header("authorization", format!("Bearer {}", token("core:call")))
        .body_json(&start);
    let response = request.send().await;
    response.assert_status(StatusCode::TOO_MANY_REQUESTS);
    response.assert_header("retry-after", "1");
}
