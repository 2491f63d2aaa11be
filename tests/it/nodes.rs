//! Three core nodes as processes on one database: one dies, and the others have its work within seconds.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use btrust_platform::testing::MariaDb;
use btrust_tests::effects::{Bank, expected_effects};
use btrust_tests::{EffectsWorker, Fleet, Service, binary, effects_of};

const N_NODES: usize = 3;
const N_WORKERS: usize = 2;
const N_WORKFLOWS: usize = 60;
const N_PARTITIONS: u64 = 256;
/// The promise: from a node's death until others serve all of its partitions.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// Longest time until everything that was started has ended.
const ENDS_WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many partitions a node serves; `None` when it does not answer.
async fn owned(bank: &Bank) -> Option<u64> {
    let (status, nodes) = bank.call(reqwest::Method::GET, "/nodes", None).await?;
    (status == 200).then(|| nodes["nOwned"].as_u64()).flatten()
}

/// Waits until these nodes serve every partition between them.
async fn serve_all(banks: &[Bank]) {
    let begun = Instant::now();
    loop {
        let counts = join_all(banks.iter().map(owned)).await;
        let sum: u64 = counts.iter().flatten().sum();
        // Each has some: nobody serves for the others.
        if sum == N_PARTITIONS && counts.iter().all(|it| it.is_some_and(|it| 0 < it)) {
            return;
        }
        assert!(begun.elapsed() < ENDS_WITHIN, "{counts:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_replaced_within_five_seconds_and_every_workflow_ends() {
    let fleet = Fleet::start().await;
    let database = MariaDb::start();
    let state = database.database().await;
    let keys = database.database().await;
    let keyring = fleet.path("keyring.json");
    let settings = [
        ("DATABASE_URL", state.as_str()),
        ("KEYS_DATABASE_URL", keys.as_str()),
        ("KEYRING", keyring.to_str().unwrap()),
    ];
    let mut nodes: Vec<Service> = Vec::new();
    for number in 0..N_NODES {
        let data = fleet.path(&format!("node-{number}"));
        nodes.push(fleet.core(&data, &settings).await);
    }
    let banks: Vec<Bank> = nodes
        .iter()
        .map(|it| Bank::new(&it.url, &fleet.gateway_token))
        .collect();
    banks[0].publish().await;
    serve_all(&banks).await;

    // Every worker is told of one node only, and hears of the others from it.
    let ledger = fleet.path("ledger");
    std::fs::create_dir(&ledger).unwrap();
    let workers: Vec<EffectsWorker> = (0..N_WORKERS)
        .map(|it| EffectsWorker::start(&fleet, &format!("worker-{it}"), &nodes[it].url, &ledger))
        .collect();
    let mut open = BTreeSet::new();
    for key in 0..N_WORKFLOWS {
        // Wherever it is said, its owner starts it.
        let started = banks[key % N_NODES].start(&format!("key-{key}")).await;
        open.insert(started.expect("an acknowledged start"));
    }
    let all = open.clone();

    let (dead, alive) = (nodes.len() - 1, &banks[..N_NODES - 1]);
    nodes[dead].kill();
    let died_at = Instant::now();
    let views = join_all(all.iter().map(|id| alive[0].view(id))).await;
    let is_running = |it: &&serde_json::Value| it["status"] == "running";
    assert!(
        views.iter().flatten().any(|it| is_running(&it)),
        "nothing was left to hand over"
    );
    serve_all(alive).await;
    let took = died_at.elapsed();
    assert!(took < HAND_OVER_MAX, "{took:?}");

    while !open.is_empty() {
        assert!(died_at.elapsed() < ENDS_WITHIN, "{} are open", open.len());
        for id in open.clone() {
            if let Some(view) = alive[0].view(&id).await
                && view["status"] != "running"
            {
                assert_eq!(view["status"], "succeeded", "{view}");
                open.remove(&id);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let ended = died_at.elapsed();
    drop(workers);
    let effects = effects_of(&ledger);
    assert_eq!(effects.keys().cloned().collect::<BTreeSet<_>>(), all);
    for (workflow, states) in &effects {
        assert_eq!(*states, expected_effects(), "{workflow}");
    }
    let checked = Command::new(binary("btrust"))
        .args(["engine", "check", "--json"])
        .env("DATABASE_URL", &state)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{shown}");
    println!(
        "{N_WORKFLOWS} workflows on {N_NODES} nodes: the partitions of the killed one were served again \
         after {} ms, the last workflow ended after {} ms",
        took.as_millis(),
        ended.as_millis()
    );
}
