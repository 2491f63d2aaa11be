//! Schedules over the gateway: what reaches core, and how its answers look.

use poem::http::StatusCode;
use serde_json::{Value, json};

use super::world::{assert_problem, world};

fn nightly() -> Value {
    json!({
        "name": "nightly", "definition": "flow", "input": { "n": 1 },
        "cron": "0 3 * * *", "timeZone": "Asia/Jerusalem", "overlap": "cancel",
    })
}

#[tokio::test]
async fn a_schedule_is_created_shown_listed_and_deleted() {
    let world = world().await;
    let bank = world.scheduler().await;
    let request = world.client.post("/v1/schedules").body_json(&nightly());
    let request = request.header("authorization", format!("Bearer {bank}"));
    let response = request.send().await;
    response.assert_status(StatusCode::CREATED);
    response.assert_header("location", "/v1/schedules/nightly");
    response.assert_header("etag", "\"a-1\"");
    let created: Value = response.json().await.value().deserialize();
    assert_eq!(
        (
            &created["overlap"],
            &created["catchUp"],
            &created["jitterSeconds"]
        ),
        (&json!("cancel"), &json!("last"), &json!(0))
    );
    let (status, shown) = world.get("/v1/schedules/nightly", &bank).await;
    assert_eq!((status, &shown), (StatusCode::OK, &created));
    let (_, listed) = world.get("/v1/schedules?after=m&limit=5", &bank).await;
    assert_eq!(listed, json!({ "schedules": [created], "next": "m" }));
    let other = world.other_bank().await;
    let (status, body) = world.get("/v1/schedules/nightly", &other).await;
    assert_problem(status, &body, (404, "schedule_unknown"));

    let (status, body) = world.post("/v1/schedules", &bank, nightly()).await;
    assert_problem(status, &body, (409, "schedule_exists"));
    let request = world.client.delete("/v1/schedules/nightly");
    let request = request.header("authorization", format!("Bearer {bank}"));
    request.send().await.assert_status(StatusCode::NO_CONTENT);
    let (status, body) = world.get("/v1/schedules/nightly", &bank).await;
    assert_problem(status, &body, (404, "schedule_unknown"));
}

#[tokio::test]
async fn a_schedule_changes_only_as_the_caller_has_seen_it() {
    let world = world().await;
    let bank = world.scheduler().await;
    world.post("/v1/schedules", &bank, nightly()).await;
    let mut spec = nightly();
    spec.as_object_mut().unwrap().remove("name");
    spec["cron"] = json!("0 4 * * *");
    for (seen, expected) in [
        ("\"a-9\"", StatusCode::PRECONDITION_FAILED),
        ("a-1", StatusCode::BAD_REQUEST),
        ("\"a-1\"", StatusCode::OK),
        ("*", StatusCode::OK),
    ] {
        let request = world.client.put("/v1/schedules/nightly").body_json(&spec);
        let request = request
            .header("authorization", format!("Bearer {bank}"))
            .header("if-match", seen);
        request.send().await.assert_status(expected);
    }
    let (status, paused) = world
        .post("/v1/schedules/nightly/pause", &bank, json!({}))
        .await;
    assert_eq!((status, &paused["paused"]), (StatusCode::OK, &json!(true)));
    assert_eq!(paused["cron"], "0 4 * * *");
    let (_, resumed) = world
        .post("/v1/schedules/nightly/resume", &bank, json!({}))
        .await;
    assert_eq!(resumed["paused"], json!(false));
}

#[tokio::test]
async fn a_trigger_needs_a_key_and_shows_what_it_has_started() {
    let world = world().await;
    let bank = world.scheduler().await;
    world.post("/v1/schedules", &bank, nightly()).await;
    let path = "/v1/schedules/nightly/trigger";
    let (status, body) = world.post(path, &bank, json!({})).await;
    assert_problem(status, &body, (400, "malformed_request"));
    let trigger = async || {
        let request = world.client.post(path).header("idempotency-key", "key");
        let request = request.header("authorization", format!("Bearer {bank}"));
        request.send().await
    };
    trigger().await.assert_status(StatusCode::CONFLICT);
    let starter = world.bank().await;
    let id = world.start(&starter, "bank", "1").await;
    let response = trigger().await;
    response.assert_status_is_ok();
    response.assert_header("location", format!("/v1/workflows/{id}"));
}

#[tokio::test]
async fn what_is_no_schedule_is_refused() {
    let world = world().await;
    let bank = world.scheduler().await;
    let mut unread = nightly();
    unread["timezone"] = json!("UTC");
    let (status, body) = world.post("/v1/schedules", &bank, unread).await;
    assert_problem(status, &body, (400, "malformed_json"));
    let mut jittery = nightly();
    jittery["jitterSeconds"] = json!(3_601);
    let (status, body) = world.post("/v1/schedules", &bank, jittery).await;
    assert_problem(status, &body, (400, "malformed_json"));
    let mut odd = nightly();
    odd["cron"] = json!("x x x x x");
    let (status, body) = world.post("/v1/schedules", &bank, odd).await;
    assert_problem(status, &body, (422, "cron_invalid"));
}
