//! How workflows are found, counted, held and deleted.

use poem::http::StatusCode;
use serde_json::json;

use super::world::{assert_problem, world};

#[tokio::test]
async fn a_backend_changes_search_attributes_and_sees_them_in_the_list() {
    let world = world().await;
    let bank = world.bank().await;
    let attributes = json!({ "branch": "NORTH" });
    let new = json!({ "definition": "known", "input": {}, "searchAttributes": attributes });
    let (status, started) = world.start_with(&bank, "1", new).await;
    assert_eq!(status, StatusCode::CREATED, "{started}");
    assert_eq!(started["searchAttributes"], attributes);
    let id = started["id"].as_str().unwrap();
    let path = format!("/v1/workflows/{id}/search-attributes");
    let changes = json!({ "searchAttributes": { "amount": 5, "vip": true } });
    let (status, body) = world.call("patch", &path, Some(&bank), changes).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let all = json!({ "amount": 5, "branch": "NORTH", "vip": true });
    assert_eq!(body["searchAttributes"], all);
    let (_, page) = world.get("/v1/workflows", &bank).await;
    assert_eq!(page["workflows"][0]["searchAttributes"], all);
    assert_eq!(page["workflows"][0].get("outcomes"), None);

    let undeclared = json!({ "searchAttributes": { "undeclared": 1 } });
    let (status, body) = world.call("patch", &path, Some(&bank), undeclared).await;
    assert_problem(status, &body, (422, "search_attribute_invalid"));
    let other = world.other_bank().await;
    let nothing = json!({ "searchAttributes": {} });
    let (status, body) = world.call("patch", &path, Some(&other), nothing).await;
    assert_problem(status, &body, (404, "workflow_unknown"));
    // The applicant is not told how the bank sorts people.
    let applicant = world.applicant(&bank, id.parse().unwrap()).await;
    let (_, seen) = world.get(&format!("/v1/workflows/{id}"), &applicant).await;
    assert_eq!(seen["searchAttributes"], json!({}));
}

#[tokio::test]
async fn counts_say_whether_they_are_exact() {
    let world = world().await;
    let bank = world.bank().await;
    world.start(&bank, "bank", "1").await;
    let (status, counts) = world
        .get("/v1/workflows/counts?groupBy=status", &bank)
        .await;
    assert_eq!(status, StatusCode::OK, "{counts}");
    assert_eq!(counts, json!({ "count": 1, "isExact": true, "groups": [] }));
    let path = "/v1/workflows/counts?attribute.branch=NORTH&attribute.amount.from=5";
    assert_eq!(world.get(path, &bank).await.1["isExact"], false);
    let path = "/v1/workflows/counts?attribute.amount.about=5";
    let (status, body) = world.get(path, &bank).await;
    assert_problem(status, &body, (400, "malformed_request"));
}

#[tokio::test]
async fn an_operator_holds_and_deletes_and_a_backend_does_not() {
    let world = world().await;
    let bank = world.bank().await;
    let operator = world
        .token("operator", "bank", &["workflows:operate"])
        .await;
    let id = world.start(&bank, "bank", "1").await;
    let (path, hold) = (
        format!("/v1/workflows/{id}"),
        format!("/v1/workflows/{id}/legal-hold"),
    );
    for (method, path) in [("put", &hold), ("delete", &hold), ("delete", &path)] {
        let (status, body) = world.call(method, path, Some(&bank), json!({})).await;
        assert_problem(status, &body, (403, "scope_missing"));
    }
    let (status, body) = world.call("put", &hold, Some(&operator), json!({})).await;
    assert_eq!((status, &body["legalHold"]), (StatusCode::OK, &json!(true)));
    let (status, body) = world
        .call("delete", &path, Some(&operator), json!({}))
        .await;
    assert_problem(status, &body, (409, "legal_hold"));
    let (_, released) = world
        .call("delete", &hold, Some(&operator), json!({}))
        .await;
    assert_eq!(released["legalHold"], false);
    let request = world.client.delete(&path);
    let request = request.header("authorization", format!("Bearer {operator}"));
    request.send().await.assert_status(StatusCode::NO_CONTENT);
    let (status, body) = world.get(&path, &bank).await;
    assert_problem(status, &body, (404, "workflow_unknown"));
}
