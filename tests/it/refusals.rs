//! Bad input at the public API: a problem body with a stable code, and nothing lost.

use btrust_tests::{Client, World};
use serde_json::json;

use crate::samples::{PNG_PIXEL, form_definition, png_header, unsafe_definition};

/// A platform with the form definition, a bank's backend and a started workflow.
async fn begin() -> (World, Client, String) {
    let world = World::start();
    world
        .client("admin")
        .await
        .post("/v1/definitions", form_definition("nickname"))
        .await
        .ok();
    let bank = world.client("bank").await;
    let started = bank.start("first", "nickname", json!({})).await.ok();
    let id = started["id"].as_str().expect("an id").to_owned();
    (world, bank, id)
}

/// Answers the open form and waits for the decision: what came before has lost nothing.
async fn finish(bank: &Client, id: &str) {
    let applicant = bank.applicant(id).await;
    let prompt = applicant.prompt(id).await;
    applicant
        .submit(&prompt, json!({"values": {"nickname": "Ada"}}))
        .await
        .ok();
    let result = bank
        .get(&format!("/v1/workflows/{id}/result?wait=25"))
        .await
        .ok();
    assert_eq!(result["decision"], "approved", "{result}");
}

#[tokio::test]
async fn a_definition_that_is_wrong_or_unsafe_is_not_published() {
    let world = World::start();
    let admin = world.client("admin").await;

    admin
        .post_bytes(
            "/v1/definitions",
            "application/json",
            b"{\"name\":".to_vec(),
        )
        .await
        .assert_problem(400, "malformed_json");

    let refused = admin
        .post("/v1/definitions", unsafe_definition("unsafe"))
        .await;
    refused.assert_problem(422, "definition_refused");
    let errors = refused.body["errors"].as_array().expect("findings");
    assert!(errors.iter().any(|it| it["gate"] == "proof"), "{errors:?}");

    let mut dangling = form_definition("dangling");
    dangling["definition"]["States"]["Ask"]["Next"] = json!("Nowhere");
    let refused = admin.post("/v1/definitions", dangling).await;
    refused.assert_problem(422, "definition_refused");
    assert_eq!(
        refused.body["errors"][0]["pointer"], "/definition/States/Ask/Next",
        "{}",
        refused.body
    );

    world
        .client("bank")
        .await
        .post("/v1/definitions", form_definition("x"))
        .await
        .assert_problem(403, "scope_missing");
    let published = admin
        .post("/v1/definitions", form_definition("nickname"))
        .await;
    assert_eq!(
        (published.status, &published.body["version"]),
        (201, &json!(1))
    );
    let again = admin
        .post("/v1/definitions", form_definition("nickname"))
        .await;
    assert_eq!((again.status, &again.body["version"]), (200, &json!(1)));
}

#[tokio::test]
async fn a_start_is_refused_for_a_reason_and_repeated_without_a_second_workflow() {
    let (world, bank, id) = begin().await;

    bank.start("k1", "no-such-definition", json!({}))
        .await
        .assert_problem(404, "definition_unknown");
    bank.start("k2", "nickname", json!({"surplus": 1}))
        .await
        .assert_problem(422, "input_invalid");
    bank.post(
        "/v1/workflows",
        json!({"definition": "nickname", "input": {}}),
    )
    .await
    .assert_problem(400, "idempotency_key_missing");
    bank.start("first", "nickname", json!({"title": "other"}))
        .await
        .assert_problem(409, "idempotency_key_reused");
    world
        .client("reviewer")
        .await
        .start("k3", "nickname", json!({}))
        .await
        .assert_problem(403, "scope_missing");
    bank.with_token("nonsense")
        .start("k4", "nickname", json!({}))
        .await
        .assert_problem(401, "unauthenticated");

    let again = bank.start("first", "nickname", json!({})).await;
    assert_eq!(
        (again.status, again.body["id"].as_str()),
        (200, Some(id.as_str()))
    );
    let list = bank.get("/v1/workflows?definition=nickname").await.ok();
    assert_eq!(
        list["workflows"].as_array().map(Vec::len),
        Some(1),
        "{list}"
    );
    finish(&bank, &id).await;
}

#[tokio::test]
async fn another_tenants_ids_do_not_exist() {
    let (world, bank, id) = begin().await;
    let applicant = bank.applicant(&id).await;
    let prompt = applicant.prompt(&id).await;
    let stranger = world.client("otherTenant").await;
    let prompt_id = prompt["id"].as_str().expect("an id");

    for path in ["", "/result", "/history", "/prompts"] {
        stranger
            .get(&format!("/v1/workflows/{id}{path}"))
            .await
            .assert_problem(404, "workflow_unknown");
    }
    stranger
        .post(&format!("/v1/workflows/{id}/cancel"), json!({}))
        .await
        .assert_problem(404, "workflow_unknown");
    stranger
        .get("/v1/definitions/nickname")
        .await
        .assert_problem(404, "definition_unknown");
    assert_eq!(
        stranger.get("/v1/workflows").await.ok()["workflows"],
        json!([])
    );

    // A stranger's own token for our workflow opens nothing either.
    let forged = stranger.applicant(&id).await;
    forged
        .get(&format!("/v1/workflows/{id}/prompts"))
        .await
        .assert_problem(404, "workflow_unknown");
    forged
        .submit(&prompt, json!({"values": {"nickname": "Eve"}}))
        .await
        .assert_problem(404, "prompt_unknown");
    forged
        .post_bytes(
            &format!("/v1/workflows/{id}/objects"),
            "image/png",
            PNG_PIXEL.to_vec(),
        )
        .await
        .assert_problem(404, "workflow_unknown");

    // And an applicant's token opens one workflow only.
    let second = bank.start("second", "nickname", json!({})).await.ok();
    let second = second["id"].as_str().expect("an id");
    applicant
        .get(&format!("/v1/workflows/{second}/prompts"))
        .await
        .assert_problem(404, "workflow_unknown");
    bank.post(
        &format!("/v1/prompts/{prompt_id}/submissions"),
        json!({"body": {"values": {}}}),
    )
    .await
    .assert_problem(403, "audience_mismatch");
    finish(&bank, &id).await;
}

#[tokio::test]
async fn an_upload_that_is_too_big_or_lies_is_refused() {
    let (_world, bank, id) = begin().await;
    let applicant = bank.applicant(&id).await;
    let path = format!("/v1/workflows/{id}/objects");
    let upload =
        |media_type: &'static str, bytes: Vec<u8>| applicant.post_bytes(&path, media_type, bytes);

    let stored = upload("image/png", PNG_PIXEL.to_vec()).await.ok();
    assert_eq!(
        (&stored["mediaType"], &stored["bytes"]),
        (&json!("image/png"), &json!(PNG_PIXEL.len()))
    );

    let mut oversize = PNG_PIXEL.to_vec();
    oversize.resize(16 * 1024 * 1024, 0);
    upload("image/png", oversize)
        .await
        .assert_problem(413, "object_too_large");
    upload("image/jpeg", PNG_PIXEL.to_vec())
        .await
        .assert_problem(422, "media_type_mismatch");
    upload(
        "image/png",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
    )
    .await
    .assert_problem(422, "media_type_mismatch");
    upload("application/pdf", b"%PDF-1.7".to_vec())
        .await
        .assert_problem(415, "media_type_unsupported");
    upload("image/png", png_header(65_535, 65_535))
        .await
        .assert_problem(422, "picture_too_large");
    upload("image/png", Vec::new())
        .await
        .assert_problem(422, "media_type_mismatch");
    bank.post_bytes(&path, "image/png", PNG_PIXEL.to_vec())
        .await
        .assert_problem(403, "scope_missing");
    finish(&bank, &id).await;
}

#[tokio::test]
async fn a_closed_prompt_takes_no_second_answer() {
    let (world, bank, id) = begin().await;
    let applicant = bank.applicant(&id).await;
    let prompt = applicant.prompt(&id).await;
    let mut unknown = prompt.clone();
    unknown["id"] = json!(
        prompt["id"]
            .as_str()
            .map(|it| it.replace("00000001", "00000099"))
    );

    applicant
        .submit(&prompt, json!({"surprise": true}))
        .await
        .assert_problem(422, "submission_invalid");
    applicant
        .submit(&unknown, json!({"values": {}}))
        .await
        .assert_problem(404, "prompt_unknown");
    world
        .client("reviewer")
        .await
        .submit(&prompt, json!({"values": {}}))
        .await
        .assert_problem(403, "audience_mismatch");

    let answer = json!({"values": {"nickname": "Ada"}});
    assert_eq!(applicant.submit(&prompt, answer.clone()).await.status, 202);
    assert_eq!(
        applicant.submit(&prompt, answer).await.status,
        202,
        "the same answer again is the same answer"
    );
    applicant
        .submit(&prompt, json!({"values": {"nickname": "Eve"}}))
        .await
        .assert_problem(409, "prompt_closed");

    let result = bank
        .get(&format!("/v1/workflows/{id}/result?wait=25"))
        .await
        .ok();
    assert_eq!(result["decision"], "approved", "{result}");
    bank.post(&format!("/v1/workflows/{id}/cancel"), json!({}))
        .await
        .assert_problem(409, "workflow_closed");
}

#[tokio::test]
async fn core_hands_no_task_to_a_caller_without_its_queue() {
    let (world, bank, id) = begin().await;
    let url = format!("{}/internal/v1/tasks/exchange", world.url("core"));
    let poll = json!({"session": "thief", "seq": 1, "held": [], "results": [], "want": 1, "queues": ["form"]});
    bank.with_token("nonsense")
        .post_to(&url, poll.clone())
        .await
        .assert_problem(401, "unauthenticated");
    bank.post_to(&url, poll.clone())
        .await
        .assert_problem(403, "queue_forbidden");
    world
        .client("admin")
        .await
        .post_to(&url, poll)
        .await
        .assert_problem(403, "queue_forbidden");
    finish(&bank, &id).await;
}
