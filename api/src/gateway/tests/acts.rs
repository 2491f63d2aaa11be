//! What the gateway reports of what people and systems do.

use poem::http::StatusCode;
use poem::{Endpoint, Response};
use serde_json::{Value, json};

use btrust_platform::http::Shutdown;
use btrust_schemas::events::{ActKind, ActOutcome, ActorKind, ReportedAct};

use super::definitions::onboarding;
use super::world::{World, assert_problem, world};
use crate::acts::{Outbox, deliver};

impl<E: Endpoint<Output = Response>> World<E> {
    /// Brings what is noted to core, and returns everything that core has heard by then.
    async fn reported(&self) -> Vec<(String, ReportedAct)> {
        let shutdown = Shutdown::new();
        let recorder = self.gateway.recorder.clone();
        let until = shutdown.clone();
        let outbox = recorder.desk.outbox.clone();
        let delivering = tokio::spawn(async move { deliver(outbox, &*recorder.core, until).await });
        while !self
            .gateway
            .recorder
            .desk
            .outbox
            .oldest(1)
            .await
            .unwrap()
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
        shutdown.trigger();
        delivering.await.unwrap();
        self.core.lock().unwrap().reported.clone()
    }
}

#[tokio::test]
async fn an_act_is_reported_with_who_what_and_how_it_ended() {
    let world = world().await;
    let admin = world
        .token(
            "admin",
            "bank",
            &["definitions:write", "definitions:publish"],
        )
        .await;
    let (status, _) = world.post("/v1/definitions", &admin, onboarding()).await;
    assert_eq!(status, StatusCode::CREATED);
    let path = "/v1/definitions/erika-mustermann/versions/1/retirement";
    let (status, _) = world.post(path, &admin, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let reported = world.reported().await;
    assert_eq!(reported.len(), 2);
    let (tenant, stored) = &reported[0];
    assert_eq!(
        (tenant.as_str(), stored.kind),
        ("bank", ActKind::DefinitionStored)
    );
    let by = &stored.act.by;
    assert_eq!(
        (by.kind, by.id.as_deref()),
        (ActorKind::Client, Some("admin"))
    );
    assert_eq!(
        (stored.act.outcome, stored.act.status),
        (ActOutcome::Done, Some(201))
    );
    assert_eq!(
        stored.act.target.definition.as_deref(),
        Some("bank-onboarding")
    );
    assert_eq!(stored.act.request_id.as_ref().map(String::len), Some(32));
    let refused = &reported[1].1;
    assert_eq!(
        (refused.act.outcome, refused.act.status),
        (ActOutcome::Refused, Some(404))
    );
    assert_eq!(
        refused.act.target.definition, None,
        "there is no such name but the caller's"
    );
}

#[tokio::test]
async fn nobody_reads_evidence_without_a_record_of_it() {
    let mut world = world().await;
    let bank = world.bank().await;
    let id = world.start(&bank, "bank", "k").await;
    let path = format!("/v1/workflows/{id}/history?after=3");
    let (status, _) = world.get(&path, &bank).await;
    assert_eq!(status, StatusCode::OK);
    let reported = world.core.lock().unwrap().reported.clone();
    let [(tenant, read)] = &reported[..] else {
        panic!("{reported:?}")
    };
    assert_eq!((tenant.as_str(), read.kind), ("bank", ActKind::HistoryRead));
    assert_eq!(
        (read.act.target.workflow, read.act.target.after),
        (Some(id), Some(3))
    );
    // The applicant's own prompts are no evidence of somebody else.
    let applicant = world.applicant(&bank, id).await;
    let prompts = format!("/v1/workflows/{id}/prompts");
    assert_eq!(world.get(&prompts, &applicant).await.0, StatusCode::OK);
    assert_eq!(world.core.lock().unwrap().reported.len(), 1);
    assert_eq!(world.get(&prompts, &bank).await.0, StatusCode::OK);
    assert_eq!(
        world.core.lock().unwrap().reported[1].1.kind,
        ActKind::PromptsRead
    );
    world.core.lock().unwrap().takes_no_acts = true;
    let (status, body) = world.get(&path, &bank).await;
    assert_problem(status, &body, (503, "act_not_recorded"));
    assert_eq!(body.get("events"), None);
    world.stop_core().await;
}

#[tokio::test]
async fn who_may_not_do_something_is_reported_and_who_is_nobody_is_not() {
    let world = world().await;
    let bank = world.bank().await;
    let (status, _) = world
        .call("put", "/v1/task-limits", Some(&bank), json!({}))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = world
        .call("put", "/v1/task-limits", None, Value::Null)
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let reported = world.reported().await;
    let [(_, refused)] = &reported[..] else {
        panic!("{reported:?}")
    };
    assert_eq!(
        (refused.kind, refused.act.status),
        (ActKind::TaskLimitsChanged, Some(403))
    );
}

#[tokio::test]
async fn an_act_that_had_begun_when_the_process_ended_is_reported_as_such() {
    let world = world().await;
    let outbox = &world.gateway.recorder.desk.outbox;
    let admin = world.token("admin", "bank", &["tenant:write"]).await;
    let body = json!({ "kind": "specimen_documents", "statement": "we know" });
    let (status, _) = world
        .post("/v1/tenant/acknowledgements", &admin, body)
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let mut begun = outbox.oldest(1).await.unwrap().remove(0).act;
    begun.id = "ab".repeat(16);
    begun.act.outcome = ActOutcome::Unknown;
    outbox.begin("bank", &begun).await.unwrap();
    assert_eq!(
        world.reported().await.len(),
        1,
        "nobody knows yet how it ends"
    );
    // The next run takes up what is left.
    let again = Outbox::open(outbox.pool().clone(), "gateway")
        .await
        .unwrap();
    assert_eq!(
        again.oldest(9).await.unwrap().len(),
        0,
        "the run before may still go on"
    );
    again.take_up().await.unwrap();
    assert_eq!(again.oldest(9).await.unwrap().len(), 1);
    let reported = world.reported().await;
    assert_eq!(reported[1].1, begun);
}

#[tokio::test]
async fn what_core_will_never_take_does_not_hold_up_the_others() {
    let world = world().await;
    let outbox = &world.gateway.recorder.desk.outbox;
    let admin = world.token("admin", "bank", &["tenant:write"]).await;
    let body = json!({ "kind": "specimen_documents", "statement": "we know" });
    for _ in 0..3 {
        world
            .post("/v1/tenant/acknowledgements", &admin, body.clone())
            .await;
    }
    let wrong = outbox.oldest(3).await.unwrap().remove(1).act.id;
    world.core.lock().unwrap().refused_act = Some(wrong.clone());
    let reported = world.reported().await;
    assert_eq!(reported.len(), 2);
    assert!(reported.iter().all(|it| it.1.id != wrong));
}
