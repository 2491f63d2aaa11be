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
use btrust_platform::http::{Shutdown, wrap};
use btrust_platform::token::{AUDIENCE, Claims, Kind, Verifier};

use crate::world::{NOW_MS, Node, World, start_request};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn token(scope: &str) -> String {
    let claims = Claims {
        sub: "service".to_owned(),
        tenant: "platform".to_owned(),
        scope: scope.to_owned(),
        kind: Kind::Service,
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

fn client(world: &World, node: &Node) -> TestClient<impl poem::Endpoint> {
    let x = URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one", "x": x });
    let jwks = serde_json::from_value(json!({ "keys": [jwk] })).unwrap();
    let verifier = Verifier::with_keys(&jwks, Arc::clone(&world.clock) as _);
    let routes = routes(Arc::clone(&node.engine), verifier, Shutdown::new());
    TestClient::new(wrap("core", routes))
}

/// Sends and returns status and body.
async fn send(
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
