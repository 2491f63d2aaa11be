//! The analytics stream, from the engine to the public API.

use std::time::Duration;

use btrust_tests::{Client, World};
use serde_json::{Value, json};

use crate::samples::form_definition;

/// How long the numbers may take to arrive.
///
/// Source: the relay gathers for 100 ms and the consumer looks five times a second; tests share the machine.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The one funnel of a definition once so many workflows of it have ended.
async fn funnel(client: &Client, n_closed: i64) -> Value {
    let path = "/v1/analytics/funnels?definition=nickname";
    let counted = async {
        loop {
            let view = client.get(path).await.ok();
            let funnel = view["funnels"][0].clone();
            if funnel["closed"]["succeeded"] == n_closed {
                return funnel;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(COUNTED_WITHIN, counted)
        .await
        .expect("the workflows are counted")
}

async fn answer(bank: &Client, id: &str) {
    let applicant = bank.applicant(id).await;
    let prompt = applicant.prompt(id).await;
    let nickname = json!({"values": {"nickname": "Ada"}});
    applicant.submit(&prompt, nickname).await.ok();
    bank.get(&format!("/v1/workflows/{id}/result?wait=25"))
        .await
        .ok();
}

#[tokio::test]
async fn a_tenant_sees_how_its_workflows_get_along_and_no_other_tenants() {
    let mut world = World::start();
    let definition = form_definition("nickname");
    let admin = world.client("admin").await;
    admin.post("/v1/definitions", definition).await.ok();
    let bank = world.client("bank").await;
    let mut ids = Vec::new();
    for key in ["one", "two", "three"] {
        let started = bank.start(key, "nickname", json!({})).await.ok();
        ids.push(started["id"].as_str().expect("an id").to_owned());
    }
    answer(&bank, &ids[0]).await;
    answer(&bank, &ids[1]).await;

    let before = funnel(&bank, 2).await;
    assert_eq!(before["started"], 3, "{before}");
    assert_eq!(before["version"], 1);
    assert_eq!(before["decisions"], json!({"approved": 2}));
    assert_eq!(before["autoDecisionRate"], 1.0);
    let step = &before["steps"][0];
    assert_eq!(step["state"], "Ask", "{before}");
    assert_eq!(step["entered"], 3);
    assert_eq!(step["finished"], json!({"submitted": 2}));
    assert_eq!(step["inProgress"], 1);
    assert_eq!(step["durations"]["count"], 2);

    // What is published again after a crash is known.
    world.kill_and_restart();
    let bank = world.client("bank").await;
    answer(&bank, &ids[2]).await;
    let after = funnel(&bank, 3).await;
    assert_eq!(after["started"], 3, "{after}");
    assert_eq!(after["steps"][0]["entered"], 3, "{after}");

    let other = world.client("otherTenant").await;
    let theirs = other.get("/v1/analytics/funnels").await.ok();
    assert_eq!(theirs["funnels"], json!([]));
    let reviewer = world.client("reviewer").await;
    let refused = reviewer.get("/v1/analytics/funnels").await;
    refused.assert_problem(403, "scope_missing");
    let wrong = bank.get("/v1/analytics/funnels?groupBy=colour").await;
    wrong.assert_problem(400, "funnel_query_invalid");
}
