//! What happens outside workflows, in the act log of its tenant.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest, Sha256};

use btrust_engine::act_log::log_of;
use btrust_engine::check::check;
use btrust_engine::check_lists::check_lists;
use btrust_engine::store::{ActsWanted, Store};
use btrust_platform::streams::{Stream, read_jsonl};
use btrust_schemas::events::{Act, ActBy, ActKind, ActOutcome, ActTarget, ActorKind, ReportedAct};

use crate::world::{Fault, NOW_MS, Node, Plan, TENANT, World};

fn act(n: u8) -> ReportedAct {
    let by = ActBy {
        kind: ActorKind::Client,
        id: Some("admin".to_owned()),
    };
    let target = ActTarget {
        definition: Some("flow".to_owned()),
        ..ActTarget::default()
    };
    let act = Act {
        at_ms: NOW_MS - 1_000,
        by,
        outcome: ActOutcome::Done,
        status: Some(200),
        request_id: Some("request-1".to_owned()),
        service: "gateway".to_owned(),
        target,
    };
    ReportedAct {
        id: hex::encode([n; 16]),
        kind: ActKind::DefinitionStored,
        act,
    }
}

impl Node {
    async fn record(&self, tenant: &str, acts: &[u8]) -> Result<(), String> {
        let acts = acts.iter().map(|it| act(*it)).collect();
        let recorded = self.engine.record_acts(tenant.to_owned(), acts).await;
        recorded.map_err(|it| it.code().to_owned())
    }
}

impl World {
    /// The acts of a tenant's log in the audit stream, each once, after a look at the chain.
    fn recorded(&self, tenant: &str) -> Vec<String> {
        let mut chain = "0".repeat(64);
        let mut seen = BTreeSet::new();
        let mut acts = Vec::new();
        for line in read_jsonl(&self.streams(), Stream::Audit).unwrap() {
            let text = String::from_utf8(line.to_vec()).unwrap();
            let record: Value = serde_json::from_str(&text).unwrap();
            let is_theirs = record["source"] == format!("/tenants/{tenant}");
            let subject = record["subject"].as_str().unwrap();
            // A crash publishes a second again, with the same bytes.
            if !is_theirs || !subject.starts_with("log_") || !seen.insert(text.clone()) {
                continue;
            }
            let data = &record["data"];
            assert_eq!(record["sequence"], (acts.len() + 1).to_string(), "{text}");
            assert_eq!(data["previousHash"], chain, "{text}");
            let (hashed, _) = text.rsplit_once(",\"hash\"").unwrap();
            chain = hex::encode(Sha256::digest(hashed));
            assert_eq!(data["hash"], chain, "{text}");
            acts.push(data["act"].as_str().unwrap()[..2].to_owned());
        }
        acts
    }
}

#[tokio::test]
pub async fn an_act_is_recorded_once_in_the_chain_of_its_tenant() {
    let world = World::new();
    let node = world.node().await;
    assert_eq!(node.record(TENANT, &[1, 2, 2]).await, Ok(()));
    assert_eq!(node.record("other", &[1]).await, Ok(()));
    assert_eq!(node.record(TENANT, &[2, 3]).await, Ok(()));
    assert_eq!(
        node.record(TENANT, &[1, 2, 3]).await,
        Ok(()),
        "all of them are known"
    );
    node.stop().await;
    let node = world.node().await;
    assert_eq!(node.record(TENANT, &[3, 4]).await, Ok(()));
    node.stop().await;
    assert_eq!(world.recorded(TENANT), ["01", "02", "03", "04"]);
    assert_eq!(world.recorded("other"), ["01"]);
}

#[tokio::test]
pub async fn acts_that_come_together_share_a_commit() {
    let world = World::new();
    let node = world.node().await;
    let before = node.store.n_commits();
    let one_by_one = (1..=50).map(|n| {
        let node = &node;
        async move { node.record(TENANT, &[n]).await.unwrap() }
    });
    futures_util::future::join_all(one_by_one).await;
    assert!(
        node.store.n_commits() - before < 25,
        "{}",
        node.store.n_commits() - before
    );
    node.stop().await;
    assert_eq!(world.recorded(TENANT).len(), 50);
}

#[tokio::test]
async fn a_round_has_so_many_acts_and_the_next_one_has_the_others() {
    let world = World::new();
    let node = world.node().await;
    let reported = |n: u16| {
        let acts = (0..100_u16).map(move |it| {
            let number = (100 * n + it).to_be_bytes();
            let id = hex::encode([[number[0]; 8], [number[1]; 8]].concat());
            ReportedAct { id, ..act(0) }
        });
        node.engine.record_acts(TENANT.to_owned(), acts.collect())
    };
    let answers = futures_util::future::join_all((0..12).map(reported)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let log = log_of(TENANT, node.store.n_partitions());
    let rows = node.store.outbox(log.partition(), 0, 99).await.unwrap();
    let sizes: Vec<usize> = rows.iter().map(|it| it.public.lines().count()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1_200);
    assert!(sizes.iter().all(|it| *it <= 512), "{sizes:?}");
    // Whoever waits for a later round is heard before the end.
    let late = futures_util::future::join_all((12..24).map(reported));
    let (late, ()) = tokio::join!(late, async {
        tokio::task::yield_now().await;
        node.shutdown();
    });
    assert!(late.iter().all(Result::is_ok), "{late:?}");
    node.stop().await;
}

#[tokio::test]
pub async fn a_kill_at_a_commit_neither_loses_nor_doubles_an_act() {
    for fault in [
        Fault::DiesBefore,
        Fault::DiesAfter,
        Fault::Unavailable,
        Fault::UnknownAbsent,
        Fault::UnknownPresent,
    ] {
        let world = World::new();
        let plan = Plan {
            fault: Some((1, fault)),
            ..Plan::default()
        };
        let node = world.node_with(plan).await;
        let heard = tokio::select! {
            heard = node.record(TENANT, &[1]) => Some(heard),
            () = async {
                node.store.fired().await;
                if !matches!(fault, Fault::DiesBefore | Fault::DiesAfter) {
                    std::future::pending::<()>().await;
                }
            } => None,
        };
        let was_refused = matches!(fault, Fault::Unavailable | Fault::UnknownAbsent);
        assert_eq!(
            heard.is_some_and(|it| it.is_err()),
            was_refused,
            "{fault:?}"
        );
        // Whoever has not heard, reports again.
        let node = world.node().await;
        assert_eq!(node.record(TENANT, &[1]).await, Ok(()));
        node.stop().await;
        assert_eq!(world.recorded(TENANT), ["01"], "{fault:?}");
    }
}

#[tokio::test]
pub async fn an_act_log_is_no_workflow() {
    let world = World::new();
    let node = world.node().await;
    node.started("one").await;
    assert_eq!(node.record(TENANT, &[1]).await, Ok(()));
    let log = log_of(TENANT, node.store.n_partitions());
    assert!(node.engine.view(TENANT, log).await.is_err());
    assert!(node.engine.history(TENANT, log, 0, None).await.is_err());
    let checked = check(&*node.store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (1, Vec::new()));
    let lists = check_lists(&*node.lists).await.unwrap();
    assert_eq!((lists.n_workflows, lists.is_clean()), (1, true));
    let wanted = ActsWanted {
        log,
        acts: vec![act(1).id, act(2).id],
    };
    let logs = node.store.act_logs(&[wanted]).await.unwrap();
    assert_eq!((logs[0].n_audit, &logs[0].known), (1, &vec![act(1).id]));
    node.engine.let_go().await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn what_is_no_act_of_ours_is_refused() {
    let world = World::new();
    let node = world.node().await;
    for change in [
        (|it: &mut ReportedAct| it.id = "Erika".to_owned()) as fn(&mut ReportedAct),
        |it| it.id = "A".repeat(32),
        |it| it.act.request_id = Some("x".repeat(65)),
    ] {
        let mut wrong = act(1);
        change(&mut wrong);
        let refused = node
            .engine
            .record_acts(TENANT.to_owned(), vec![wrong])
            .await;
        assert_eq!(refused.unwrap_err().code(), "act_invalid");
    }
    let many = (0..=100).map(act).collect();
    let refused = node.engine.record_acts(TENANT.to_owned(), many).await;
    assert_eq!(refused.unwrap_err().code(), "act_invalid");
    assert_eq!(node.record("", &[1]).await, Err("act_invalid".to_owned()));
    node.stop().await;
    assert_eq!(world.recorded(TENANT), [""; 0]);
}
