//! One-time codes, and what a verified contact is good for: resuming and handing off.

use btrust_tests::{Client, World};
use serde_json::{Value, json};

const GUESSES_MAX: usize = 5;

/// Starts an onboarding for `subject` and gives the consent that it asks for first.
async fn consent(bank: &Client, key: &str, subject: &str) -> (String, Client) {
    let input = json!({"applicant": {"phone": "+12025550143", "email": "specimen@example.com"}});
    let body = json!({"definition": "bank-onboarding", "input": input, "subjectRef": subject});
    let started = bank.start_with(key, body).await.ok();
    let id = started["id"].as_str().expect("an id").to_owned();
    let applicant = bank.applicant(&id).await;
    let prompt = applicant.prompt(&id).await;
    applicant
        .submit(
            &prompt,
            json!({"action": "accept", "texts": prompt["body"]["texts"]}),
        )
        .await
        .ok();
    (id, applicant)
}

/// The code in the last message of the outbox.
pub fn last_code(world: &World) -> String {
    let outbox = world.outbox();
    let text = outbox.last().expect("a message")["text"]
        .as_str()
        .expect("a text")
        .to_owned();
    let mut digits = text.split(|it: char| !it.is_ascii_digit());
    let code = digits.rfind(|it| it.len() == 6);
    code.expect("a code").to_owned()
}

/// Waits for a prompt of `kind` other than the one before.
pub async fn next_prompt(
    applicant: &Client,
    id: &str,
    kind: &str,
    before: &Value,
) -> Option<Value> {
    let mut after = 0;
    for _ in 0..30 {
        let view = applicant
            .get(&format!("/v1/workflows/{id}/prompts?after={after}&wait=1"))
            .await
            .ok();
        let prompts = view["prompts"].as_array().expect("prompts");
        if let Some(prompt) = prompts
            .iter()
            .find(|it| it["kind"] == kind && it["id"] != before["id"])
        {
            return Some(prompt.clone());
        }
        if view["status"] != "running" {
            return None;
        }
        after = view["sequence"].as_u64().expect("a sequence");
    }
    panic!("neither a prompt nor an end of {id}");
}

#[tokio::test]
async fn a_locked_person_gets_no_new_guesses_by_starting_again() {
    let world = World::start();
    let bank = world.client("bank").await;
    let (id, applicant) = consent(&bank, "first", "person-1").await;
    let mut prompt = Value::Null;
    for guess in 0.. {
        let Some(next) = next_prompt(&applicant, &id, "otp-code", &prompt).await else {
            assert_eq!(guess, GUESSES_MAX);
            break;
        };
        prompt = next;
        assert_eq!(prompt["body"]["attemptsLeft"], GUESSES_MAX - guess);
        let wrong = if last_code(&world) == "000000" {
            "000001"
        } else {
            "000000"
        };
        applicant
            .submit(&prompt, json!({"action": "answer", "code": wrong}))
            .await
            .ok();
    }
    let first = bank.get(&format!("/v1/workflows/{id}")).await.ok();
    assert_eq!(first["outcomes"]["VerifyPhone"], "locked", "{first}");
    assert_eq!(first["decision"], "rejected");

    let (second, _) = consent(&bank, "second", "person-1").await;
    let result = bank
        .get(&format!("/v1/workflows/{second}/result?wait=25"))
        .await
        .ok();
    assert_eq!(
        result["output"]["reasons"],
        json!(["phone_locked"]),
        "{result}"
    );
    assert_eq!(world.outbox().len(), 1, "no code for the locked");
}

#[tokio::test]
async fn a_verified_person_resumes_by_a_code_and_hands_off_by_a_single_use_one() {
    let world = World::start();
    let bank = world.client("bank").await;
    let (id, applicant) = consent(&bank, "first", "person-1").await;
    let prompt = next_prompt(&applicant, &id, "otp-code", &Value::Null)
        .await
        .expect("a prompt");
    applicant
        .submit(
            &prompt,
            json!({"action": "answer", "code": last_code(&world)}),
        )
        .await
        .ok();
    let document = next_prompt(&applicant, &id, "document-front", &Value::Null)
        .await
        .expect("a prompt");

    // Another device, by a code that a screen shows.
    let handoff = applicant.post_auth("/v1/handoffs", json!({})).await.ok();
    let redeem = json!({"code": handoff["code"]});
    let phone = bank
        .with_token("none")
        .post_auth("/v1/handoffs/redemptions", redeem.clone())
        .await
        .ok();
    let phone = bank.with_token(phone["accessToken"].as_str().expect("a token"));
    assert_eq!(phone.prompt(&id).await["id"], document["id"]);
    let again = bank
        .with_token("none")
        .post_auth("/v1/handoffs/redemptions", redeem)
        .await;
    assert_eq!(
        (again.status, again.code()),
        (401, "handoff_refused"),
        "{}",
        again.body
    );

    // Another day, by a link and a code to the verified phone.
    let link = bank
        .post_auth("/v1/resume-links", json!({"workflow": id}))
        .await
        .ok();
    let link = link["link"].as_str().expect("a link");
    let stranger = bank.with_token("none");
    let n_before = world.outbox().len();
    assert_eq!(
        stranger
            .post_auth(&format!("/v1/resume-links/{link}/codes"), json!({}))
            .await
            .status,
        202
    );
    // The code is sent after the answer, so that the answer says nothing; look until it is there.
    while world.outbox().len() == n_before {
        tokio::task::yield_now().await;
    }
    let redemptions = format!("/v1/resume-links/{link}/redemptions");
    let code = last_code(&world);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    stranger
        .post_auth(&redemptions, json!({"code": wrong}))
        .await
        .assert_problem(401, "resume_refused");
    let resumed = stranger
        .post_auth(&redemptions, json!({"code": code}))
        .await
        .ok();
    let resumed = bank.with_token(resumed["accessToken"].as_str().expect("a token"));
    assert_eq!(resumed.prompt(&id).await["id"], document["id"]);
}
