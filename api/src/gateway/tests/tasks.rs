//! Tokens of tasks that come back.

use poem::http::StatusCode;
use serde_json::{Value, json};

use super::world::{assert_problem, world};

const TOKEN: &str = "tkn_0101010101010101010101010101010100000001aabbccddeeff00112233445566778899";

fn path(how: &str) -> String {
    format!("/v1/task-tokens/{TOKEN}/{how}")
}

#[tokio::test]
async fn a_token_is_kept_alive_and_comes_back_once() {
    let world = world().await;
    let bank = world.token("tasks", "bank", &["tasks:write"]).await;
    let other = world.token("others", "other-bank", &["tasks:write"]).await;
    let waits = ("bank".to_owned(), TOKEN.to_owned());
    world.core.lock().unwrap().token = Some(waits.clone());
    let result = json!({ "result": { "outcome": "verified", "output": {} } });
    let (status, body) = world.post(&path("success"), &other, result.clone()).await;
    assert_problem(status, &body, (404, "token_unknown"));

    for how in ["heartbeat", "heartbeat", "success"] {
        let request = world.client.post(path(how)).body_json(&result);
        let request = request.header("authorization", format!("Bearer {bank}"));
        request.send().await.assert_status(StatusCode::NO_CONTENT);
    }
    for how in ["success", "heartbeat"] {
        let (status, body) = world.post(&path(how), &bank, result.clone()).await;
        assert_problem(status, &body, (404, "token_unknown"));
    }
    world.core.lock().unwrap().token = Some(waits);
    let failure = json!({ "error": "Bank.Declined" });
    let request = world.client.post(path("failure")).body_json(&failure);
    let request = request.header("authorization", format!("Bearer {bank}"));
    request.send().await.assert_status(StatusCode::NO_CONTENT);

    let tables = world.core.lock().unwrap();
    let hows: Vec<_> = tables.sent_back.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(hows, ["heartbeat", "heartbeat", "success", "failure"]);
    let (success, failure) = (&tables.sent_back[2].1, &tables.sent_back[3].1);
    assert_eq!(success["result"]["outcome"], "verified");
    assert_eq!(success["actor"], "tasks");
    assert_eq!(
        (&failure["error"], &failure["cause"]),
        (&json!("Bank.Declined"), &json!(""))
    );
}

#[tokio::test]
async fn what_is_no_token_is_not_there_and_what_is_no_result_is_refused() {
    let world = world().await;
    let bank = world.token("tasks", "bank", &["tasks:write"]).await;
    let result = json!({ "result": { "outcome": "verified" } });
    for token in ["tkn_1", &TOKEN.to_ascii_uppercase(), &TOKEN[..75]] {
        let path = format!("/v1/task-tokens/{token}/success");
        let (status, body) = world.post(&path, &bank, result.clone()).await;
        assert_problem(status, &body, (404, "token_unknown"));
    }
    for (how, body) in [
        ("success", json!({})),
        ("success", json!({ "result": { "output": {} } })),
        ("failure", json!({})),
        ("failure", json!({ "error": "" })),
        ("failure", json!({ "error": "x".repeat(257) })),
    ] {
        let (status, body) = world.post(&path(how), &bank, body).await;
        assert_problem(status, &body, (400, "malformed_json"));
    }
    // Who starts workflows does not send tokens back by that alone.
    let starter = world.token("starter", "bank", &["workflows:write"]).await;
    let (status, body) = world.post(&path("heartbeat"), &starter, Value::Null).await;
    assert_problem(status, &body, (403, "scope_missing"));
}
