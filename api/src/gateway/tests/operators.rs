//! What operators see and say: incidents, and the limits of the platform.

use poem::http::StatusCode;
use serde_json::json;

use btrust_platform::clock::rfc3339;
use btrust_schemas::{
    ids::{IncidentId, TaskId, WorkflowId},
    incidents::IncidentView,
};

use super::world::{assert_problem, world};

fn incident() -> IncidentView {
    let workflow = WorkflowId::new(1, [1; 15]);
    let task = TaskId {
        workflow,
        number: 3,
    };
    IncidentView {
        id: IncidentId {
            workflow,
            number: 3,
        },
        workflow,
        definition: "known".to_owned(),
        version: 1,
        code: "turn_poisoned".to_owned(),
        task: Some(task),
        state: Some("Look".to_owned()),
        step: Some("ocr".to_owned()),
        attempt: Some(1),
        turn: Some(1),
        raised_at: rfc3339(0),
        resolution: None,
    }
}

#[tokio::test]
async fn an_operator_finds_an_incident_and_says_once_how_to_go_on() {
    let world = world().await;
    let operator = world
        .token("operator", "bank", &["workflows:operate"])
        .await;
    let other = world
        .token("others", "other-bank", &["workflows:operate"])
        .await;
    let id = incident().id;
    let all = vec![("bank".to_owned(), incident())];
    world.core.lock().unwrap().incidents = all;
    let (status, body) = world
        .get("/v1/incidents?code=turn_poisoned", &operator)
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["incidents"][0]["step"], "ocr");
    let (_, body) = world.get("/v1/incidents?code=other", &operator).await;
    assert_eq!(body["incidents"], json!([]));

    let path = format!("/v1/incidents/{id}");
    for (path, token) in [(&*path, &other), ("/v1/incidents/wf_00", &operator)] {
        let (status, body) = world.get(path, token).await;
        assert_problem(status, &body, (404, "incident_unknown"));
    }
    let resolution = json!({ "action": "retry", "note": "the model was broken" });
    let path = format!("{path}/resolution");
    let (status, body) = world.post(&path, &operator, resolution.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["resolution"]["by"], "operator");
    let (status, body) = world.post(&path, &operator, resolution).await;
    assert_problem(status, &body, (409, "incident_closed"));
    let unknown = json!({ "action": "ignore" });
    let (status, body) = world.post(&path, &operator, unknown).await;
    assert_problem(status, &body, (400, "malformed_json"));
    let (_, body) = world.get("/v1/incidents?resolved=true", &operator).await;
    assert_eq!(body["incidents"][0]["resolution"]["action"], "retry");
}

#[tokio::test]
async fn the_limits_of_the_platform_are_not_a_tenants_to_change() {
    let world = world().await;
    let platform = world.token("platform", "bank", &["platform:operate"]).await;
    let operator = world
        .token("operator", "bank", &["workflows:operate"])
        .await;
    let limits = json!({ "steps": { "ocr": { "perSecond": 5 } } });
    let (status, body) = world
        .call("PUT", "/v1/task-limits", Some(&operator), limits.clone())
        .await;
    assert_problem(status, &body, (403, "scope_missing"));
    let (status, body) = world
        .call("PUT", "/v1/task-limits", Some(&platform), limits.clone())
        .await;
    assert_eq!((status, &body["revision"]), (StatusCode::OK, &json!(1)));
    let (_, body) = world.get("/v1/task-limits", &platform).await;
    assert_eq!(body["limits"], limits);
    let wrong = json!({ "steps": { "ocr": { "perSeconds": 5 } } });
    let (status, body) = world
        .call("PUT", "/v1/task-limits", Some(&platform), wrong)
        .await;
    assert_problem(status, &body, (400, "task_limits_invalid"));
}

#[tokio::test]
async fn a_busy_core_is_passed_on_with_the_time_to_come_back() {
    let world = world().await;
    let bank = world.bank().await;
    for (status, code) in [(429, "too_many_requests"), (503, "overloaded")] {
        world.core.lock().unwrap().busy = Some((status, code, 17));
        let request = world
            .client
            .post("/v1/workflows")
            .header("idempotency-key", "1")
            .header("authorization", format!("Bearer {bank}"));
        let body = json!({ "definition": "known", "input": {} });
        let response = request.body_json(&body).send().await;
        response.assert_status(StatusCode::from_u16(status).unwrap());
        response.assert_header("retry-after", "17");
        let body: serde_json::Value = response.json().await.value().deserialize();
        assert_eq!(body["code"], code);
    }
}
