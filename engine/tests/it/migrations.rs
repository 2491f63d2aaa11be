//! Running workflows on their way to another version.

use serde_json::{Value, json};

use btrust_engine::EngineError;
use btrust_platform::streams::{Stream, read_jsonl};
use btrust_schemas::core::Status;
use btrust_schemas::definition::{MigrationRequest, MigrationView, Publish};
use btrust_schemas::ids::WorkflowId;

use crate::world::{Node, TENANT, Worker, World, complete, draft_request, envelope};

fn migration(dry_run: bool) -> MigrationRequest {
    MigrationRequest {
        tenant: TENANT.to_owned(),
        from: 1,
        to: 2,
        dry_run,
        limit: None,
        cursor: None,
        actor: "admin".to_owned(),
    }
}

/// A version that ends after the form, without a review.
fn short() -> Value {
    let mut short = envelope();
    short["definition"]["States"]["Fill"]["Next"] = json!("Approved");
    let states = short["definition"]["States"].as_object_mut();
    states.unwrap().remove("Look");
    short
}

impl Node {
    /// Publishes `envelope` as the next version.
    async fn next_version(&self, envelope: Value, digit: &str) {
        let request = draft_request(envelope, digit, Publish::Yes);
        self.engine.definitions().draft(request).await.unwrap();
    }

    async fn migrate(&self, dry_run: bool) -> MigrationView {
        self.engine
            .migrate("flow", migration(dry_run))
            .await
            .unwrap()
    }

    /// A workflow of version 1 that stands at its review.
    async fn at_the_review(&self, worker: &mut Worker) -> WorkflowId {
        let id = self.started("at the review").await;
        let turn = worker.take(self).await;
        worker.report(self, complete(turn.key, "submitted")).await;
        id
    }

    async fn version(&self, id: WorkflowId) -> u32 {
        self.engine.view(TENANT, id).await.unwrap().version
    }
}

/// Code, count and examples.
type Reason<'v> = (&'v str, u64, Vec<WorkflowId>);

fn counts(view: &MigrationView) -> (u64, u64, Vec<Reason<'_>>) {
    let reasons = view.reasons.iter();
    let reasons = reasons.map(|it| (it.code.as_str(), it.count, it.examples.clone()));
    (view.moved, view.cannot, reasons.collect())
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_says_what_a_move_then_does() {
    let world = World::new();
    let node = world.node().await;
    let mut worker = Worker::new("a");
    let ahead = node.at_the_review(&mut worker).await;
    let behind = node.started("behind").await;
    node.next_version(short(), "1").await;
    let newer = node.started("newer").await;

    let (n_commits, before) = (node.store.n_commits(), node.history(behind).await);
    let tried = node.migrate(true).await;
    let reasons = vec![("migration_state_missing", 1, vec![ahead])];
    assert_eq!(counts(&tried), (1, 1, reasons));
    assert!(tried.reasons[0].message.contains("`Look`"), "{tried:?}");
    assert_eq!(tried.next, None);
    assert_eq!(node.store.n_commits(), n_commits);
    assert_eq!(node.history(behind).await, before);
    assert_eq!(node.version(behind).await, 1);

    assert_eq!(node.migrate(false).await, tried);
    assert_eq!(node.store.n_commits(), n_commits + 1);
    assert_eq!(
        node.history(behind).await.last().unwrap(),
        "WorkflowMigrated"
    );
    let versions = [node.version(ahead).await, node.version(behind).await];
    assert_eq!((versions, node.version(newer).await), ([1, 2], 2));
    // What has moved is not looked at again.
    assert_eq!(counts(&node.migrate(false).await).0, 0);
}

#[tokio::test]
async fn what_has_moved_ends_on_the_new_version() {
    for restarts in [false, true] {
        let world = World::new();
        let mut node = world.node().await;
        let id = node.started("key").await;
        let mut worker = Worker::new("a");
        let turn = worker.take(&node).await;
        node.next_version(short(), "1").await;
        assert_eq!(node.migrate(false).await.moved, 1);
        if restarts {
            node.stop().await;
            node = world.node().await;
        }
        assert_eq!(node.version(id).await, 2);
        // The turn that a worker has had since before the move counts.
        let code = worker.report(&node, complete(turn.key, "submitted")).await;
        assert_eq!(code, "accepted");
        let ended = node.engine.view(TENANT, id).await.unwrap();
        assert_eq!((ended.status, ended.version), (Status::Succeeded, 2));
        assert_eq!(ended.outcomes.get("Look"), None);
        node.stop().await;

        let lines = read_jsonl(&world.streams(), Stream::Audit).unwrap();
        let records: Vec<Value> = lines
            .iter()
            .map(|it| serde_json::from_slice(it).unwrap())
            .collect();
        let versions: Vec<_> = records.iter().map(|it| &it["data"]["version"]).collect();
        assert_eq!(versions, [1, 2, 2]);
        let moved = &records[1]["data"]["events"][0];
        assert_eq!(moved["type"], "WorkflowMigrated");
        assert_eq!((&moved["from"], &moved["to"]), (&json!(1), &json!(2)));
    }
}

#[tokio::test]
async fn a_workflow_moves_only_where_the_new_version_is_proven_from_its_evidence() {
    let node = World::new().node().await;
    let mut worker = Worker::new("a");
    let ahead = node.at_the_review(&mut worker).await;
    let behind = node.started("behind").await;
    // Version 1 kept no evidence of the form, so who has passed it has none.
    let mut strict = envelope();
    strict["evidence"] = json!({ "filled": { "state": "Fill", "outcome": "submitted" } });
    strict["decisions"] = json!({ "approved": { "anyOf": [["filled"]] }, "rejected": {} });
    let states = &mut strict["definition"]["States"];
    states["Fill"]["Next"] = json!("Filled");
    states["Filled"] = json!({
        "Type": "Choice", "Default": "Rejected",
        "Choices": [{ "Condition": "{% $fill = 'submitted' %}", "Next": "Look" }],
    });
    states["Rejected"] = json!({ "Type": "Succeed", "Output": { "decision": "rejected" } });
    let contract = json!({ "outcomes": ["submitted", "expired"], "hash": "of the form" });
    strict["contracts"] = json!({ "kyc:form@1": contract });
    node.next_version(strict, "1").await;

    for dry_run in [true, false] {
        let view = node.migrate(dry_run).await;
        let reasons = vec![("migration_unproven", 1, vec![ahead])];
        assert_eq!(counts(&view), (1, 1, reasons), "{view:?}");
    }
    assert_eq!(node.version(ahead).await, 1);
    assert_eq!(node.version(behind).await, 2);
}

#[tokio::test]
async fn a_workflow_inside_a_parallel_stays() {
    let node = World::new().node().await;
    let mut both = envelope();
    let states = &mut both["definition"]["States"];
    let branch = |name: &str| {
        let mut task = envelope()["definition"]["States"][name].clone();
        let fields = task.as_object_mut().unwrap();
        fields.remove("Next");
        fields.insert("End".to_owned(), json!(true));
        json!({ "StartAt": name, "States": { (name): task } })
    };
    let branches = json!([branch("Fill"), branch("Look")]);
    *states = json!({
        "Both": { "Type": "Parallel", "Branches": branches, "Next": "Approved" },
        "Approved": states["Approved"],
    });
    both["definition"]["StartAt"] = json!("Both");
    node.next_version(both.clone(), "1").await;
    let id = node.started("key").await;
    both["title"] = json!("Another title");
    node.next_version(both, "2").await;

    let request = MigrationRequest {
        from: 2,
        to: 3,
        ..migration(false)
    };
    let view = node.engine.migrate("flow", request).await.unwrap();
    let reasons = vec![("migration_inside", 1, vec![id])];
    assert_eq!(counts(&view), (0, 1, reasons));
    assert_eq!(node.version(id).await, 2);
}

#[tokio::test]
pub async fn a_version_is_emptied_page_by_page() {
    let node = World::new().node().await;
    for key in ["1", "2", "3"] {
        node.started(key).await;
    }
    node.next_version(short(), "1").await;
    let mut request = MigrationRequest {
        limit: Some(2),
        ..migration(false)
    };
    let first = node.engine.migrate("flow", request.clone()).await.unwrap();
    assert_eq!((first.moved, first.next.is_some()), (2, true));
    request.cursor = first.next;
    let second = node.engine.migrate("flow", request).await.unwrap();
    assert_eq!((second.moved, second.next), (1, None));
}

#[tokio::test]
async fn nothing_moves_to_what_nothing_starts_on() {
    let node = World::new().node().await;
    let id = node.started("key").await;
    let draft = draft_request(short(), "1", Publish::No);
    node.engine.definitions().draft(draft).await.unwrap();
    let of = |tenant: &str, to: u32| MigrationRequest {
        tenant: tenant.to_owned(),
        to,
        ..migration(false)
    };
    for (request, expected) in [
        (of(TENANT, 2), (409, "version_not_published")),
        (of(TENANT, 3), (404, "definition_unknown")),
        (of("other", 1), (404, "definition_unknown")),
    ] {
        let error: EngineError = node.engine.migrate("flow", request).await.unwrap_err();
        assert_eq!((error.status(), error.code()), expected);
    }
    let same = node.engine.migrate("flow", of(TENANT, 1)).await.unwrap();
    let reasons = vec![("migration_same_version", 1, vec![id])];
    assert_eq!(counts(&same), (0, 1, reasons));
}
