use poem::http::StatusCode;
use serde_json::json;

use btrust_schemas::{ids::PromptId, turn::Audience};

use super::world::{assert_problem, world};

fn path(prompt: PromptId) -> String {
    format!("/v1/prompts/{prompt}/submissions")
}

#[tokio::test]
async fn the_first_answer_wins_and_the_same_one_is_taken_again() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let prompt = world.ask(id, 1, "otp", Audience::Applicant);
    let applicant = world.applicant(&bank, id).await;

    let (_, open) = world
        .get(&format!("/v1/workflows/{id}/prompts"), &applicant)
        .await;
    assert_eq!(open["prompts"][0]["id"], prompt.to_string());
    assert_eq!(open["sequence"], 3);

    let answer = json!({ "body": { "action": "answer", "code": "123456" } });
    for _ in 0..2 {
        let (status, body) = world.post(&path(prompt), &applicant, answer.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        assert_eq!(
            body,
            json!({ "prompt": prompt.to_string(), "accepted": true })
        );
    }
    let late = json!({ "body": { "action": "answer", "code": "654321" } });
    let (status, body) = world.post(&path(prompt), &applicant, late).await;
    assert_problem(status, &body, (409, "prompt_closed"));

    let tables = world.core.lock().unwrap();
    assert_eq!(tables.submissions.len(), 1);
    let submitter = &tables.submissions[0].submitter;
    assert_eq!(submitter.kind, Audience::Applicant);
    assert_eq!(submitter.id, format!("applicant:{id}"));
    assert!(
        submitter
            .device
            .as_ref()
            .is_some_and(|it| it.starts_with("dev_"))
    );
}

#[tokio::test]
async fn the_same_answer_of_somebody_else_comes_too_late() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let review = world.ask(id, 1, "review", Audience::Reviewer);
    let one = world.token("one", "bank", &["reviews:write"]).await;
    let two = world.token("two", "bank", &["reviews:write"]).await;
    let answer = json!({ "body": { "decision": "approved", "reasonCodes": ["fine"] } });
    for _ in 0..2 {
        let (status, body) = world.post(&path(review), &one, answer.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    }
    let (status, body) = world.post(&path(review), &two, answer).await;
    assert_problem(status, &body, (409, "prompt_closed"));
}

#[tokio::test]
async fn an_answer_that_the_step_does_not_take_is_refused_with_its_place() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let prompt = world.ask(id, 1, "otp", Audience::Applicant);
    let applicant = world.applicant(&bank, id).await;
    let answer = json!({ "body": { "action": "answer", "code": 123_456 } });
    let (status, body) = world.post(&path(prompt), &applicant, answer).await;
    assert_problem(status, &body, (422, "submission_invalid"));
    assert!(
        body["errors"][0]["pointer"]
            .as_str()
            .unwrap()
            .starts_with("/body"),
        "{body}"
    );
    assert!(world.core.lock().unwrap().submissions.is_empty());
}

#[tokio::test]
async fn a_prompt_is_answered_by_its_audience_and_by_nobody_of_another_workflow() {
    let world = world().await;
    let (bank, other_bank) = (world.bank().await, world.other_bank().await);
    let id = world.start(&bank, "bank", "1").await;
    let other_id = world.start(&bank, "bank", "2").await;
    let prompt = world.ask(id, 1, "otp", Audience::Applicant);
    let review = world.ask(id, 2, "review", Audience::Reviewer);
    let applicant = world.applicant(&bank, id).await;
    let other = world.applicant(&bank, other_id).await;
    let intruder = world.applicant(&other_bank, id).await;
    let answer = json!({ "body": { "action": "answer", "code": "123456" } });

    for token in [&other, &intruder, &other_bank] {
        let (status, body) = world.post(&path(prompt), token, answer.clone()).await;
        assert_problem(status, &body, (404, "prompt_unknown"));
    }
    let (status, body) = world.post(&path(review), &applicant, answer.clone()).await;
    assert_problem(status, &body, (403, "audience_mismatch"));
    let (status, body) = world.post(&path(prompt), &bank, answer.clone()).await;
    assert_problem(status, &body, (403, "audience_mismatch"));
    for unknown in [
        PromptId {
            workflow: id,
            number: 9,
        }
        .to_string(),
        "nonsense".to_owned(),
    ] {
        let path = format!("/v1/prompts/{unknown}/submissions");
        let (status, body) = world.post(&path, &applicant, answer.clone()).await;
        assert_problem(status, &body, (404, "prompt_unknown"));
    }
    assert!(world.core.lock().unwrap().submissions.is_empty());
}

#[tokio::test]
async fn everybody_sees_the_prompts_that_they_may_answer() {
    let world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "1").await;
    let applicants = world.ask(id, 1, "otp", Audience::Applicant);
    let reviewers = world.ask(id, 2, "review", Audience::Reviewer);
    let portals = world.ask(id, 3, "form", Audience::Portal);
    let reviewer = world.token("reviewer", "bank", &["reviews:write"]).await;
    let applicant = world.applicant(&bank, id).await;
    for (token, prompt) in [
        (applicant, applicants),
        (reviewer, reviewers),
        (bank, portals),
    ] {
        let (status, open) = world
            .get(&format!("/v1/workflows/{id}/prompts"), &token)
            .await;
        assert_eq!(status, StatusCode::OK, "{open}");
        let ids: Vec<_> = open["prompts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["id"])
            .collect();
        assert_eq!(ids, [&json!(prompt)]);
    }
}

#[tokio::test]
async fn a_tenant_acknowledges_what_it_accepts() {
    let world = world().await;
    let admin = world.token("admin", "bank", &["tenant:write"]).await;
    let other = world.token("other", "other-bank", &["tenant:read"]).await;
    let path = "/v1/tenant/acknowledgements";
    let statement = json!({ "kind": "uncertified_liveness", "statement": "we know" });
    let (status, made) = world.post(path, &admin, statement).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["by"], "admin");
    let (_, kept) = world.get(path, &admin).await;
    assert_eq!(kept["acknowledgements"], json!([made]));
    assert_eq!(
        world.get(path, &other).await.1["acknowledgements"],
        json!([])
    );

    let unknown = json!({ "kind": "anything", "statement": "we know" });
    let (status, body) = world.post(path, &admin, unknown).await;
    assert_problem(status, &body, (400, "malformed_json"));
}
