//! Starts that wait, starts whose key was used before, and restarts.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use btrust_engine::EngineError;
use btrust_schemas::commands::{ActRequest, Conflict, RestartRequest, Reuse};
use btrust_schemas::core::{StartRequest, StartResponse, Status};
use btrust_schemas::definition::{Publish, RetirementRequest};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::search::DeletionRequest;

use crate::world::{
    Fault, Node, Plan, TENANT, WAIT_MS, Worker, World, complete, draft_request, envelope,
    start_request,
};

impl Node {
    async fn start_as(
        &self,
        reuse: Reuse,
        conflict: Conflict,
        digit: &str,
    ) -> Result<StartResponse, EngineError> {
        let request = StartRequest {
            reuse,
            conflict,
            request_digest: digit.repeat(64),
            ..start_request("key")
        };
        self.engine.start_workflow(request).await
    }

    async fn end(&self, id: WorkflowId) {
        let request = ActRequest {
            tenant: TENANT.to_owned(),
            reason: None,
            actor: "operator".to_owned(),
        };
        self.engine.terminate(id, request).await.unwrap();
    }

    async fn run_through(&self, worker: &mut Worker) {
        for outcome in ["submitted", "approved"] {
            let key = worker.take(self).await.key;
            assert_eq!(
                worker.report(self, complete(key, outcome)).await,
                "accepted"
            );
        }
    }

    async fn restart(
        &self,
        id: WorkflowId,
        version: Option<u32>,
        key: &str,
    ) -> Result<StartResponse, EngineError> {
        let request = RestartRequest {
            tenant: TENANT.to_owned(),
            version,
            idempotency_key: key.to_owned(),
            request_digest: format!("{version:?}"),
            actor: "operator".to_owned(),
        };
        self.engine.restart(id, request).await
    }

    async fn stands(&self, id: WorkflowId) -> Status {
        self.engine.view(TENANT, id).await.unwrap().status
    }
}

#[tokio::test]
async fn a_start_waits_for_the_result_and_not_for_ever() {
    let world = World::new();
    let node = world.node().await;
    let request = |wait_ms| StartRequest {
        wait_ms,
        ..start_request("key")
    };
    let late = node.engine.start_workflow(request(1)).await.unwrap();
    assert!(late.created && late.result.is_none());
    let mut worker = Worker::new("a");
    let (started, ()) = tokio::join!(
        node.engine.start_workflow(request(WAIT_MS)),
        node.run_through(&mut worker)
    );
    let started = started.unwrap();
    assert_eq!(
        (started.created, started.workflow.id),
        (false, late.workflow.id)
    );
    let result = started.result.unwrap();
    assert_eq!(
        (result.status, result.output),
        (Status::Succeeded, Some(json!({ "decision": "approved" })))
    );
    let at_once = node.engine.start_workflow(request(0)).await.unwrap();
    assert_eq!(at_once.result, None);
}

#[tokio::test]
pub async fn a_key_means_its_workflow_for_ever_unless_the_start_says_otherwise() {
    let world = World::new();
    let node = world.node().await;
    let first = node
        .start_as(Reuse::Reject, Conflict::Existing, "1")
        .await
        .unwrap();
    let same = node
        .start_as(Reuse::IfClosed, Conflict::Existing, "1")
        .await
        .unwrap();
    assert_eq!((same.created, same.workflow.id), (false, first.workflow.id));
    let other = node
        .start_as(Reuse::IfClosed, Conflict::Existing, "2")
        .await;
    assert_eq!(other.unwrap_err().code(), "idempotency_key_reused");
    node.end(first.workflow.id).await;
    let rejected = node
        .start_as(Reuse::Reject, Conflict::Terminate, "1")
        .await
        .unwrap();
    assert_eq!(
        (rejected.created, rejected.workflow.id),
        (false, first.workflow.id)
    );
    let rejected = node.start_as(Reuse::Reject, Conflict::Existing, "2").await;
    assert_eq!(rejected.unwrap_err().code(), "idempotency_key_reused");

    // It has failed, in a way, so the next one is new; and from then on the key means that one.
    let second = node
        .start_as(Reuse::IfFailed, Conflict::Existing, "2")
        .await
        .unwrap();
    assert!(second.created);
    let same = node
        .start_as(Reuse::Reject, Conflict::Existing, "2")
        .await
        .unwrap();
    assert_eq!(
        (same.created, same.workflow.id),
        (false, second.workflow.id)
    );
    let mut worker = Worker::new("a");
    node.run_through(&mut worker).await;
    let same = node
        .start_as(Reuse::IfFailed, Conflict::Existing, "2")
        .await
        .unwrap();
    assert_eq!(
        (same.created, same.workflow.id),
        (false, second.workflow.id)
    );
    let third = node
        .start_as(Reuse::IfClosed, Conflict::Existing, "2")
        .await
        .unwrap();
    assert!(third.created);
    node.stop().await;

    let node = world.node().await;
    let same = node
        .start_as(Reuse::Reject, Conflict::Existing, "2")
        .await
        .unwrap();
    assert_eq!(same.workflow.id, third.workflow.id);
}

#[tokio::test]
pub async fn a_start_may_refuse_or_terminate_the_workflow_that_its_key_has_started() {
    let world = World::new();
    let node = world.node().await;
    let first = node
        .start_as(Reuse::Reject, Conflict::Fail, "1")
        .await
        .unwrap();
    let refused = node
        .start_as(Reuse::Reject, Conflict::Fail, "1")
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.status()),
        ("workflow_running", 409)
    );
    let second = node
        .start_as(Reuse::Reject, Conflict::Terminate, "2")
        .await
        .unwrap();
    assert!(second.created);
    assert_eq!(node.stands(first.workflow.id).await, Status::Terminated);
    assert_eq!(node.stands(second.workflow.id).await, Status::Running);
    let turn = Worker::new("a").take(&node).await;
    assert_eq!(turn.workflow, second.workflow.id);
}

#[tokio::test]
pub async fn a_start_whose_answer_was_lost_is_answered_with_what_it_has_started() {
    let world = World::new();
    let mut node = world.node().await;
    for (reuse, conflict, other) in [
        (Reuse::Reject, Conflict::Terminate, "2"),
        (Reuse::IfClosed, Conflict::Existing, "3"),
        (Reuse::IfFailed, Conflict::Terminate, "4"),
    ] {
        let first = node.start_as(reuse, conflict, "1").await.unwrap();
        let id = first.workflow.id;
        assert!(first.created, "{reuse:?} {conflict:?}");
        let again = node.start_as(reuse, conflict, "1").await.unwrap();
        assert_eq!((again.created, again.workflow.id), (false, id));
        assert_eq!(node.stands(id).await, Status::Running);
        node.end(id).await;
        let again = node.start_as(reuse, conflict, "1").await.unwrap();
        assert_eq!((again.created, again.workflow.id), (false, id));

        // Also late, when the key means another workflow, and after a restart.
        let second = node.start_as(Reuse::IfClosed, Conflict::Fail, other).await;
        let second = second.unwrap().workflow.id;
        node.stop().await;
        node = world.node().await;
        let again = node.start_as(reuse, conflict, "1").await.unwrap();
        assert_eq!((again.created, again.workflow.id), (false, id));
        assert_eq!(node.stands(second).await, Status::Running);

        // Whoever means another one says so.
        let request = StartRequest {
            reuse: Reuse::IfClosed,
            conflict: Conflict::Terminate,
            request_id: Some(format!("{reuse:?}")),
            request_digest: "1".repeat(64),
            ..start_request("key")
        };
        let third = node.engine.start_workflow(request.clone()).await.unwrap();
        assert!(third.created);
        assert_eq!(node.stands(second).await, Status::Terminated);
        let again = node.engine.start_workflow(request).await.unwrap();
        assert_eq!(again.workflow.id, third.workflow.id);
        node.end(third.workflow.id).await;
    }
}

#[tokio::test]
pub async fn a_lost_start_is_answered_also_when_what_its_key_means_now_cannot_be_opened() {
    let world = World::new();
    let node = world.node().await;
    let mut ids = Vec::new();
    for digit in ["1", "2"] {
        let started = node
            .start_as(Reuse::IfClosed, Conflict::Existing, digit)
            .await
            .unwrap();
        assert!(started.created);
        node.end(started.workflow.id).await;
        ids.push(started.workflow.id);
    }
    node.stop().await;
    let node = world.node().await;
    node.workflow_keys.destroy(TENANT, ids[1]).await.unwrap();
    assert!(node.engine.view(TENANT, ids[1]).await.is_err());
    let again = node
        .start_as(Reuse::IfClosed, Conflict::Existing, "1")
        .await
        .unwrap();
    assert_eq!((again.created, again.workflow.id), (false, ids[0]));
    // Whether these may begin something depends on how the other one stands.
    for (digit, reuse, conflict) in [
        ("2", Reuse::IfClosed, Conflict::Existing),
        ("3", Reuse::IfClosed, Conflict::Existing),
        ("3", Reuse::Reject, Conflict::Terminate),
    ] {
        let refused = node.start_as(reuse, conflict, digit).await.unwrap_err();
        assert_eq!(refused, EngineError::Erased, "{digit} {reuse:?}");
    }
    let other = node.start_as(Reuse::Reject, Conflict::Existing, "3").await;
    assert_eq!(other.unwrap_err().code(), "idempotency_key_reused");
}

#[tokio::test]
pub async fn a_start_is_answered_with_one_workflow_whoever_else_starts_with_its_key_at_once() {
    let world = World::new();
    let node = world.node().await;
    let start = async |name: &str| loop {
        let request = StartRequest {
            conflict: Conflict::Terminate,
            request_id: Some(name.to_owned()),
            ..start_request("key")
        };
        match node.engine.start_workflow(request).await {
            Err(EngineError::Unavailable) => {}
            answer => return answer.unwrap(),
        }
    };
    let names = ["a", "b", "c"];
    let answers = join_all(names.map(start)).await;
    let ids: BTreeSet<WorkflowId> = answers.iter().map(|it| it.workflow.id).collect();
    assert_eq!(ids.len(), names.len());
    for (name, answer) in names.into_iter().zip(answers) {
        assert!(answer.created);
        let again = start(name).await;
        assert_eq!(
            (again.created, again.workflow.id),
            (false, answer.workflow.id)
        );
    }
    // Who takes what is there needs no name for it.
    let existing = |key, name: &str| StartRequest {
        reuse: Reuse::IfClosed,
        request_id: Some(name.to_owned()),
        ..start_request(key)
    };
    let (first, second) = tokio::join!(
        node.engine.start_workflow(existing("other", "a")),
        node.engine.start_workflow(existing("other", "b")),
    );
    assert_eq!(first.unwrap().workflow.id, second.unwrap().workflow.id);
}

#[tokio::test]
async fn a_lost_start_whose_workflow_was_deleted_is_answered_as_a_start_now() {
    let world = World::new();
    let node = world.node().await;
    let start = async |node: &Node, name: &str, digit: &str| {
        let request = StartRequest {
            version: Some(1),
            reuse: Reuse::IfClosed,
            request_id: Some(name.to_owned()),
            request_digest: digit.repeat(64),
            ..start_request("key")
        };
        node.engine.start_workflow(request).await
    };
    let mut ids = Vec::new();
    for (name, digit) in [("a", "1"), ("b", "2"), ("c", "1")] {
        let started = start(&node, name, digit).await.unwrap();
        node.end(started.workflow.id).await;
        ids.push(started.workflow.id);
    }
    let request = draft_request(envelope(), "2", Publish::Yes);
    node.engine.definitions().draft(request).await.unwrap();
    let request = RetirementRequest {
        tenant: TENANT.to_owned(),
        actor: "admin".to_owned(),
    };
    let definitions = node.engine.definitions();
    definitions.retire("flow", 1, &request).await.unwrap();
    // After a stop in good order the streams have heard of everything.
    node.stop().await;
    let node = world.node().await;
    let again = start(&node, "a", "1").await.unwrap();
    assert_eq!(again.workflow.id, ids[0]);
    for id in &ids[..2] {
        let request = DeletionRequest {
            tenant: TENANT.to_owned(),
            actor: "ops".to_owned(),
        };
        node.engine.delete(*id, request).await.unwrap();
    }
    let again = start(&node, "a", "1").await.unwrap();
    assert_eq!((again.created, again.workflow.id), (false, ids[2]));
    let refused = start(&node, "b", "2").await.unwrap_err();
    assert_eq!(refused.code(), "version_retired");
    let refused = start(&node, "d", "3").await.unwrap_err();
    assert_eq!(refused.code(), "idempotency_key_reused");
}

#[tokio::test]
pub async fn starts_at_once_with_one_key_leave_one_workflow_running_whatever_they_say() {
    for conflict in [Conflict::Existing, Conflict::Fail, Conflict::Terminate] {
        let world = World::new();
        let node = world.node().await;
        let starts = (0..40).map(|_| node.start_as(Reuse::IfClosed, conflict, "1"));
        let answers = join_all(starts).await;
        let started: BTreeSet<WorkflowId> =
            answers.iter().flatten().map(|it| it.workflow.id).collect();
        let n_created = answers.iter().flatten().filter(|it| it.created).count();
        assert_eq!(n_created, started.len());
        let mut n_running = 0;
        for id in &started {
            n_running += usize::from(node.stands(*id).await == Status::Running);
        }
        assert_eq!(n_running, 1, "{conflict:?}");
        assert!(conflict == Conflict::Terminate || started.len() == 1);
        for answer in answers {
            assert!(answer.is_ok() || answer.unwrap_err().code() == "workflow_running");
        }
    }
}

#[tokio::test]
pub async fn a_start_that_replaces_another_happens_wholly_or_not_at_all() {
    for fault in [
        Fault::Unavailable,
        Fault::UnknownAbsent,
        Fault::UnknownPresent,
    ] {
        let world = World::new();
        let plan = Plan {
            fault: Some((2, fault)),
            ..Plan::default()
        };
        let node = world.node_with(plan).await;
        let first = node
            .start_as(Reuse::Reject, Conflict::Fail, "1")
            .await
            .unwrap();
        let second = node.start_as(Reuse::Reject, Conflict::Terminate, "2").await;
        let happened = fault == Fault::UnknownPresent;
        assert_eq!(second.is_ok(), happened, "{fault:?}: {second:?}");
        let status = node.stands(first.workflow.id).await;
        assert_eq!(status == Status::Terminated, happened);
        let second = node.start_as(Reuse::Reject, Conflict::Existing, "2").await;
        assert_eq!(second.is_ok(), happened);
    }
}

#[tokio::test]
pub async fn a_workflow_is_started_again_on_another_version_and_both_know_of_each_other() {
    let world = World::new();
    let node = world.node().await;
    let first = node
        .start_as(Reuse::Reject, Conflict::Existing, "1")
        .await
        .unwrap();
    let old = first.workflow.id;
    let running = node.restart(old, None, "r").await.unwrap_err();
    assert_eq!(running.code(), "workflow_running");
    node.end(old).await;
    let mut next = envelope();
    next["title"] = json!("Another");
    let request = draft_request(next, "2", Publish::Yes);
    node.engine.definitions().draft(request).await.unwrap();

    let restarted = node.restart(old, Some(2), "r").await.unwrap();
    let new = restarted.workflow.id;
    assert_eq!((restarted.created, restarted.workflow.version), (true, 2));
    assert_eq!(restarted.workflow.restart_of, Some(old));
    let again = node.restart(old, Some(2), "r").await.unwrap();
    assert_eq!((again.created, again.workflow.id), (false, new));
    let other = node.restart(old, Some(1), "r").await.unwrap_err();
    assert_eq!(other.code(), "idempotency_key_reused");
    let unknown = node.restart(WorkflowId::new(1, [3; 15]), None, "r").await;
    assert_eq!(unknown.unwrap_err().status(), 404);
    node.stop().await;

    let node = world.node().await;
    let view = node.engine.view(TENANT, old).await.unwrap();
    assert_eq!((view.restarted_as, view.restart_of), (Some(new), None));
    let view = node.engine.view(TENANT, new).await.unwrap();
    assert_eq!((view.restarted_as, view.restart_of), (None, Some(old)));
    let turn = Worker::new("a").take(&node).await;
    assert_eq!(turn.arguments, json!({ "secret": "only-for-the-step" }));
}
