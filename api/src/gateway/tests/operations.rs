//! Signals, and what operators do to workflows.

use poem::http::StatusCode;
use serde_json::{Value, json};

use super::world::{assert_problem, world};

#[tokio::test]
async fn a_signal_needs_a_key_and_is_sent_with_who_sends_it() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let path = format!("/v1/workflows/{id}/signals");
    let signal = json!({ "name": "payment-received", "payload": { "amount": 7 } });
    let (status, body) = world.post(&path, &bank, signal.clone()).await;
    assert_problem(status, &body, (400, "idempotency_key_missing"));
    let (status, body) = world
        .post_with(&path, &bank, "k", json!({ "name": "" }))
        .await;
    assert_problem(status, &body, (400, "malformed_json"));
    let (status, body) = world.post_with(&path, &bank, "k", signal.clone()).await;
    assert_eq!((status, &body["id"]), (StatusCode::ACCEPTED, &json!(id)));
    let (status, _) = world.post_with(&path, &bank, "k", signal.clone()).await;
    assert_eq!(status, StatusCode::OK);
    let other = world.other_bank().await;
    let (status, body) = world.post_with(&path, &other, "k", signal).await;
    assert_problem(status, &body, (404, "workflow_unknown"));

    let tables = world.core.lock().unwrap();
    let sent = &tables.acts[0].1;
    assert_eq!(
        (
            &sent["name"],
            &sent["payload"],
            &sent["idempotencyKey"],
            &sent["actor"]
        ),
        (
            &json!("payment-received"),
            &json!({ "amount": 7 }),
            &json!("k"),
            &json!("bank")
        )
    );
}

#[tokio::test]
async fn a_client_pauses_and_resumes_but_only_an_operator_terminates_and_redrives() {
    let world = world().await;
    let bank = world.bank().await;
    let operator = world
        .token("operator", "bank", &["workflows:operate"])
        .await;
    let id = world.start(&bank, "bank", "1").await;
    let path = |act: &str| format!("/v1/workflows/{id}/{act}");
    let why = json!({ "reason": "a step is broken" });
    let (status, body) = world.post(&path("pause"), &bank, why.clone()).await;
    assert_eq!((status, &body["paused"]), (StatusCode::OK, &json!(true)));
    let (status, _) = world.post(&path("resume"), &bank, json!({})).await;
    assert_eq!(status, StatusCode::OK);
    for act in ["terminate", "redrive"] {
        let (status, body) = world.post_with(&path(act), &bank, "k", why.clone()).await;
        assert_problem(status, &body, (403, "scope_missing"));
        let (status, body) = world
            .post_with(&path(act), &operator, "k", why.clone())
            .await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
    let (status, body) = world.post(&path("redrive"), &operator, why).await;
    assert_problem(status, &body, (400, "idempotency_key_missing"));
    let long = json!({ "reason": "x".repeat(257) });
    let (status, body) = world.post(&path("pause"), &bank, long).await;
    assert_problem(status, &body, (400, "malformed_json"));

    let tables = world.core.lock().unwrap();
    let acts: Vec<_> = tables.acts.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(acts, ["pause", "resume", "terminate", "redrive"]);
    let by: Vec<_> = tables.acts.iter().map(|it| &it.1["actor"]).collect();
    assert_eq!(by, ["bank", "bank", "operator", "operator"]);
    assert_eq!(tables.acts[3].1["idempotencyKey"], "k");
}

#[tokio::test]
async fn a_restart_is_a_new_workflow_that_names_the_old_one() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let path = format!("/v1/workflows/{id}/restart");
    let (status, body) = world.post(&path, &bank, json!({})).await;
    assert_problem(status, &body, (400, "idempotency_key_missing"));
    let (status, body) = world
        .post_with(&path, &bank, "k", json!({ "version": 3 }))
        .await;
    assert_eq!(
        (status, &body["restartOf"]),
        (StatusCode::CREATED, &json!(id))
    );
    let (status, _) = world
        .post_with(&path, &bank, "k", json!({ "version": 3 }))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.core.lock().unwrap().acts[0].1["version"], 3);
}

#[tokio::test]
async fn many_are_paused_a_page_at_a_time_by_an_operator() {
    let world = world().await;
    let bank = world.bank().await;
    let operator = world
        .token("operator", "bank", &["workflows:operate"])
        .await;
    let many = |cursor: Value| {
        json!({ "definition": "known", "startedAfter": "2026-01-01T00:00:00Z", "dryRun": true,
                "limit": 3, "cursor": cursor })
    };
    let (status, body) = world
        .post("/v1/workflows/pause", &bank, many(Value::Null))
        .await;
    assert_problem(status, &body, (403, "scope_missing"));
    let (status, page) = world
        .post("/v1/workflows/pause", &operator, many(Value::Null))
        .await;
    assert_eq!(
        (status, &page["done"], &page["unchanged"]),
        (StatusCode::OK, &json!(2), &json!(1))
    );
    // A cursor is of one act and one filter.
    let (status, body) = world
        .post(
            "/v1/workflows/resume",
            &operator,
            many(page["next"].clone()),
        )
        .await;
    assert_problem(status, &body, (400, "cursor_invalid"));
    let (status, _) = world
        .post("/v1/workflows/pause", &operator, many(page["next"].clone()))
        .await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = world
        .post(
            "/v1/workflows/pause",
            &operator,
            json!({ "dryRun": false, "startedAfter": "yesterday" }),
        )
        .await;
    assert_problem(status, &body, (400, "malformed_request"));

    let tables = world.core.lock().unwrap();
    let asked: Vec<_> = tables.acts.iter().map(|it| &it.1).collect();
    assert_eq!(
        (&asked[0]["act"], &asked[0]["dryRun"]),
        (&json!("pause"), &json!(true))
    );
    assert_eq!(asked[0]["filter"]["definition"], "known");
    assert_eq!(asked[1]["filter"]["cursor"], "there");
    assert_eq!(asked[1]["actor"], "operator");
}

#[tokio::test]
async fn a_start_that_waits_has_the_result_or_says_that_there_is_none_yet() {
    let world = world().await;
    let bank = world.bank().await;
    let start = async |key: &str, prefer: &str| {
        let request = world
            .client
            .post("/v1/workflows")
            .header("authorization", format!("Bearer {bank}"))
            .header("idempotency-key", key)
            .header("prefer", prefer)
            .body_json(&json!({ "definition": "known", "input": {}, "reuse": "ifFailed", "conflict": "fail" }));
        let response = request.send().await;
        let applied = response.0.headers().get("preference-applied").cloned();
        let status = response.0.status();
        let body: Value = response.json().await.value().deserialize();
        (
            status,
            applied.map(|it| it.to_str().unwrap().to_owned()),
            body,
        )
    };
    let (status, applied, body) = start("1", "respond-async, wait=10").await;
    assert_eq!(
        (status, applied.as_deref(), body.get("result")),
        (StatusCode::ACCEPTED, Some("wait=10"), None)
    );
    world.core.lock().unwrap().ends_at_once = true;
    let (status, applied, body) = start("2", "wait=600").await;
    assert_eq!(
        (status, applied.as_deref()),
        (StatusCode::CREATED, Some("wait=25"))
    );
    assert_eq!(body["result"]["output"], json!({ "waitMs": 25_000 }));
    let (status, applied, _) = start("3", "return=minimal").await;
    assert_eq!((status, applied), (StatusCode::CREATED, None));
    let asked = world.core.lock().unwrap().asked_starts.clone();
    assert_eq!(asked[0], json!(["ifFailed", "fail", 10_000, null]));
}

#[tokio::test]
async fn a_start_names_its_request_beside_what_it_starts() {
    let world = world().await;
    let bank = world.bank().await;
    for (request_id, expected) in [("first", StatusCode::CREATED), ("second", StatusCode::OK)] {
        let request = world
            .client
            .post("/v1/workflows")
            .header("authorization", format!("Bearer {bank}"))
            .header("idempotency-key", "key")
            .body_json(&json!({
                "definition": "known", "input": {}, "conflict": "terminate", "requestId": request_id,
            }));
        // Core judges the names; the digest of what is started is the same, or this would be refused.
        assert_eq!(request.send().await.0.status(), expected);
    }
    let asked = world.core.lock().unwrap().asked_starts.clone();
    assert_eq!(asked[1], json!(["reject", "terminate", 0, "second"]));
}
