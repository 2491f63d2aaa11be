//! Drafts, publications, retirements, the alias `live`, and what differs between versions.

use poem::http::StatusCode;
use poem::{Endpoint, Response};
use serde_json::{Value, json};

use super::definitions::onboarding;
use super::world::{World, assert_problem, world};

const ALL: [&str; 3] = [
    "definitions:read",
    "definitions:write",
    "definitions:publish",
];
const VERSIONS: &str = "/v1/definitions/bank-onboarding/versions";
const LIVE: &str = "/v1/definitions/bank-onboarding/live";

/// A second version of the onboarding.
fn other() -> Value {
    let mut other = onboarding();
    other["title"] = json!("Another title");
    other["definition"]["States"]["AskConsent"]["TimeoutSeconds"] = json!(60);
    other
}

impl<E: Endpoint<Output = Response>> World<E> {
    async fn admin(&self) -> String {
        self.token("admin", "bank", &ALL).await
    }

    /// Puts the alias and hears status, `ETag` and body.
    async fn put_live(
        &self,
        token: &str,
        version: u32,
        if_match: Option<&str>,
    ) -> (StatusCode, Option<String>, Value) {
        let mut request = self
            .client
            .put(LIVE)
            .body_json(&json!({ "version": version }));
        request = request.header("authorization", format!("Bearer {token}"));
        if let Some(etag) = if_match {
            request = request.header("if-match", etag);
        }
        let response = request.send().await;
        let status = response.0.status();
        let etag = response.0.header("etag").map(str::to_owned);
        (status, etag, response.json().await.value().deserialize())
    }
}

#[tokio::test]
async fn a_draft_is_published_by_an_act_of_its_own() {
    let world = world().await;
    let author = world.token("author", "bank", &["definitions:write"]).await;
    let admin = world.admin().await;
    let (status, draft) = world.post("/v1/definitions", &author, onboarding()).await;
    assert_eq!(status, StatusCode::CREATED, "{draft}");
    assert_eq!(
        (&draft["status"], &draft["live"]),
        (&json!("draft"), &json!(false))
    );
    assert_eq!(draft["publishedAt"], Value::Null);
    let (status, body) = world.get(LIVE, &admin).await;
    assert_problem(status, &body, (404, "definition_not_live"));

    let path = format!("{VERSIONS}/1/publication");
    let (status, body) = world.post(&path, &author, json!({})).await;
    assert_problem(status, &body, (403, "scope_missing"));
    let (status, published) = world.post(&path, &admin, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{published}");
    assert_eq!(published["status"], "published");
    assert_eq!(
        (&published["author"], &published["publisher"]),
        (&json!("author"), &json!("admin"))
    );
    assert_eq!(
        (&published["live"], published.get("envelope")),
        (&json!(true), None)
    );
    let again = world.post(&path, &admin, json!({})).await;
    assert_eq!(again, (StatusCode::OK, published));
    let (status, body) = world
        .post(&format!("{VERSIONS}/2/publication"), &admin, json!({}))
        .await;
    assert_problem(status, &body, (404, "definition_unknown"));
}

#[tokio::test]
async fn who_stores_says_whether_it_is_published() {
    let world = world().await;
    let admin = world.admin().await;
    let author = world.token("author", "bank", &["definitions:write"]).await;
    let (status, body) = world
        .post("/v1/definitions?publish=true", &author, onboarding())
        .await;
    assert_problem(status, &body, (403, "scope_missing"));
    let (_, kept) = world
        .post("/v1/definitions?publish=false", &admin, onboarding())
        .await;
    assert_eq!(kept["status"], "draft");
    let (_, published) = world
        .post("/v1/definitions?publish=true", &admin, other())
        .await;
    assert_eq!(
        (&published["version"], &published["live"]),
        (&json!(2), &json!(true))
    );

    let path = format!("{VERSIONS}/1/publication?live=false");
    let (_, quiet) = world.post(&path, &admin, json!({})).await;
    assert_eq!(
        (&quiet["status"], &quiet["live"]),
        (&json!("published"), &json!(false))
    );
}

#[tokio::test]
async fn a_second_person_publishes_where_the_tenant_asks_for_one() {
    let world = world().await;
    world.core.lock().unwrap().second_person = true;
    let admin = world.admin().await;
    let (status, body) = world
        .post("/v1/definitions?publish=true", &admin, onboarding())
        .await;
    assert_problem(status, &body, (403, "second_person_required"));
    let (_, draft) = world.post("/v1/definitions", &admin, onboarding()).await;
    assert_eq!(draft["status"], "draft");
    let path = format!("{VERSIONS}/1/publication");
    let (status, body) = world.post(&path, &admin, json!({})).await;
    assert_problem(status, &body, (403, "second_person_required"));
    let second = world
        .token("second", "bank", &["definitions:publish"])
        .await;
    let (status, published) = world.post(&path, &second, json!({})).await;
    assert_eq!(
        (status, &published["publisher"]),
        (StatusCode::OK, &json!("second"))
    );
}

#[tokio::test]
async fn a_publication_passes_the_gates_of_today() {
    let world = world().await;
    let admin = world.admin().await;
    world
        .post("/v1/definitions?publish=false", &admin, onboarding())
        .await;
    let path = format!("{VERSIONS}/1/publication");
    let change = |change: &dyn Fn(&mut Value)| {
        let mut core = world.core.lock().unwrap();
        change(core.definitions[0].1.envelope.as_mut().unwrap());
    };
    // As if it had been stored before the steps' contracts changed: first so that it still
    // passes, then so that it does not.
    let hash = "/contracts/kyc:otp@1/hash";
    change(&|it| *it.pointer_mut(hash).unwrap() = json!("of an older contract"));
    let digest = super::super::canonical::digest(&[world.core.lock().unwrap().definitions[0]
        .1
        .envelope
        .as_ref()
        .unwrap()]);
    world.core.lock().unwrap().definitions[0].1.digest = digest;
    let (status, body) = world.post(&path, &admin, json!({})).await;
    assert_problem(status, &body, (409, "contracts_changed"));

    change(&|it| it["definition"]["States"]["AskConsent"]["Resource"] = json!("kyc:gone@1"));
    let (status, body) = world.post(&path, &admin, json!({})).await;
    assert_problem(status, &body, (422, "definition_refused"));
    assert_eq!(body["errors"][0]["code"], "step_unknown", "{body}");
}

#[tokio::test]
async fn the_alias_moves_forward_and_back_for_who_has_seen_it() {
    let world = world().await;
    let admin = world.admin().await;
    world.post("/v1/definitions", &admin, onboarding()).await;
    world.post("/v1/definitions", &admin, other()).await;
    let response = world.client.get(LIVE);
    let response = response
        .header("authorization", format!("Bearer {admin}"))
        .send()
        .await;
    response.assert_header("etag", "\"2\"");

    let (status, _, body) = world.put_live(&admin, 1, Some("\"1\"")).await;
    assert_problem(status, &body, (412, "live_moved"));
    let (status, etag, live) = world.put_live(&admin, 1, Some("\"2\"")).await;
    assert_eq!(
        (status, etag.as_deref()),
        (StatusCode::OK, Some("\"3\"")),
        "{live}"
    );
    assert_eq!(
        (&live["version"], &live["movedBy"]),
        (&json!(1), &json!("admin"))
    );
    let (status, _, body) = world.put_live(&admin, 2, Some("W/3")).await;
    assert_problem(status, &body, (400, "malformed_request"));
    let (status, _, _) = world.put_live(&admin, 2, Some("*")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _, body) = world.put_live(&admin, 9, None).await;
    assert_problem(status, &body, (404, "definition_unknown"));
    let mut third = other();
    third["title"] = json!("A third title");
    world
        .post("/v1/definitions?publish=false", &admin, third)
        .await;
    let (status, _, body) = world.put_live(&admin, 3, None).await;
    assert_problem(status, &body, (409, "version_not_published"));

    let (_, whole) = world.get("/v1/definitions/bank-onboarding", &admin).await;
    assert_eq!(
        (&whole["version"], &whole["live"]),
        (&json!(2), &json!(true))
    );
    let numbers = |list: &str| -> Vec<u64> {
        let list = whole[list].as_array().unwrap();
        list.iter()
            .map(|it| it["version"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers("versions"), [3, 2, 1]);
    assert_eq!(numbers("moves"), [2, 1, 2, 1]);
    assert_eq!(whole["versions"][0]["status"], "draft");
    assert_eq!(whole["versions"][2]["publisher"], "admin");
    assert_eq!(whole["versions"][2].get("envelope"), None);
}

#[tokio::test]
async fn a_version_that_is_not_live_is_retired() {
    let world = world().await;
    let admin = world.admin().await;
    world.post("/v1/definitions", &admin, onboarding()).await;
    let path = format!("{VERSIONS}/1/retirement");
    let (status, body) = world.post(&path, &admin, json!({})).await;
    assert_problem(status, &body, (409, "version_live"));
    world.post("/v1/definitions", &admin, other()).await;
    let (status, retired) = world.post(&path, &admin, json!({})).await;
    assert_eq!(
        (status, &retired["status"]),
        (StatusCode::OK, &json!("retired"))
    );
    assert_eq!(retired["retiredBy"], "admin");
    let publication = format!("{VERSIONS}/1/publication");
    let (status, body) = world.post(&publication, &admin, json!({})).await;
    assert_problem(status, &body, (409, "version_retired"));
    let reader = world.token("reader", "bank", &["definitions:read"]).await;
    let (status, body) = world.post(&path, &reader, json!({})).await;
    assert_problem(status, &body, (403, "scope_missing"));
}

#[tokio::test]
async fn two_versions_are_compared_by_their_states() {
    let world = world().await;
    let admin = world.admin().await;
    world.post("/v1/definitions", &admin, onboarding()).await;
    world.post("/v1/definitions", &admin, other()).await;
    let (status, body) = world.get(&format!("{VERSIONS}/1/diff/2"), &admin).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!((&body["from"], &body["to"]), (&json!(1), &json!(2)));
    let expected = json!([
        {
            "op": "setting_changed", "pointer": "/title",
            "before": onboarding()["title"], "after": "Another title",
        },
        {
            "op": "state_changed", "pointer": "/definition/States/AskConsent/TimeoutSeconds",
            "before": 604_800, "after": 60,
        },
    ]);
    assert_eq!(body["differences"], expected);
    let (_, same) = world.get(&format!("{VERSIONS}/2/diff/2"), &admin).await;
    assert_eq!(same["differences"], json!([]));
    let (status, body) = world.get(&format!("{VERSIONS}/1/diff/3"), &admin).await;
    assert_problem(status, &body, (404, "definition_unknown"));
}

#[tokio::test]
async fn running_workflows_are_moved_page_by_page() {
    let world = world().await;
    let admin = world.admin().await;
    world.post("/v1/definitions", &admin, onboarding()).await;
    world
        .post("/v1/definitions?publish=false", &admin, other())
        .await;
    let path = "/v1/definitions/bank-onboarding/migrations";
    let way = |to: u32| json!({ "from": 1, "to": to, "dryRun": true });
    let (status, body) = world.post(path, &admin, way(2)).await;
    assert_problem(status, &body, (409, "version_not_published"));
    let (status, body) = world.post(path, &admin, way(3)).await;
    assert_problem(status, &body, (404, "definition_unknown"));
    let author = world.token("author", "bank", &["definitions:write"]).await;
    let (status, body) = world.post(path, &author, way(1)).await;
    assert_problem(status, &body, (403, "scope_missing"));

    world
        .post(&format!("{VERSIONS}/2/publication"), &admin, json!({}))
        .await;
    let (status, first) = world.post(path, &admin, way(2)).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    assert_eq!((&first["move"], &first["cannot"]), (&json!(1), &json!(1)));
    let reason = &first["reasons"][0];
    assert_eq!(
        (&reason["code"], &reason["message"], &reason["count"]),
        (
            &json!("migration_inside"),
            &json!("dry run: true"),
            &json!(1)
        )
    );
    assert_eq!(reason["examples"].as_array().unwrap().len(), 1);
    let mut rest = way(2);
    rest["cursor"] = first["next"].clone();
    let (_, second) = world.post(path, &admin, rest.clone()).await;
    assert_eq!(second["next"], Value::Null);
    // The cursor belongs to the version that is left.
    rest["from"] = json!(2);
    let (status, body) = world.post(path, &admin, rest).await;
    assert_problem(status, &body, (400, "cursor_invalid"));
    let (status, body) = world
        .post(path, &admin, json!({ "from": 1, "to": 2 }))
        .await;
    assert_problem(status, &body, (400, "malformed_json"));
}
