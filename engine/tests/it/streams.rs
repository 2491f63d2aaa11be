//! What the two streams are told.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use btrust_platform::streams::{Stream, read_jsonl};

use crate::world::{TENANT, WAIT_MS, Worker, World, complete, start_request};

#[tokio::test]
pub async fn every_commit_is_published_in_order_and_chained() {
    let world = World::new();
    let node = world.node().await;
    let ids = [node.started("one").await, node.started("two").await];
    let mut worker = Worker::new("a");
    for _ in 0..4 {
        let turn = worker.take(&node).await;
        let outcome = if turn.state_name == "Fill" {
            "submitted"
        } else {
            "approved"
        };
        worker.report(&node, complete(turn.key, outcome)).await;
    }
    for id in ids {
        node.engine.result(TENANT, id, WAIT_MS).await.unwrap();
    }
    node.stop().await;

    let lines = read_jsonl(&world.streams(), Stream::Audit).unwrap();
    let mut heads: BTreeMap<String, (u64, u64, String)> = BTreeMap::new();
    for line in &lines {
        let text = std::str::from_utf8(line).unwrap();
        let record: Value = serde_json::from_str(text).unwrap();
        let data = &record["data"];
        let head = heads
            .entry(record["subject"].as_str().unwrap().to_owned())
            .or_insert((0, 0, "0".repeat(64)));
        assert_eq!(record["sequence"], (head.0 + 1).to_string());
        assert_eq!(data["firstEvent"], head.1 + 1);
        assert_eq!(data["previousHash"], head.2);
        let hash = data["hash"].as_str().unwrap();
        let (hashed, _) = text.rsplit_once(",\"hash\"").unwrap();
        assert_eq!(hash, hex::encode(Sha256::digest(hashed)));
        *head = (
            head.0 + 1,
            data["lastEvent"].as_u64().unwrap(),
            hash.to_owned(),
        );
    }
    assert_eq!(heads.len(), 2);
    assert!(heads.values().all(|it| it.0 == 3));

    let lines = read_jsonl(&world.streams(), Stream::Analytics).unwrap();
    let kinds: Vec<Value> = lines
        .iter()
        .map(|it| serde_json::from_slice(it).unwrap())
        .collect();
    let count = |kind: &str| kinds.iter().filter(|it| it["type"] == kind).count();
    assert_eq!(count("com.btrust.workflow.started"), 2);
    assert_eq!(count("com.btrust.step.started"), 4);
    assert_eq!(count("com.btrust.step.finished"), 4);
    assert_eq!(count("com.btrust.workflow.closed"), 2);
}

#[tokio::test]
pub async fn nothing_is_published_twice_across_a_restart_in_good_order() {
    let world = World::new();
    let node = world.node().await;
    node.started("one").await;
    node.stop().await;
    let node = world.node().await;
    node.started("two").await;
    node.stop().await;
    let lines = read_jsonl(&world.streams(), Stream::Audit).unwrap();
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn the_streams_carry_nothing_that_a_person_said() {
    let world = World::new();
    let node = world.node().await;
    let mut request = start_request("key");
    request.subject_ref = Some("customer-4711".to_owned());
    node.engine.start_workflow(request).await.unwrap();
    node.stop().await;
    for stream in [Stream::Audit, Stream::Analytics] {
        for line in read_jsonl(&world.streams(), stream).unwrap() {
            let text = std::str::from_utf8(&line).unwrap().to_owned();
            assert!(
                !text.contains("only-for-the-step") && !text.contains("4711"),
                "{text}"
            );
        }
    }
}
