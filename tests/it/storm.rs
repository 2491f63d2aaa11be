//! A storm over many nodes: workers, core nodes and the database die or stand still, and nothing is lost.

#![expect(
    clippy::unwrap_used,
    reason = "a process of the test that cannot be handled ends the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use btrust_platform::testing::MariaDb;
use btrust_tests::effects::{Bank, N_EFFECTS, expected_effects};
use btrust_tests::{EffectsWorker, Fleet, Service, binary, effects_of};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

const N_NODES: usize = 3;
const N_WORKERS: usize = 3;
/// Longest time from the end of the storm to the end of the last workflow. Source: the promise.
const ENDS_WITHIN: Duration = Duration::from_mins(2);
/// How long somebody stands still: longer than the lease of a node (3.5 s).
const STALL: Duration = Duration::from_secs(6);
/// Starts that are under way at the same time.
const STARTERS: usize = 8;

/// How hard the storm is.
struct Scale {
    n_workflows: usize,
    n_faults: usize,
}

/// The full count with `BTRUST_SOAK`, otherwise a part of it.
fn scale() -> Scale {
    if std::env::var_os("BTRUST_SOAK").is_some() {
        Scale {
            n_workflows: 2_000,
            n_faults: 40,
        }
    } else {
        Scale {
            n_workflows: 150,
            n_faults: 5,
        }
    }
}

/// What happens in a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    NodeKilled,
    /// For longer than its lease.
    NodeStalled,
    WorkerKilled,
    WorkerStalled,
    DatabaseKilled,
}

const BLOWS: [Blow; 5] = [
    Blow::NodeKilled,
    Blow::NodeStalled,
    Blow::WorkerKilled,
    Blow::WorkerStalled,
    Blow::DatabaseKilled,
];

/// Lets a process stand still for a while.
async fn stall(pid: u32) {
    signal(pid, "STOP");
    tokio::time::sleep(STALL).await;
    signal(pid, "CONT");
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.is_ok_and(|it| it.success()));
}

struct Storm {
    fleet: Fleet,
    database: MariaDb,
    settings: Vec<(String, String)>,
    nodes: Vec<Service>,
    workers: Vec<EffectsWorker>,
    ledger: PathBuf,
    random: StdRng,
    /// What has happened, and how often.
    fired: BTreeMap<Blow, usize>,
    /// Writes of stale owners that were refused, by node and process.
    fenced: BTreeMap<(usize, u32), u64>,
}

impl Storm {
    async fn gather() -> Self {
        let fleet = Fleet::start().await;
        let database = MariaDb::start();
        let settings = vec![
            ("DATABASE_URL".to_owned(), database.database().await),
            ("KEYS_DATABASE_URL".to_owned(), database.database().await),
            (
                "KEYRING".to_owned(),
                fleet.path("keyring.json").to_string_lossy().into_owned(),
            ),
        ];
        let ledger = fleet.path("ledger");
        std::fs::create_dir(&ledger).unwrap();
        let mut storm = Self {
            fleet,
            database,
            settings,
            nodes: Vec::new(),
            workers: Vec::new(),
            ledger,
            random: StdRng::seed_from_u64(2_000),
            fired: BTreeMap::new(),
            fenced: BTreeMap::new(),
        };
        for number in 0..N_NODES {
            let node = storm.node(number);
            node.ready().await;
            storm.nodes.push(node);
        }
        for number in 0..N_WORKERS {
            let worker = storm.worker(number);
            storm.workers.push(worker);
        }
        storm
    }

    fn node(&self, number: usize) -> Service {
        let settings: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.fleet
            .core_unready(&self.fleet.path(&format!("node-{number}")), &settings)
    }

    fn worker(&self, number: usize) -> EffectsWorker {
        let node = &self.nodes[number % self.nodes.len()].url;
        EffectsWorker::start(&self.fleet, &format!("worker-{number}"), node, &self.ledger)
    }

    /// One blow, and what has to be done so that things go on.
    async fn strike(&mut self, blow: Blow) {
        let number = self.random.random_range(0..N_NODES);
        self.count_fenced().await;
        match blow {
            Blow::NodeKilled => {
                self.nodes[number].restart();
                self.nodes[number].ready().await;
            }
            Blow::NodeStalled => stall(self.nodes[number].pid()).await,
            Blow::WorkerKilled => {
                self.workers[number].kill();
                self.workers[number] = self.worker(number);
            }
            Blow::WorkerStalled => stall(self.workers[number].pid()).await,
            Blow::DatabaseKilled => self.database.restart(),
        }
        *self.fired.entry(blow).or_default() += 1;
        self.count_fenced().await;
        let pause = self.random.random_range(500..2_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Notes what the nodes that are alive say.
    async fn count_fenced(&mut self) {
        for (number, node) in self.nodes.iter().enumerate() {
            let Ok(response) = reqwest::get(format!("{}/metrics", node.url)).await else {
                continue;
            };
            let text = response.text().await.unwrap_or_default();
            let mut lines = text.lines();
            let count = lines.find_map(|it| it.strip_prefix("engine_fenced_total "));
            if let Some(count) = count.and_then(|it| it.parse().ok()) {
                self.fenced.insert((number, node.pid()), count);
            }
        }
    }
}

/// Starts workflows one after the other at whatever node answers; returns their ids.
async fn starter(banks: Arc<Vec<Bank>>, keys: Vec<String>) -> Vec<String> {
    let mut ids = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let mut turn = number;
        loop {
            turn += 1;
            // The same key wherever it is said again: one workflow.
            if let Some(id) = banks[turn % banks.len()].start(key).await {
                ids.push(id);
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_over_three_nodes_loses_no_effect_and_doubles_none() {
    let Scale {
        n_workflows,
        n_faults,
    } = scale();
    let mut storm = Storm::gather().await;
    let banks: Vec<Bank> = storm
        .nodes
        .iter()
        .map(|it| Bank::new(&it.url, &storm.fleet.gateway_token))
        .collect();
    banks[0].publish().await;
    let banks = Arc::new(banks);
    let keys: Vec<String> = (0..n_workflows).map(|it| format!("key-{it}")).collect();
    let starters: Vec<_> = keys
        .chunks(n_workflows.div_ceil(STARTERS))
        .map(|it| tokio::spawn(starter(Arc::clone(&banks), it.to_vec())))
        .collect();
    // Each of them, and again in another order.
    let mut blows: Vec<Blow> = Vec::new();
    while blows.len() < n_faults {
        let mut all = BLOWS;
        all.shuffle(&mut storm.random);
        blows.extend(all);
    }
    for blow in blows {
        storm.strike(blow).await;
    }
    let over = Instant::now();

    let mut open: BTreeSet<String> = BTreeSet::new();
    for started in join_all(starters).await {
        open.extend(started.unwrap());
    }
    assert_eq!(open.len(), n_workflows, "one workflow for each key");
    let all = open.clone();
    while !open.is_empty() {
        let left = over.elapsed();
        assert!(
            left < ENDS_WITHIN,
            "{} workflows have not ended: {:?}",
            open.len(),
            open.first()
        );
        let asked: Vec<String> = open.iter().take(64).cloned().collect();
        for (id, bank) in asked.iter().zip(banks.iter().cycle()) {
            if let Some(view) = bank.view(id).await
                && view["status"] != "running"
            {
                assert_eq!(view["status"], "succeeded", "{view}");
                open.remove(id);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ended_after = over.elapsed();

    let effects = effects_of(&storm.ledger);
    assert_eq!(effects.keys().cloned().collect::<BTreeSet<_>>(), all);
    for (workflow, states) in &effects {
        assert_eq!(*states, expected_effects(), "{workflow}");
    }
    storm.count_fenced().await;
    assert!(BLOWS.iter().all(|it| storm.fired.contains_key(it)));
    let checked = Command::new(binary("btrust"))
        .args(["engine", "check", "--json"])
        .env("DATABASE_URL", &storm.settings[0].1)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
    let prevented =
        std::fs::read_to_string(storm.ledger.with_extension("prevented")).unwrap_or_default();
    println!(
        "{n_workflows} workflows, {} effects, {:?}; all ended {:.1} s after the storm; {} writes of \
         stale owners fenced, {} repeated turns found their effect done",
        n_workflows * N_EFFECTS,
        storm.fired,
        ended_after.as_secs_f64(),
        storm.fenced.values().sum::<u64>(),
        prevented.lines().count(),
    );
}
