use poem::http::StatusCode;
use serde_json::{Value, json};

use super::world::{assert_problem, world};

fn new() -> Value {
    json!({ "definition": "known", "input": { "a": 1, "b": 2 } })
}

#[tokio::test]
async fn a_key_starts_one_workflow() {
    let world = world().await;
    let bank = world.bank().await;
    let (status, first) = world.start_with(&bank, "k1", new()).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    // The same content in another order is the same request.
    let same = json!({ "input": { "b": 2, "a": 1 }, "definition": "known" });
    let (status, again) = world.start_with(&bank, "k1", same).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &first["id"]));

    let other = json!({ "definition": "known", "input": { "a": 3 } });
    let (status, body) = world.start_with(&bank, "k1", other.clone()).await;
    assert_problem(status, &body, (409, "idempotency_key_reused"));
    let (status, second) = world.start_with(&bank, "k2", other).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(first["id"], second["id"]);
    // Keys belong to a tenant.
    let (status, theirs) = world
        .start_with(&world.other_bank().await, "k1", new())
        .await;
    assert_eq!(status, StatusCode::CREATED, "{theirs}");
}

#[tokio::test]
async fn a_start_that_cannot_be_is_refused() {
    let world = world().await;
    let bank = world.bank().await;
    let (status, body) = world.post("/v1/workflows", &bank, new()).await;
    assert_problem(status, &body, (400, "idempotency_key_missing"));
    let unknown = json!({ "definition": "unknown", "input": {} });
    let (status, body) = world.start_with(&bank, "k", unknown).await;
    assert_problem(status, &body, (404, "definition_unknown"));
    let input = json!({ "definition": "known", "input": "text" });
    let (status, body) = world.start_with(&bank, "k", input).await;
    assert_problem(status, &body, (422, "input_invalid"));
    assert_eq!(body["errors"][0]["message"], "not an object");
    let field = json!({ "definition": "known", "input": {}, "surprise": 1 });
    let (status, body) = world.start_with(&bank, "k", field).await;
    assert_problem(status, &body, (400, "malformed_json"));
}

#[tokio::test]
async fn a_workflow_is_seen_by_its_tenant_and_its_applicant_and_nobody_else() {
    let world = world().await;
    let (bank, other_bank) = (world.bank().await, world.other_bank().await);
    let id = world.start(&bank, "bank", "1").await;
    let other_id = world.start(&bank, "bank", "2").await;
    let applicant = world.applicant(&bank, id).await;
    // Auth knows no workflows: any bank can have a token for any id.
    let intruder = world.applicant(&other_bank, id).await;

    for path in ["", "/prompts"] {
        let path = format!("/v1/workflows/{id}{path}");
        for token in [&bank, &applicant] {
            assert_eq!(world.get(&path, token).await.0, StatusCode::OK, "{path}");
        }
        for token in [&other_bank, &intruder] {
            let (status, body) = world.get(&path, token).await;
            assert_problem(status, &body, (404, "workflow_unknown"));
        }
    }
    for path in ["result", "history"] {
        let path = format!("/v1/workflows/{id}/{path}");
        assert_eq!(world.get(&path, &bank).await.0, StatusCode::OK, "{path}");
        let (status, body) = world.get(&path, &other_bank).await;
        assert_problem(status, &body, (404, "workflow_unknown"));
        let (status, body) = world.get(&path, &applicant).await;
        assert_problem(status, &body, (403, "scope_missing"));
    }
    for id in [
        other_id.to_string(),
        "wf_00".to_owned(),
        "nonsense".to_owned(),
    ] {
        let (status, body) = world.get(&format!("/v1/workflows/{id}"), &applicant).await;
        assert_problem(status, &body, (404, "workflow_unknown"));
    }
}

#[tokio::test]
async fn an_applicant_does_not_learn_what_the_checks_said() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicant = world.applicant(&bank, id).await;
    let path = format!("/v1/workflows/{id}");
    assert_eq!(
        world.get(&path, &bank).await.1["outcomes"]["VerifyPhone"],
        "verified"
    );
    let (_, seen) = world.get(&path, &applicant).await;
    assert_eq!(seen["outcomes"], json!({}));
    assert_eq!(seen["waitingFor"], "applicant");
    assert_eq!(seen["status"], "running");
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_a_cursor_is_good_for_its_own_list() {
    let world = world().await;
    let (bank, other_bank) = (world.bank().await, world.other_bank().await);
    for key in ["1", "2", "3"] {
        world.start(&bank, "bank", key).await;
    }
    world.start(&other_bank, "other-bank", "1").await;

    let mut ids = Vec::new();
    let mut path = "/v1/workflows?status=running&limit=2".to_owned();
    let (_, first) = world.get(&path, &bank).await;
    let cursor = first["next"].as_str().unwrap().to_owned();
    path = format!("{path}&cursor={cursor}");
    let (_, second) = world.get(&path, &bank).await;
    for page in [&first, &second] {
        ids.extend(
            page["workflows"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["id"].clone()),
        );
    }
    assert_eq!(ids.len(), 3);
    assert_eq!(second["next"], Value::Null);

    for path in [
        format!("/v1/workflows?status=failed&limit=2&cursor={cursor}"),
        format!("/v1/workflows?limit=2&cursor={cursor}"),
        "/v1/workflows?cursor=2".to_owned(),
    ] {
        let (status, body) = world.get(&path, &bank).await;
        assert_problem(status, &body, (400, "cursor_invalid"));
    }
    let (status, body) = world.get(&path, &other_bank).await;
    assert_problem(status, &body, (400, "cursor_invalid"));
    for filter in ["status=sleeping", "startedAfter=yesterday", "limit=201"] {
        let (status, body) = world.get(&format!("/v1/workflows?{filter}"), &bank).await;
        assert_problem(status, &body, (400, "malformed_request"));
    }
}

#[tokio::test]
async fn a_workflow_is_cancelled_once() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let path = format!("/v1/workflows/{id}/cancel");
    let (status, body) = world
        .post(&path, &world.other_bank().await, json!({}))
        .await;
    assert_problem(status, &body, (404, "workflow_unknown"));
    let (status, body) = world
        .post(&path, &bank, json!({ "reason": "asked to" }))
        .await;
    assert_eq!(
        (status, &body["status"]),
        (StatusCode::OK, &json!("cancelled"))
    );
    let (status, body) = world.post(&path, &bank, json!({})).await;
    assert_problem(status, &body, (409, "workflow_closed"));
}

#[tokio::test]
async fn a_result_is_waited_for_at_core_and_not_for_ever() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let (_, result) = world
        .get(&format!("/v1/workflows/{id}/result?wait=25"), &bank)
        .await;
    assert_eq!(result["output"]["waitMs"], "25000");
    let (status, body) = world
        .get(&format!("/v1/workflows/{id}/result?wait=26"), &bank)
        .await;
    assert_problem(status, &body, (400, "malformed_request"));
}
