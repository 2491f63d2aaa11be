use poem::http::StatusCode;
use serde_json::{Value, json};

use std::sync::mpsc;

use futures_util::FutureExt as _;

use super::super::gates::PROOFS_PLACES;
use super::world::{assert_problem, world};

/// The shipped onboarding: what passes the gates for a bank passes them here.
pub fn onboarding() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../workflows/bank-onboarding.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_definition_is_published_once_and_read_back() {
    let world = world().await;
    let admin = world
        .token(
            "admin",
            "bank",
            &[
                "definitions:read",
                "definitions:write",
                "definitions:publish",
            ],
        )
        .await;
    let (status, first) = world.post("/v1/definitions", &admin, onboarding()).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    assert_eq!(first["version"], 1);
    let (status, again) = world.post("/v1/definitions", &admin, onboarding()).await;
    assert_eq!(
        (status, &again["version"]),
        (StatusCode::OK, &json!(1)),
        "{again}"
    );

    let mut changed = onboarding();
    changed["title"] = json!("Another title");
    let (status, second) = world.post("/v1/definitions", &admin, changed).await;
    assert_eq!(
        (status, &second["version"]),
        (StatusCode::CREATED, &json!(2)),
        "{second}"
    );

    let (_, live) = world.get("/v1/definitions/bank-onboarding", &admin).await;
    assert_eq!(live["version"], 2);
    let (_, old) = world
        .get("/v1/definitions/bank-onboarding/versions/1", &admin)
        .await;
    assert_eq!(old["envelope"]["title"], onboarding()["title"]);
    let (_, all) = world.get("/v1/definitions", &admin).await;
    assert_eq!(all["definitions"].as_array().unwrap().len(), 1);
    assert_eq!(all["definitions"][0]["version"], 2);
    assert_eq!(all["definitions"][0].get("envelope"), None);
}

#[tokio::test]
async fn a_definition_that_a_gate_refuses_is_answered_with_its_findings() {
    let world = world().await;
    let admin = world.token("admin", "bank", &["definitions:write"]).await;
    let mut broken = onboarding();
    broken["definition"]["StartAt"] = json!("Nowhere");
    let (status, body) = world.post("/v1/definitions", &admin, broken).await;
    assert_problem(status, &body, (422, "definition_refused"));
    let findings = body["errors"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .any(|it| it["pointer"].is_string() && it["code"].is_string()),
        "{body}"
    );

    let (status, body) = world.post("/v1/definitions", &admin, json!([1, 2])).await;
    assert_problem(status, &body, (422, "definition_refused"));
    assert!(world.core.lock().unwrap().definitions.is_empty());
}

#[tokio::test]
async fn another_tenants_definition_is_not_there() {
    let world = world().await;
    let admin = world.token("admin", "bank", &["definitions:write"]).await;
    world.post("/v1/definitions", &admin, onboarding()).await;
    let other = world
        .token("other", "other-bank", &["definitions:read"])
        .await;
    let (status, body) = world.get("/v1/definitions/bank-onboarding", &other).await;
    assert_problem(status, &body, (404, "definition_unknown"));
    let (_, all) = world.get("/v1/definitions", &other).await;
    assert_eq!(all["definitions"], json!([]));
    let path = "/v1/definitions/..%2Fworkflows/versions/1";
    let (status, body) = world.get(path, &other).await;
    assert_problem(status, &body, (404, "definition_unknown"));
}

#[tokio::test]
async fn definitions_are_checked_few_at_a_time() {
    let world = world().await;
    let admin = world.token("admin", "bank", &["definitions:write"]).await;
    let mut finish = Vec::new();
    let mut checks: Vec<_> = (0..PROOFS_PLACES)
        .map(|_| {
            let (end, until) = mpsc::channel::<()>();
            finish.push(end);
            Box::pin(world.gateway.proofs.run(move || until.recv()))
        })
        .collect();
    assert!(checks.iter_mut().all(|it| it.now_or_never().is_none()));

    let request = world
        .client
        .post("/v1/definitions")
        .body_json(&onboarding());
    let request = request.header("authorization", format!("Bearer {admin}"));
    let response = request.send().await;
    response.assert_header("retry-after", "5");
    let status = response.0.status();
    let body = response.json().await.value().deserialize();
    assert_problem(status, &body, (503, "busy"));

    finish.clear();
    futures_util::future::join_all(checks).await;
    let (status, body) = world.post("/v1/definitions", &admin, onboarding()).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}
