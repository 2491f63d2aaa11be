//! The gateway over its real router and stores, with a real auth service and a
//! core of a few lines on loopback.

mod acts;
mod core;
mod core_definitions;
mod core_operations;
mod core_operators;
mod core_schedules;
mod definitions;
mod keeping;
mod lifecycle;
mod objects;
mod operations;
mod operators;
mod people;
mod schedules;
mod tasks;
mod workflows;
mod world;

use poem::http::StatusCode;
use serde_json::{Value, json};

use self::world::{assert_problem, world};
use super::openapi_json;
use crate::openapi::assert_committed;

#[test]
fn the_committed_openapi_document_is_current() {
    assert_committed(&openapi_json(), "schemas/openapi.json");
}

#[tokio::test]
async fn every_operation_refuses_who_may_not_call_it() {
    let world = world().await;
    let stranger = world.token("stranger", "bank", &["queue:otp"]).await;
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let mut n_operations = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            n_operations += 1;
            assert!(
                !operation["security"].as_array().unwrap().is_empty(),
                "{method} {path}"
            );
            let path = path.replace("{id}", "wf_00");
            let path = ["{version}", "{from}", "{to}"]
                .into_iter()
                .fold(path, |path, it| path.replace(it, "1"));
            let (status, body) = world.call(method, &path, None, json!({})).await;
            assert_problem(status, &body, (401, "unauthenticated"));
            let (status, body) = world.call(method, &path, Some(&stranger), json!({})).await;
            assert_problem(status, &body, (403, "scope_missing"));
        }
    }
    assert_eq!(n_operations, 67);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_and_so_is_a_path_that_is_not_there() {
    let world = world().await;
    let bank = world.bank().await;
    let request = world
        .client
        .post("/v1/workflows")
        .header("idempotency-key", "1");
    let request = request.header("authorization", format!("Bearer {bank}"));
    let response = request
        .content_type("application/json")
        .body("{ not json")
        .send()
        .await;
    response.assert_header("content-type", "application/problem+json");
    let status = response.0.status();
    let body: Value = response.json().await.value().deserialize();
    assert_problem(status, &body, (400, "malformed_json"));

    let large = json!({ "definition": "x".repeat(2 * 1024 * 1024) });
    let (status, body) = world.start_with(&bank, "1", large).await;
    assert_problem(status, &body, (413, "body_too_large"));
    let (status, body) = world.get("/v1/nothing", &bank).await;
    assert_problem(status, &body, (404, "not_found"));
    let (status, body) = world.get("/v1/workflows?limit=0", &bank).await;
    assert_problem(status, &body, (400, "malformed_request"));
}

#[tokio::test]
async fn a_core_that_does_not_answer_is_said_so_and_leaves_the_gateway_ready() {
    let mut world = world().await;
    let bank = world.bank().await;
    world.stop_core().await;
    let (status, body) = world.get("/v1/workflows", &bank).await;
    assert_problem(status, &body, (503, "core_unavailable"));

    let ready = world.client.get("/actuator/health/readiness").send().await;
    ready.assert_status_is_ok();
    let health = world.client.get("/actuator/health").send().await;
    health.assert_status(StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = health.json().await.value().deserialize();
    assert_eq!(body["components"]["core"]["status"], "DOWN");
    assert_eq!(body["components"]["db"]["status"], "UP");
}
