//! Prompts and their answers.

use serde_json::json;
use sha2::{Digest, Sha256};

use btrust_schemas::core::{CancelRequest, SubmissionRequest};
use btrust_schemas::ids::PromptId;
use btrust_schemas::turn::{Audience, TurnReason};

use crate::world::{Node, TENANT, WAIT_MS, Worker, World, applicant, ask, complete};

fn answer(text: &str) -> SubmissionRequest {
    SubmissionRequest {
        tenant: TENANT.to_owned(),
        submitter: applicant(),
        body: json!({ "text": text }),
        digest: hex::encode(Sha256::digest(text)),
    }
}

/// A workflow whose first step has asked the applicant.
async fn asked(node: &Node, worker: &mut Worker) -> PromptId {
    let id = node.started("key").await;
    let turn = worker.take(node).await;
    worker.report(node, ask(turn.key, 60_000)).await;
    let view = node
        .engine
        .prompts(TENANT, id, Some(Audience::Applicant), None, 0)
        .await
        .unwrap();
    assert_eq!(view.prompts.len(), 1);
    view.prompts[0].id
}

#[tokio::test]
async fn the_first_answer_wins_and_the_same_again_is_taken_again() {
    let node = World::new().node().await;
    let mut worker = Worker::new("a");
    let prompt = asked(&node, &mut worker).await;
    assert!(
        node.engine
            .submit(prompt, answer("one"))
            .await
            .unwrap()
            .created
    );
    assert!(
        !node
            .engine
            .submit(prompt, answer("one"))
            .await
            .unwrap()
            .created
    );
    let late = node.engine.submit(prompt, answer("two")).await.unwrap_err();
    assert_eq!((late.code(), late.status()), ("prompt_closed", 409));

    let turn = worker.take(&node).await;
    assert_eq!((turn.key.turn, turn.state), (2, Some(json!({ "v": 1 }))));
    let TurnReason::Submission {
        prompt: answered,
        body,
        submitter,
    } = turn.reason
    else {
        panic!("{:?}", turn.reason);
    };
    assert_eq!(
        (answered, body, submitter.kind),
        (prompt, json!({ "text": "one" }), Audience::Applicant)
    );
    assert_eq!(submitter.device.as_deref(), Some("phone"));
    worker.report(&node, complete(turn.key, "submitted")).await;
}

#[tokio::test]
async fn a_prompt_is_closed_to_whom_it_does_not_ask() {
    let node = World::new().node().await;
    let prompt = asked(&node, &mut Worker::new("a")).await;
    let refused = |request| {
        let engine = node.engine.clone();
        async move { engine.submit(prompt, request).await.unwrap_err() }
    };
    let mut by_reviewer = answer("one");
    by_reviewer.submitter.kind = Audience::Reviewer;
    let error = refused(by_reviewer).await;
    assert_eq!((error.code(), error.status()), ("audience_mismatch", 403));
    let mut by_other = answer("one");
    by_other.tenant = "other".to_owned();
    let error = refused(by_other).await;
    assert_eq!((error.code(), error.status()), ("prompt_unknown", 404));
    let absent = PromptId {
        number: 9,
        ..prompt
    };
    let error = node.engine.submit(absent, answer("one")).await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("prompt_unknown", 404));

    let reviewers = node
        .engine
        .prompts(TENANT, prompt.workflow, Some(Audience::Reviewer), None, 0);
    assert!(reviewers.await.unwrap().prompts.is_empty());
    let others = node
        .engine
        .prompts("other", prompt.workflow, None, None, 0)
        .await
        .unwrap_err();
    assert_eq!(others.status(), 404);
}

#[tokio::test]
async fn whoever_waits_for_news_hears_of_the_next_commit() {
    let node = World::new().node().await;
    let id = node.started("key").await;
    let sequence = node.engine.view(TENANT, id).await.unwrap().sequence;
    let mut worker = Worker::new("a");
    let turn = worker.take(&node).await;
    let engine = node.engine.clone();
    let (news, _) = tokio::join!(
        engine.prompts(TENANT, id, None, Some(sequence), WAIT_MS),
        worker.report(&node, ask(turn.key, 60_000)),
    );
    let news = news.unwrap();
    assert!(sequence < news.sequence);
    let prompt = &news.prompts[0];
    assert_eq!(
        (
            prompt.state_name.as_str(),
            prompt.resource.as_str(),
            prompt.kind.as_str()
        ),
        ("Fill", "kyc:form@1", "form")
    );

    let cancel = CancelRequest {
        tenant: TENANT.to_owned(),
        reason: None,
        grace_seconds: 0,
        actor: "bank".to_owned(),
    };
    let (result, _) = tokio::join!(
        engine.result(TENANT, id, WAIT_MS),
        engine.cancel(id, cancel)
    );
    assert_eq!(result.unwrap().status.as_str(), "cancelled");
    let closed = engine
        .prompts(TENANT, id, None, Some(u64::MAX), WAIT_MS)
        .await
        .unwrap();
    assert!(closed.prompts.is_empty());
}

#[tokio::test]
pub async fn a_hundred_different_answers_have_one_winner() {
    let node = World::new().node().await;
    let prompt = asked(&node, &mut Worker::new("a")).await;
    let answers = (0..100).map(|it| node.engine.submit(prompt, answer(&it.to_string())));
    let answers = futures_util::future::join_all(answers).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|it| it.as_ref().unwrap_err().code() == "prompt_closed")
    );
}

#[tokio::test]
async fn history_does_not_carry_what_a_person_has_submitted() {
    const CANARY: &str = "canary-739251";
    let node = World::new().node().await;
    let mut worker = Worker::new("a");
    let prompt = asked(&node, &mut worker).await;
    let request = answer(CANARY);
    let digest = request.digest.clone();
    node.engine.submit(prompt, request).await.unwrap();
    let turn = worker.take(&node).await;
    worker.report(&node, complete(turn.key, "submitted")).await;
    let history = node
        .engine
        .history(TENANT, prompt.workflow, 0, None)
        .await
        .unwrap();
    let history = serde_json::to_string(&history).unwrap();
    assert!(history.contains("PromptAnswered") && history.contains("TaskSucceeded"));
    assert!(!history.contains(CANARY), "{history}");
    // A code is guessable, so its digest would tell it too.
    assert!(!history.contains(&digest[..16]), "{history}");
}
