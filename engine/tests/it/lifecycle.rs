//! The life of a version: draft, published, live, retired; and workflows that stay on theirs.

use serde_json::json;

use btrust_engine::{EngineError, SecondPerson};
use btrust_schemas::core::{StartRequest, Status};
use btrust_schemas::definition::{
    DefinitionView, LiveRequest, LiveView, PublicationRequest, Publish, RetirementRequest,
    VersionStatus,
};
use btrust_schemas::ids::WorkflowId;

use crate::world::{
    Node, Plan, TENANT, Worker, World, complete, draft_request, envelope, start_request,
};

impl Node {
    /// Stores a version that ends after the form, without a review.
    async fn draft_short(&self, publish: Publish) -> DefinitionView {
        let mut short = envelope();
        short["definition"]["States"]["Fill"]["Next"] = json!("Approved");
        short["definition"]["States"]
            .as_object_mut()
            .unwrap()
            .remove("Look");
        let request = draft_request(short, "1", publish);
        let drafted = self.engine.definitions().draft(request).await.unwrap();
        drafted.definition
    }

    async fn publish(&self, version: u32, actor: &str) -> Result<DefinitionView, EngineError> {
        let request = PublicationRequest {
            tenant: TENANT.to_owned(),
            live: true,
            actor: actor.to_owned(),
        };
        let definitions = self.engine.definitions();
        definitions.publish("flow", version, &request).await
    }

    async fn retire(&self, version: u32) -> Result<DefinitionView, EngineError> {
        let request = RetirementRequest {
            tenant: TENANT.to_owned(),
            actor: "admin".to_owned(),
        };
        let definitions = self.engine.definitions();
        definitions.retire("flow", version, &request).await
    }

    async fn move_live(
        &self,
        version: u32,
        revision: Option<u64>,
    ) -> Result<LiveView, EngineError> {
        let request = LiveRequest {
            tenant: TENANT.to_owned(),
            version,
            revision,
            actor: "admin".to_owned(),
        };
        let definitions = self.engine.definitions();
        definitions.move_live("flow", &request).await
    }

    async fn start_on(&self, key: &str, version: Option<u32>) -> Result<u32, EngineError> {
        let request = StartRequest {
            version,
            ..start_request(key)
        };
        let started = self.engine.start_workflow(request).await?;
        Ok(started.workflow.version)
    }

    /// Ends a workflow, one step after the other; how many steps it took.
    async fn finish(&self, id: WorkflowId) -> usize {
        let mut worker = Worker::new(&format!("finish {id}"));
        let mut n_steps = 0;
        while self.engine.view(TENANT, id).await.unwrap().status == Status::Running {
            let turn = worker.take(self).await;
            worker.report(self, complete(turn.key, "submitted")).await;
            n_steps += 1;
        }
        n_steps
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, EngineError>, expected: (u16, &str)) {
    let error = answer.unwrap_err();
    assert_eq!((error.status(), error.code()), expected);
}

#[tokio::test]
pub async fn nothing_starts_on_a_draft_and_everything_on_what_is_live() {
    let node = World::new().node().await;
    let draft = node.draft_short(Publish::No).await;
    assert_eq!(draft.version, 2);
    assert_eq!((draft.status, draft.live), (VersionStatus::Draft, false));
    assert_refused(
        node.start_on("a", Some(2)).await,
        (409, "version_not_published"),
    );
    assert_eq!(node.start_on("b", None).await, Ok(1));

    let published = node.publish(2, "boss").await.unwrap();
    assert_eq!(published.status, VersionStatus::Published);
    assert_eq!(published.author.as_deref(), Some("admin"));
    assert_eq!(published.publisher.as_deref(), Some("boss"));
    assert!(published.live);
    assert_eq!(node.start_on("c", None).await, Ok(2));
    assert_eq!(node.start_on("d", Some(1)).await, Ok(1));
}

#[tokio::test]
async fn an_act_done_again_changes_nothing_and_gets_the_same_answer() {
    let world = World::new();
    let node = world.node().await;
    node.draft_short(Publish::No).await;
    let published = node.publish(2, "boss").await.unwrap();
    let back = node.move_live(1, None).await.unwrap();
    assert_eq!((back.version, back.revision), (1, 3));
    let retired = node.retire(2).await;

    world.clock.advance(60_000);
    assert_eq!(node.move_live(1, None).await, Ok(back.clone()));
    // Even with what the caller had seen before its own move.
    assert_eq!(node.move_live(1, Some(2)).await, Ok(back));
    assert_eq!(node.retire(2).await, retired);
    assert_refused(node.publish(2, "boss").await, (409, "version_retired"));
    // Published again, version 1 is not made live again nor published by somebody else.
    let again = node.publish(1, "late").await.unwrap();
    assert_eq!(again.publisher.as_deref(), Some("admin"));
    let drafted = node.draft_short(Publish::IfAllowed).await;
    assert_eq!(
        (drafted.version, drafted.status),
        (2, VersionStatus::Retired)
    );
    let versions = node.engine.definitions().versions(TENANT, "flow").await;
    let versions = versions.unwrap();
    assert_eq!(versions.versions.len(), 2);
    assert_eq!(versions.versions[0].published_at, published.published_at);
    let moves: Vec<_> = versions.moves.iter().map(|it| it.version).collect();
    assert_eq!(moves, [1, 2, 1]);
}

#[tokio::test]
pub async fn a_retired_version_takes_no_starts_and_the_live_one_is_not_retired() {
    let node = World::new().node().await;
    assert_refused(node.retire(1).await, (409, "version_live"));
    assert_refused(node.retire(7).await, (404, "definition_unknown"));
    let request = || StartRequest {
        version: Some(1),
        ..start_request("early")
    };
    let early = node.engine.start_workflow(request()).await.unwrap();

    node.draft_short(Publish::No).await;
    assert_refused(node.retire(2).await, (409, "version_not_published"));
    node.publish(2, "boss").await.unwrap();
    node.retire(1).await.unwrap();
    assert_refused(
        node.start_on("late", Some(1)).await,
        (409, "version_retired"),
    );
    assert_refused(node.move_live(1, None).await, (409, "version_retired"));
    // The start that was answered before is answered again.
    let again = node.engine.start_workflow(request()).await.unwrap();
    assert_eq!(
        (again.created, again.workflow.id),
        (false, early.workflow.id)
    );
    let mut other = request();
    other.request_digest = "2".repeat(64);
    let reused = node.engine.start_workflow(other).await;
    assert_refused(reused, (409, "idempotency_key_reused"));
}

#[tokio::test]
pub async fn the_alias_moves_only_for_who_has_seen_where_it_is() {
    let node = World::new().node().await;
    node.draft_short(Publish::No).await;
    assert_refused(
        node.move_live(2, None).await,
        (409, "version_not_published"),
    );
    node.publish(2, "boss").await.unwrap();
    assert_refused(node.move_live(1, Some(1)).await, (412, "live_moved"));
    let moved = node.move_live(1, Some(2)).await.unwrap();
    assert_eq!((moved.version, moved.revision), (1, 3));
    let live = node.engine.definitions().live(TENANT, "flow").await;
    assert_eq!(live, Ok(moved));
    let live = node.engine.definitions().live("other", "flow").await;
    assert_refused(live, (404, "definition_unknown"));
}

#[tokio::test]
async fn where_the_tenant_asks_for_it_somebody_else_publishes() {
    let plan = Plan {
        second_person: SecondPerson::parse(TENANT),
        ..Plan::default()
    };
    let node = World::new().node_with(plan).await;
    // The world's own version has stayed a draft.
    assert_refused(node.start_on("a", None).await, (404, "definition_not_live"));
    let live = node.engine.definitions().live(TENANT, "flow").await;
    assert_refused(live, (404, "definition_not_live"));
    let at_once = draft_request(envelope(), "0", Publish::Yes);
    let at_once = node.engine.definitions().draft(at_once).await;
    assert_refused(at_once, (403, "second_person_required"));
    assert_refused(
        node.publish(1, "admin").await,
        (403, "second_person_required"),
    );
    let published = node.publish(1, "second").await.unwrap();
    assert_eq!(published.publisher.as_deref(), Some("second"));
    assert_eq!(node.start_on("a", None).await, Ok(1));
}

#[tokio::test]
async fn a_workflow_ends_on_the_version_it_started_on() {
    let world = World::new();
    let node = world.node().await;
    let long = node.started("long").await;
    node.draft_short(Publish::Yes).await;
    let short = node.started("short").await;
    node.move_live(1, None).await.unwrap();
    node.retire(2).await.unwrap();
    node.stop().await;

    // Nothing of it is in memory any more.
    let node = world.node().await;
    let version = async |id| node.engine.view(TENANT, id).await.unwrap().version;
    assert_eq!((version(long).await, version(short).await), (1, 2));
    let mut worker = Worker::new("both");
    let first = [worker.take(&node).await, worker.take(&node).await];
    for turn in first {
        worker.report(&node, complete(turn.key, "submitted")).await;
    }
    let ended = node.engine.view(TENANT, short).await.unwrap();
    assert_eq!((ended.status, ended.version), (Status::Succeeded, 2));
    assert_eq!(node.finish(long).await, 1);
    let ended = node.engine.view(TENANT, long).await.unwrap();
    assert_eq!((ended.status, ended.version), (Status::Succeeded, 1));
}
