//! Hand-off to another device, and resumption by a code to the verified contact.

use super::*;

#[tokio::test]
async fn a_handoff_brings_a_new_device_once() {
    let world = world().await;
    let applicant = world.applicant(workflow(1)).await;
    let (status, handoff) = world
        .post("/v1/handoffs", Some(&applicant), json!({}))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{handoff}");
    assert!(
        handoff["url"]
            .as_str()
            .unwrap()
            .starts_with("http://localhost:8050/handoff#")
    );

    let redemption = json!({ "code": handoff["code"] });
    let path = "/v1/handoffs/redemptions";
    let (status, redeemed) = world.post(path, None, redemption.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{redeemed}");
    let there = world
        .claims(redeemed["accessToken"].as_str().unwrap())
        .await;
    let here = world.claims(&applicant).await;
    assert_eq!(there.workflow, here.workflow);
    assert_ne!(there.device, here.device);

    let (status, body) = world.post(path, None, redemption).await;
    assert_problem(status, &body, (401, "handoff_refused"));
}

#[tokio::test]
async fn a_handoff_is_over_after_five_minutes_and_there_are_few_at_once() {
    let world = world().await;
    let applicant = world.applicant(workflow(1)).await;
    let (_, handoff) = world
        .post("/v1/handoffs", Some(&applicant), json!({}))
        .await;
    world.clock.advance(HANDOFF_TTL_MS);
    let redemption = json!({ "code": handoff["code"] });
    let (status, body) = world
        .post("/v1/handoffs/redemptions", None, redemption)
        .await;
    assert_problem(status, &body, (401, "handoff_refused"));

    for _ in 0..5 {
        let (status, _) = world
            .post("/v1/handoffs", Some(&applicant), json!({}))
            .await;
        assert_eq!(status, StatusCode::CREATED);
    }
    let (status, body) = world
        .post("/v1/handoffs", Some(&applicant), json!({}))
        .await;
    assert_problem(status, &body, (429, "too_many_handoffs"));
}

#[tokio::test]
async fn only_an_applicant_hands_off() {
    let world = world().await;
    let bank = world
        .token("bank", &["applicant-tokens:write", "workflows:write"])
        .await;
    let (status, body) = world.post("/v1/handoffs", Some(&bank), json!({})).await;
    assert_problem(status, &body, (403, "scope_missing"));
}

#[tokio::test]
async fn a_code_to_the_verified_contact_brings_the_person_back_once() {
    let mut world = world().await;
    let link = world.link(workflow(1)).await;
    // Days later.
    world.clock.advance(3 * 24 * HOUR_MS);
    let code = world.code(&link).await.unwrap();
    let (status, redeemed) = world.redeem(&link, &code).await;
    assert_eq!(status, StatusCode::CREATED, "{redeemed}");
    let claims = world
        .claims(redeemed["accessToken"].as_str().unwrap())
        .await;
    assert_eq!(claims.workflow, Some(workflow(1).to_string()));

    let (status, body) = world.redeem(&link, &code).await;
    assert_problem(status, &body, (401, "resume_refused"));
}

#[tokio::test]
async fn five_wrong_codes_lock_and_neither_the_right_one_nor_a_new_link_helps() {
    let mut world = world().await;
    let link = world.link(workflow(1)).await;
    let code = world.code(&link).await.unwrap();
    for _ in 0..5 {
        let (status, body) = world.redeem(&link, wrong(&code)).await;
        assert_problem(status, &body, (401, "resume_refused"));
    }
    let (status, body) = world.redeem(&link, &code).await;
    assert_problem(status, &body, (401, "resume_refused"));

    world.clock.advance(HOUR_MS);
    let other_link = world.link(workflow(1)).await;
    assert_eq!(world.code(&other_link).await, None, "the contact is locked");
    world.clock.advance(24 * HOUR_MS);
    let code = world.code(&other_link).await.unwrap();
    assert_eq!(
        world.redeem(&other_link, &code).await.0,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_code_runs_out_and_a_new_one_voids_it() {
    let mut world = world().await;
    let link = world.link(workflow(1)).await;
    let first = world.code(&link).await.unwrap();
    world.clock.advance(30_000);
    let mut second = world.code(&link).await.unwrap();
    if second != first {
        let (status, body) = world.redeem(&link, &first).await;
        assert_problem(status, &body, (401, "resume_refused"));
    }
    world.clock.advance(5 * MINUTE_MS);
    let (status, body) = world.redeem(&link, &second).await;
    assert_problem(status, &body, (401, "resume_refused"));
    second = world.code(&link).await.unwrap();
    assert_eq!(world.redeem(&link, &second).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn codes_are_sent_with_pauses_and_not_without_end() {
    let mut world = world().await;
    let link = world.link(workflow(1)).await;
    assert!(world.code(&link).await.is_some());
    world.clock.advance(29_999);
    assert_eq!(world.code(&link).await, None, "30 s after the first");
    world.clock.advance(1);
    assert!(world.code(&link).await.is_some());
    world.clock.advance(59_999);
    assert_eq!(world.code(&link).await, None, "60 s after the second");
    world.clock.advance(1);
    assert!(world.code(&link).await.is_some());
    world.clock.advance(10 * MINUTE_MS);
    assert_eq!(world.code(&link).await, None, "three a session");

    // Two more sessions of the day: five codes for one contact.
    world.clock.advance(HOUR_MS);
    assert!(world.code(&link).await.is_some());
    world.clock.advance(MINUTE_MS);
    assert!(world.code(&link).await.is_some());
    world.clock.advance(2 * HOUR_MS);
    assert_eq!(world.code(&link).await, None, "five a day");
}

#[tokio::test]
async fn whether_there_is_anybody_behind_a_link_is_not_said() {
    let mut world = world().await;
    let link = world.link(workflow(1)).await;
    let nobody = world.applicant(workflow(2)).await;
    let (_, empty) = world
        .post("/v1/resume-links", Some(&nobody), json!({}))
        .await;
    let mut answers = Vec::new();
    for link in [
        "00000000000000000000000000000000",
        empty["link"].as_str().unwrap(),
        &link,
    ] {
        let path = format!("/v1/resume-links/{link}/codes");
        answers.push(world.post(&path, None, json!({})).await);
    }
    assert_eq!(answers[0].0, StatusCode::ACCEPTED);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[1], answers[2]);
    // Only the one with a contact gets a code.
    let message = world.sent.recv().await.unwrap();
    assert_eq!(message.to, "+15550100");
    assert!(world.sent.is_empty());
    for link in [
        "00000000000000000000000000000000",
        empty["link"].as_str().unwrap(),
    ] {
        let (status, body) = world.redeem(link, "123456").await;
        assert_problem(status, &body, (401, "resume_refused"));
    }
}

#[tokio::test]
async fn an_applicant_gets_a_resume_link_for_their_own_workflow_only() {
    let world = world().await;
    let applicant = world.applicant(workflow(1)).await;
    let other = json!({ "workflow": workflow(2) });
    let (status, body) = world
        .post("/v1/resume-links", Some(&applicant), other)
        .await;
    assert_problem(status, &body, (404, "workflow_unknown"));
    let bank = world.token("bank", &["applicant-tokens:write"]).await;
    let (status, body) = world.post("/v1/resume-links", Some(&bank), json!({})).await;
    assert_problem(status, &body, (422, "workflow_missing"));
}
