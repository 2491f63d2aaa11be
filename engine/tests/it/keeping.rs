//! How workflows are found, counted, kept and deleted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use btrust_engine::check::check;
use btrust_engine::check_lists::check_lists;
use btrust_engine::retention::Retained;
use btrust_platform::streams::{Stream, read_jsonl};
use btrust_schemas::commands::{ActRequest, RestartRequest};
use btrust_schemas::core::{CancelRequest, ListQuery, StartRequest, Status};
use btrust_schemas::definition::{MigrationRequest, Publish};
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::search::{
    AttributesRequest, CountGroup, CountQuery, DeletionRequest, HoldRequest,
};

use crate::world::{
    NOW_MS, Node, TENANT, World, any_file_has, draft_request, envelope, start_request,
};

const DAY_MS: i64 = 86_400_000;

/// The world's definition, with search attributes and a policy.
fn found_and_kept() -> Value {
    let mut envelope = envelope();
    envelope["retention"] = json!("age-30d");
    envelope["inputSchema"]["properties"]["branch"] = json!({ "type": "string" });
    envelope["searchAttributes"] = json!({
        "branch": { "type": "keyword", "from": "/branch" },
        "amount": { "type": "integer" },
        "vip": { "type": "boolean" },
    });
    envelope
}

impl Node {
    async fn publish_found_and_kept(&self) {
        let request = draft_request(found_and_kept(), "7", Publish::Yes);
        self.engine.definitions().draft(request).await.unwrap();
    }

    async fn start_with(&self, key: &str, branch: &str, amount: i64) -> WorkflowId {
        let request = StartRequest {
            input: json!({ "secret": "only-for-the-step", "branch": branch }),
            search_attributes: BTreeMap::from([("amount".to_owned(), json!(amount))]),
            ..start_request(key)
        };
        self.engine
            .start_workflow(request)
            .await
            .unwrap()
            .workflow
            .id
    }

    async fn cancel(&self, id: WorkflowId) {
        let request = CancelRequest {
            tenant: TENANT.to_owned(),
            reason: None,
            grace_seconds: 0,
            actor: "bank".to_owned(),
        };
        self.engine.cancel(id, request).await.unwrap();
    }

    /// The ids on the one page of a list.
    async fn found(&self, change: impl FnOnce(&mut ListQuery)) -> Vec<WorkflowId> {
        let mut query = ListQuery {
            tenant: TENANT.to_owned(),
            ..ListQuery::default()
        };
        change(&mut query);
        let page = self.engine.list(query).await.unwrap();
        assert_eq!(page.next, None);
        page.workflows.iter().map(|it| it.id).collect()
    }

    async fn by_attribute(&self, filters: Value) -> Vec<WorkflowId> {
        self.found(|it| it.attributes = Some(filters.to_string()))
            .await
    }

    async fn change(&self, id: WorkflowId, changes: Value) -> Result<(), String> {
        let request = AttributesRequest {
            tenant: TENANT.to_owned(),
            changes: serde_json::from_value(changes).unwrap(),
            actor: "bank".to_owned(),
        };
        let answer = self.engine.change_attributes(id, request).await;
        answer.map(drop).map_err(|it| it.code().to_owned())
    }

    async fn hold(&self, id: WorkflowId, hold: bool) {
        let request = HoldRequest {
            tenant: TENANT.to_owned(),
            hold,
            actor: "ops".to_owned(),
        };
        let view = self.engine.hold(id, request).await.unwrap();
        assert_eq!(view.legal_hold, hold);
    }

    async fn delete(&self, id: WorkflowId) -> Result<(), String> {
        let request = DeletionRequest {
            tenant: TENANT.to_owned(),
            actor: "ops".to_owned(),
        };
        let deleted = self.engine.delete(id, request).await;
        deleted.map_err(|it| it.code().to_owned())
    }

    async fn counts(&self, change: impl FnOnce(&mut CountQuery)) -> Vec<CountGroup> {
        let mut query = CountQuery {
            tenant: TENANT.to_owned(),
            ..CountQuery::default()
        };
        change(&mut query);
        let view = self.engine.counts(query).await.unwrap();
        assert!(view.is_exact);
        if view.groups.is_empty() {
            return vec![CountGroup {
                count: view.count,
                ..CountGroup::default()
            }];
        }
        view.groups
    }

    /// Nothing stands still, and counters and indexes say what the rows say.
    async fn assert_sound(&self) {
        let checked = check_lists(&*self.lists).await.unwrap();
        assert!(checked.is_clean() && checked.is_recounted, "{checked:?}");
        assert_eq!(check(&*self.store).await.unwrap().offenders, []);
    }
}

#[tokio::test]
pub async fn a_workflow_is_found_by_what_its_start_its_input_and_later_changes_say() {
    let world = World::new();
    let node = world.node().await;
    node.publish_found_and_kept().await;
    let north = node.start_with("a", "NORTH", 5).await;
    let south = node.start_with("b", "SOUTH", 50).await;
    let branch = |text: &str| json!([{ "name": "branch", "equals": text }]);
    assert_eq!(node.by_attribute(branch("NORTH")).await, [north]);
    let above = json!([{ "name": "amount", "from": "1" }]);
    assert_eq!(
        node.by_attribute(above).await,
        [south, north],
        "the greatest value first"
    );
    let both = json!([{ "name": "amount", "to": "6" }, { "name": "branch", "equals": "SOUTH" }]);
    assert_eq!(node.by_attribute(both).await, []);

    node.change(
        north,
        json!({ "branch": "canary-west", "vip": true, "amount": null }),
    )
    .await
    .unwrap();
    assert_eq!(node.by_attribute(branch("NORTH")).await, []);
    assert_eq!(node.by_attribute(branch("canary-west")).await, [north]);
    assert_eq!(
        node.by_attribute(json!([{ "name": "vip", "equals": "true" }]))
            .await,
        [north]
    );
    assert_eq!(
        node.by_attribute(json!([{ "name": "amount", "equals": "5" }]))
            .await,
        []
    );
    let view = node.engine.view(TENANT, north).await.unwrap();
    assert_eq!(
        json!(view.search_attributes),
        json!({ "branch": "canary-west", "vip": true })
    );
    // The same again is no event.
    let n_events = node.history(north).await.len();
    node.change(north, json!({ "vip": true })).await.unwrap();
    assert_eq!(node.history(north).await.len(), n_events);
    assert_eq!(
        node.history(north).await.last().unwrap(),
        "WorkflowAnnotated"
    );

    let refused = node.change(north, json!({ "undeclared": 1 })).await;
    assert_eq!(refused, Err("search_attribute_invalid".to_owned()));
    let request = StartRequest {
        search_attributes: BTreeMap::from([("amount".to_owned(), json!("five"))]),
        ..start_request("c")
    };
    let error = node.engine.start_workflow(request).await.unwrap_err();
    assert_eq!(
        (error.code(), error.status()),
        ("search_attribute_invalid", 422)
    );

    // It is so after a restart, and a closed workflow takes changes too.
    node.cancel(south).await;
    node.change(south, json!({ "branch": "EAST" }))
        .await
        .unwrap();
    node.stop().await;
    let node = world.node().await;
    assert_eq!(node.by_attribute(branch("canary-west")).await, [north]);
    assert_eq!(node.by_attribute(branch("EAST")).await, [south]);
    node.assert_sound().await;
    node.stop().await;
    let audit = read_jsonl(&world.streams(), Stream::Audit).unwrap();
    let audit: Vec<String> = audit
        .iter()
        .map(|it| String::from_utf8_lossy(it).into_owned())
        .collect();
    assert!(
        audit
            .iter()
            .any(|it| it.contains("searchAttributesChanged") && it.contains("\"vip\""))
    );
    assert!(
        !any_file_has(&world.streams(), b"canary-west"),
        "names only"
    );
}

#[tokio::test]
pub async fn a_workflow_that_is_started_again_is_found_by_what_it_was_found_by() {
    let world = World::new();
    let node = world.node().await;
    node.publish_found_and_kept().await;
    let first = node.start_with("a", "NORTH", 5).await;
    node.change(first, json!({ "vip": true })).await.unwrap();
    node.cancel(first).await;
    let request = RestartRequest {
        tenant: TENANT.to_owned(),
        version: None,
        idempotency_key: "again".to_owned(),
        request_digest: "1".repeat(64),
        actor: "ops".to_owned(),
    };
    let again = node.engine.restart(first, request).await.unwrap();
    let second = again.workflow.id;
    let filters = json!([
        { "name": "amount", "equals": "5" },
        { "name": "branch", "equals": "NORTH" },
        { "name": "vip", "equals": "true" },
    ]);
    assert_eq!(node.by_attribute(filters).await.len(), 2);

    let request = ActRequest {
        tenant: TENANT.to_owned(),
        reason: None,
        actor: "ops".to_owned(),
    };
    node.engine.pause(second, request).await.unwrap();
    assert_eq!(node.found(|it| it.paused = Some(true)).await, [second]);
    assert_eq!(node.found(|it| it.paused = Some(false)).await, [first]);
    node.assert_sound().await;
    node.stop().await;
}

#[tokio::test]
pub async fn counts_are_exact_whatever_happens_to_workflows() {
    let world = World::new();
    let midnight_ms = (NOW_MS / DAY_MS + 1) * DAY_MS;
    world.clock.set(midnight_ms - 60_000);
    let node = world.node().await;
    let mut ids = Vec::new();
    for key in ["a", "b", "c", "d"] {
        ids.push(node.started(key).await);
    }
    node.publish_found_and_kept().await;
    // Into the next day, and not as far as the timeout of a task.
    world.clock.set(midnight_ms + 60_000);
    ids.push(node.start_with("e", "NORTH", 1).await);
    node.cancel(ids[0]).await;
    let group = |status, count| CountGroup {
        status: Some(status),
        count,
        ..CountGroup::default()
    };
    let by_status = |it: &mut CountQuery| it.group_by = Some("status".to_owned());
    let now = [group(Status::Cancelled, 1), group(Status::Running, 4)];
    assert_eq!(node.counts(by_status).await, now);

    let moved = MigrationRequest {
        tenant: TENANT.to_owned(),
        from: 1,
        to: 2,
        dry_run: false,
        limit: None,
        cursor: None,
        actor: "admin".to_owned(),
    };
    assert_eq!(node.engine.migrate("flow", moved).await.unwrap().moved, 3);
    let of_version = |it: &mut CountQuery| (it.version, it.is_open) = (Some(2), Some(true));
    assert_eq!(node.counts(of_version).await[0].count, 4);

    let days = |it: &mut CountQuery| {
        it.group_by = Some("day,status".to_owned());
        (it.from, it.to) = (Some("2027-01-15".to_owned()), Some("2027-01-17".to_owned()));
    };
    let started: Vec<_> = node
        .counts(days)
        .await
        .into_iter()
        .map(|it| (it.day.unwrap(), it.count))
        .collect();
    let on = |day: &str, count| (day.to_owned(), count);
    assert_eq!(
        started,
        [
            on("2027-01-15", 1),
            on("2027-01-15", 3),
            on("2027-01-16", 1)
        ]
    );
    let closed = |it: &mut CountQuery| {
        days(it);
        it.basis = Some("closed".to_owned());
    };
    let closed: Vec<_> = node
        .counts(closed)
        .await
        .into_iter()
        .map(|it| (it.day.unwrap(), it.count))
        .collect();
    assert_eq!(closed, [on("2027-01-16", 1)]);
    let one_by_one = |it: &mut CountQuery| {
        it.attributes = Some(r#"[{"name":"branch","equals":"NORTH"}]"#.to_owned());
    };
    assert_eq!(node.counts(one_by_one).await[0].count, 1);
    node.assert_sound().await;
    node.stop().await;
}

#[tokio::test]
pub async fn a_closed_workflow_is_deleted_after_its_time_unless_it_is_held() {
    let world = World::new();
    let node = world.node().await;
    node.publish_found_and_kept().await;
    let (kept, held) = (
        node.start_with("a", "NORTH", 1).await,
        node.start_with("b", "NORTH", 2).await,
    );
    assert_eq!(node.delete(kept).await, Err("workflow_open".to_owned()));
    node.cancel(kept).await;
    node.cancel(held).await;
    node.hold(held, true).await;
    assert_eq!(
        node.delete(kept).await,
        Err("retention_not_over".to_owned())
    );
    world.clock.advance(30 * DAY_MS);
    // A restart in good order relays what is left, so the streams have heard of everything.
    node.stop().await;
    let node = world.node().await;
    assert_eq!(node.delete(held).await, Err("legal_hold".to_owned()));
    let gone = node.engine.let_go().await.unwrap();
    assert_eq!(gone.n_deleted, 1);
    assert_eq!(
        node.engine.view(TENANT, kept).await.unwrap_err().status(),
        404
    );
    assert_eq!(node.found(|_| {}).await, [held]);
    assert_eq!(node.delete(kept).await, Err("workflow_unknown".to_owned()));
    // Its key starts a workflow of its own now.
    let again = node.start_with("a", "NORTH", 3).await;
    assert_ne!(again, kept);
    node.assert_sound().await;
    node.hold(held, false).await;
    node.stop().await;

    let node = world.node().await;
    // The streams have heard of the first deletion: what was left of it goes with its key.
    node.delete(held).await.unwrap();
    let gone = node.engine.let_go().await.unwrap();
    assert_eq!(
        gone,
        Retained {
            n_deleted: 0,
            n_purged: 1
        }
    );
    assert!(
        node.workflow_keys
            .sealer(TENANT, kept)
            .await
            .unwrap()
            .is_none()
    );
    assert!(node.store.history_rows(kept).await.is_empty());
    node.assert_sound().await;
    let totals = node
        .counts(|it| it.group_by = Some("status".to_owned()))
        .await;
    assert_eq!(totals.iter().map(|it| it.count).sum::<u64>(), 1);
    let days = node.counts(|it| {
        (it.from, it.to) = (Some("2027-01-01".to_owned()), Some("2027-03-01".to_owned()));
    });
    assert_eq!(days.await[0].count, 3, "statistics stay");
    node.stop().await;
    let audit = read_jsonl(&world.streams(), Stream::Audit).unwrap();
    let deleted: Vec<Value> = audit
        .iter()
        .map(|it| serde_json::from_slice(it).unwrap())
        .filter(|it: &Value| it["type"] == "com.btrust.workflow.deleted")
        .collect();
    let told: Vec<_> = deleted
        .iter()
        .map(|it| (&it["subject"], &it["data"]["reason"], &it["data"]["by"]))
        .collect();
    let id = |it: WorkflowId| json!(it.to_string());
    assert_eq!(
        told,
        [
            (&id(kept), &json!("retention"), &Value::Null),
            (&id(held), &json!("operator"), &json!("ops"))
        ]
    );
}

#[tokio::test]
pub async fn a_workflow_that_cannot_be_opened_can_be_held_all_the_same() {
    let world = World::new();
    let node = world.node().await;
    node.publish_found_and_kept().await;
    let id = node.start_with("a", "NORTH", 1).await;
    node.cancel(id).await;
    node.stop().await;
    let node = world.node().await;
    node.workflow_keys.destroy(TENANT, id).await.unwrap();
    assert!(node.engine.view(TENANT, id).await.is_err());
    node.hold(id, true).await;
    node.hold(id, true).await;
    let of_another = HoldRequest {
        tenant: "other".to_owned(),
        hold: false,
        actor: "ops".to_owned(),
    };
    let unknown = node.engine.hold(id, of_another).await.unwrap_err();
    assert_eq!(unknown.status(), 404);
    assert_eq!(node.delete(id).await, Err("legal_hold".to_owned()));
    world.clock.advance(30 * DAY_MS);
    assert_eq!(node.engine.let_go().await.unwrap().n_deleted, 0);
    node.hold(id, false).await;
    node.delete(id).await.unwrap();
    node.assert_sound().await;
    node.stop().await;
}

#[tokio::test]
pub async fn batches_of_a_partition_go_on_after_its_last_row_was_purged() {
    let world = World::new();
    let node = world.node().await;
    node.publish_found_and_kept().await;
    let id = node.start_with("a", "NORTH", 1).await;
    node.cancel(id).await;
    world.clock.advance(30 * DAY_MS);
    node.stop().await;
    let node = world.node().await;
    node.delete(id).await.unwrap();
    node.stop().await;
    let node = world.node().await;
    assert_eq!(node.engine.let_go().await.unwrap().n_purged, 1);
    node.stop().await;
    // The next workflow of the partition, after a restart that found no row of it.
    let node = world.node().await;
    let again = node.start_with("a", "NORTH", 1).await;
    assert_eq!(again.partition(), id.partition(), "the key decides");
    node.stop().await;
    let node = world.node().await;
    assert_eq!(
        node.store.last_batch(id.partition()).await,
        4,
        "start, end, deletion, start"
    );
    node.stop().await;
    let audit = read_jsonl(&world.streams(), Stream::Audit).unwrap();
    let started = audit
        .iter()
        .filter(|it| String::from_utf8_lossy(it).contains(&again.to_string()));
    assert_eq!(started.count(), 1, "the relay has not passed it over");
}

#[tokio::test]
pub async fn a_definition_names_a_policy_that_the_operator_knows() {
    let node = World::new().node().await;
    let mut unknown = envelope();
    unknown["retention"] = json!("for-ever");
    let request = draft_request(unknown, "8", Publish::No);
    let error = node.engine.definitions().draft(request).await.unwrap_err();
    assert_eq!((error.code(), error.status()), ("retention_unknown", 422));
    node.stop().await;
}
