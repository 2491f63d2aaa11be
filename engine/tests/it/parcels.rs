//! Messages between workflows of different nodes, and schedules that move from node to node.

use std::collections::BTreeSet;
use std::time::Duration;

use poem::http::{Method, StatusCode};
use serde_json::json;

use btrust_engine::check::check;
use btrust_schemas::core::Status;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::schedules::{CatchUp, NewScheduleRequest, Overlap, ScheduleSpec};
use btrust_schemas::search::DeletionRequest;

use crate::children;
use crate::forwarding::{both_have_their_share, served};
use crate::http::{client, send};
use crate::world::{NOW_MS, Node, TENANT, WAIT_MS, Worker, World, complete, start_request};

const MINUTE_MS: i64 = 60_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Enough that their children, which lie anywhere, lie at both nodes: 2^-31 otherwise.
const N_PARENTS: usize = 32;

/// Starts `n` workflows of a definition at a node, and at no other.
async fn started_at(node: &Node, definition: &str, n: usize) -> Vec<WorkflowId> {
    let mut ids = Vec::new();
    for key in 0.. {
        if ids.len() == n {
            break;
        }
        let mut request = start_request(&key.to_string());
        request.definition = definition.to_owned();
        // What belongs to the other node is not started.
        if let Ok(started) = node.engine.start_workflow(request).await {
            ids.push(started.workflow.id);
        }
    }
    ids
}

/// Ends `n` turns at whichever node hands them out; returns the workflows of each node.
async fn filled(nodes: [&Node; 2], n: usize) -> [BTreeSet<WorkflowId>; 2] {
    let mut done = [BTreeSet::new(), BTreeSet::new()];
    let mut workers = [Worker::new("a"), Worker::new("b")];
    while done[0].len() + done[1].len() < n {
        for (index, node) in nodes.iter().enumerate() {
            let taken = workers[index].exchange(node, Vec::new(), 1, 100).await;
            for turn in taken.tasks {
                let report = complete(turn.key, "submitted");
                assert_eq!(workers[index].report(node, report).await, "accepted");
                done[index].insert(turn.workflow);
            }
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_child_of_another_node_starts_ends_and_tells_its_parent() {
    let world = World::new();
    let (near, _) = served(&world).await;
    children::publish_all(&near).await;
    let (far, _) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    let parents = started_at(&near, "spread", N_PARENTS).await;
    assert!(parents.iter().all(|it| near.engine.owns(*it)));
    let [here, there] = filled([&near, &far], N_PARENTS).await;
    assert!(!here.is_empty() && !there.is_empty());
    for parent in parents {
        let result = near.engine.result(TENANT, parent, WAIT_MS).await.unwrap();
        assert_eq!(result.status, Status::Succeeded, "{parent}");
    }
    // The last child still has to hear that its parent knows.
    while check(&*near.store).await.unwrap().n_open != 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owed_to_a_node_that_stops_reaches_the_next_owner() {
    let world = World::new();
    let (near, _) = served(&world).await;
    children::publish_all(&near).await;
    let (far, server) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    // Nobody hears the parcels: the server has ended, and the partitions are still there.
    server.stop().await;
    let parents = started_at(&near, "spread", N_PARENTS).await;
    far.stop().await;
    let done = filled([&near, &near], N_PARENTS).await;
    assert_eq!(done.iter().map(BTreeSet::len).sum::<usize>(), N_PARENTS);
    for parent in parents {
        let result = near.engine.result(TENANT, parent, WAIT_MS).await.unwrap();
        assert_eq!(result.status, Status::Succeeded, "{parent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_is_not_deleted_before_the_node_of_its_parent_has_heard_of_its_end() {
    let world = World::new();
    let (near, server) = served(&world).await;
    children::publish_all(&near).await;
    let (far, _) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    started_at(&near, "spread", N_PARENTS).await;
    let mut worker = Worker::new("a");
    let turn = worker.take(&far).await;
    let child = turn.workflow;
    let view = far.engine.view(TENANT, child).await.unwrap();
    let parent = view.lineage.parent.unwrap();
    assert!(near.engine.owns(parent));
    // Nobody hears at the parent's node, which has its partitions still.
    server.stop().await;
    let report = complete(turn.key, "submitted");
    assert_eq!(worker.report(&far, report).await, "accepted");
    let deleted = async || {
        let request = DeletionRequest {
            tenant: TENANT.to_owned(),
            actor: "ops".to_owned(),
        };
        let answer = far.engine.delete(child, request).await;
        answer.map_or_else(|it| it.code().to_owned(), |()| "deleted".to_owned())
    };
    assert_eq!(deleted().await, "messages_owed");
    near.stop().await;
    let mut watch = far.engine.watch_partitions();
    watch.wait_for(|it| *it == 256).await.unwrap();
    let result = far.engine.result(TENANT, parent, WAIT_MS).await.unwrap();
    assert_eq!(result.status, Status::Succeeded);
    // Then it may go, as soon as the streams have heard of everything.
    while ["messages_owed", "not_published_yet"].contains(&deleted().await.as_str()) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert_eq!(deleted().await, "workflow_unknown");
}

#[tokio::test]
async fn a_parcel_that_no_node_has_sealed_is_refused() {
    let world = World::new();
    let node = world.node().await;
    let id = node.started("key").await;
    let client = client(&world, &node);
    let path = format!("/internal/v1/workflows/{id}/parcels");
    for tenant in [TENANT, "nobody"] {
        let body = json!({ "tenant": tenant, "sealed": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" });
        let (status, problem) = send(&client, "core:call", Method::POST, &path, Some(body)).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::FORBIDDEN, &json!("parcel_forbidden"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_schedule_is_fired_by_the_owner_of_its_partition_and_by_the_next_one() {
    let world = World::new();
    let (near, _) = served(&world).await;
    let (far, server) = served(&world).await;
    both_have_their_share([&near, &far]).await;
    let client = client(&world, &near);
    let spec = ScheduleSpec {
        definition: "flow".to_owned(),
        version: None,
        input: json!({ "secret": "of the schedule" }),
        cron: "* * * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        overlap: Overlap::Allow,
        catch_up: CatchUp::Last,
        jitter_seconds: 0,
    };
    // Enough that both nodes have some.
    let names: Vec<String> = (0..N_PARENTS).map(|it| format!("s{it}")).collect();
    for name in &names {
        let request = NewScheduleRequest {
            tenant: TENANT.to_owned(),
            spec: spec.clone(),
            actor: "admin".to_owned(),
        };
        let path = format!("/internal/v1/tenants/{TENANT}/schedules/{name}");
        let body = serde_json::to_value(&request).unwrap();
        let (status, made) = send(&client, "core:call", Method::POST, &path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{made}");
    }
    world.clock.set(NOW_MS + MINUTE_MS);
    near.engine.wake().await;
    far.engine.wake().await;
    all_fired(&near, &names, 1).await;
    server.stop().await;
    far.stop().await;
    let mut watch = near.engine.watch_partitions();
    watch.wait_for(|it| *it == 256).await.unwrap();
    world.clock.set(NOW_MS + 2 * MINUTE_MS);
    near.engine.wake().await;
    all_fired(&near, &names, 2).await;
}

/// Waits until every schedule has started `n` workflows, and no more.
async fn all_fired(node: &Node, names: &[String], n: i64) {
    let last = btrust_platform::clock::rfc3339(NOW_MS + n * MINUTE_MS);
    for name in names {
        loop {
            let view = node.engine.schedules().get(TENANT, name).await.unwrap();
            if let Some(fired) = view.last.filter(|it| it.at == last) {
                assert!(fired.workflow.is_some(), "{:?}", fired.error);
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let started = crate::schedules::started(node).await;
    let n_expected = names.len() * usize::try_from(n).unwrap();
    assert_eq!(started.len(), n_expected.min(50));
}
