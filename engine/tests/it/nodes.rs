//! Several engines on one database, each on a runtime of its own, as processes are.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use btrust_engine::check::check;
use btrust_engine::{EngineError, LEASE_MS};
use btrust_platform::streams::{Stream, read_jsonl};
use btrust_schemas::core::Status;
use btrust_schemas::exchange::ExchangeResponse;
use btrust_schemas::ids::WorkflowId;

use crate::world::{
    Fault, Node, Plan, TENANT, WAIT_MS, Worker, World, ask, checkpoint, complete, start_request,
};

/// The hand-over of the issue: within five seconds of a node's death.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// Long enough for a busy machine; no test waits for its end.
const PATIENCE: Duration = Duration::from_mins(1);
const N_PARTITIONS: usize = 256;

/// A node as a process: it can be killed and stopped with everything that it does.
struct Process {
    node: Option<Node>,
    runtime: Option<Runtime>,
}

impl Process {
    async fn start(world: &Arc<World>, name: &'static str) -> Self {
        let plan = Plan {
            member: Some(name),
            ..Plan::default()
        };
        Self::start_with(world, plan).await
    }

    async fn start_with(world: &Arc<World>, plan: Plan) -> Self {
        // One thread, so that whoever stops it stops everything.
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let world = Arc::clone(world);
        let handle = runtime.handle().clone();
        let node = tokio::task::spawn_blocking(move || handle.block_on(world.node_with(plan)));
        Self {
            node: Some(node.await.unwrap()),
            runtime: Some(runtime),
        }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().unwrap()
    }

    /// Ends as a process does that is killed: nothing is given back and nobody is told.
    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    async fn stop(mut self) {
        let node = self.node.take().unwrap();
        let runtime = self.runtime.take().unwrap();
        runtime.spawn(node.stop()).await.unwrap();
        runtime.shutdown_background();
    }

    /// Stops every task until the returned sender is dropped.
    async fn stall(&self) -> mpsc::Sender<()> {
        let (resume, resumed) = mpsc::channel::<()>();
        let (stalls, is_stalled) = tokio::sync::oneshot::channel();
        self.runtime.as_ref().unwrap().spawn(async move {
            stalls.send(()).unwrap();
            assert!(resumed.recv().is_err());
        });
        is_stalled.await.unwrap();
        resume
    }

    fn n_owned(&self) -> usize {
        self.node().engine.nodes().n_owned
    }

    /// Waits until the node serves as many partitions.
    async fn has(&self, n_owned: usize) {
        let mut watch = self.node().engine.watch_partitions();
        let waited = tokio::time::timeout(PATIENCE, watch.wait_for(|it| *it == n_owned)).await;
        let has = self.n_owned();
        assert!(waited.is_ok(), "{has} partitions instead of {n_owned}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts a workflow at whichever node owns its key.
async fn started(processes: &[&Process], key: &str) -> (WorkflowId, usize) {
    for (index, process) in processes.iter().enumerate() {
        match process.node().start(key).await {
            Ok(started) => return (started.workflow.id, index),
            Err(error) => assert_eq!(error, EngineError::Elsewhere, "{key}"),
        }
    }
    panic!("nobody owns {key}");
}

/// Plays the review of a workflow that waits for it, and hears its end.
async fn finish(process: &Process, worker: &mut Worker, n_workflows: usize) {
    let mut n_closed = 0;
    while n_closed < n_workflows {
        let turn = worker.take(process.node()).await;
        let is_form = turn.state_name == "Fill";
        let outcome = if is_form { "submitted" } else { "approved" };
        let code = worker
            .report(process.node(), complete(turn.key, outcome))
            .await;
        assert_eq!(code, "accepted");
        n_closed += usize::from(!is_form);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_node_that_dies_is_replaced_within_five_seconds() {
    let world = Arc::new(World::new());
    let mut dies = Process::start(&world, "dies").await;
    dies.has(N_PARTITIONS).await;
    let lives = Process::start(&world, "lives").await;
    lives.has(N_PARTITIONS / 2).await;
    dies.has(N_PARTITIONS / 2).await;
    let mut by_owner = [Vec::new(), Vec::new()];
    for key in 0..20 {
        let (id, index) = started(&[&dies, &lives], &key.to_string()).await;
        by_owner[index].push(id);
    }
    let [of_dead, of_living] = by_owner;
    assert!(!of_dead.is_empty() && !of_living.is_empty());
    // One of them waits for a person, with a timer.
    let mut worker = Worker::new("a");
    let asked = worker.take(dies.node()).await;
    worker.report(dies.node(), ask(asked.key, 60_000)).await;

    dies.kill();
    let died_at = Instant::now();
    lives.has(N_PARTITIONS).await;
    let took = died_at.elapsed();
    println!(
        "the hand-over of 128 partitions after a silent death took {} ms",
        took.as_millis()
    );
    assert!(took < HAND_OVER_MAX, "{took:?}");
    assert!(
        Duration::from_millis(LEASE_MS.unsigned_abs()) / 2 < took,
        "the lease was not waited for"
    );

    // Its timer, its open turns and its keys are there.
    let (same, _) = started(&[&lives], "0").await;
    assert!(of_dead.contains(&same) || of_living.contains(&same));
    world.clock.advance(60_000);
    lives.node().engine.wake().await;
    let mut worker = Worker::new("b");
    let n_workflows = of_dead.len() + of_living.len();
    finish(&lives, &mut worker, n_workflows).await;
    for id in of_dead.iter().chain(&of_living) {
        let view = lives.node().engine.view(TENANT, *id).await.unwrap();
        assert_eq!(view.status, Status::Succeeded, "{id}");
    }
    let checked = check(&*lives.node().store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_node_that_stops_in_good_order_is_not_waited_for() {
    let world = Arc::new(World::new());
    let first = Process::start(&world, "first").await;
    first.has(N_PARTITIONS).await;
    let id = first.node().started("key").await;
    let second = Process::start(&world, "second").await;
    second.has(N_PARTITIONS / 2).await;
    first.has(N_PARTITIONS / 2).await;
    first.stop().await;
    let stopped_at = Instant::now();
    second.has(N_PARTITIONS).await;
    let took = stopped_at.elapsed();
    println!(
        "the hand-over of 128 partitions in good order took {} ms",
        took.as_millis()
    );
    assert!(
        took < Duration::from_millis(LEASE_MS.unsigned_abs()) / 2,
        "{took:?}"
    );
    assert_eq!(Worker::new("a").take(second.node()).await.workflow, id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_commit_of_a_node_that_stood_still_is_fenced() {
    let world = Arc::new(World::new());
    let plan = Plan {
        member: Some("stalls"),
        fault: Some((2, Fault::Late)),
        ..Plan::default()
    };
    let stalls = Process::start_with(&world, plan).await;
    stalls.has(N_PARTITIONS).await;
    let id = stalls.node().started("key").await;
    let mut worker = Worker::new("a");
    let turn = worker.take(stalls.node()).await;
    let engine = stalls.node().engine.clone();
    let request = worker.request(vec![complete(turn.key, "expired")], 0, 0);
    let queues = crate::world::EVERYTHING.clone();
    let asked = tokio::spawn(async move { engine.exchange("workers", &queues, request).await });
    // The commit is on its way to the database when everything stops.
    stalls.node().store.fired().await;
    let resume = stalls.stall().await;

    let other = Process::start(&world, "other").await;
    other.has(N_PARTITIONS).await;
    // The other one goes on with the workflow from its last commit.
    let mut successor = Worker::new("b");
    let turn = successor.take(other.node()).await;
    let code = successor
        .report(other.node(), complete(turn.key, "submitted"))
        .await;
    assert_eq!(code, "accepted");

    let gate = &stalls.node().store.gate;
    gate.open();
    drop(resume);
    // Whoever waited at the node that stood still hears that nothing is certain.
    match asked.await.unwrap() {
        Ok(answer) => {
            let answer: ExchangeResponse = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer.acks, []);
        }
        Err(error) => assert_eq!(error.code(), "unavailable"),
    }
    // It comes back under another name, and gets its share again under new epochs.
    stalls.has(N_PARTITIONS / 2).await;
    other.has(N_PARTITIONS / 2).await;
    let committed = gate.committed.lock().unwrap().clone();
    assert_eq!(committed.unwrap().fenced, [id.partition()]);
    let view = other.node().engine.view(TENANT, id).await.unwrap();
    assert_eq!(view.outcomes["Fill"], "submitted");
    // Both read the same: the one who does not own it asks the store.
    assert_eq!(stalls.node().engine.view(TENANT, id).await.unwrap(), view);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn a_third_node_gets_its_share_and_its_death_gives_it_back() {
    let world = Arc::new(World::new());
    let first = Process::start(&world, "first").await;
    let second = Process::start(&world, "second").await;
    first.has(N_PARTITIONS / 2).await;
    second.has(N_PARTITIONS / 2).await;
    let mut ids = Vec::new();
    for key in 0..12 {
        ids.push(started(&[&first, &second], &key.to_string()).await.0);
    }
    let mut third = Process::start(&world, "third").await;
    let shares = || [&first, &second, &third].map(Process::n_owned);
    let began = Instant::now();
    let is_fair = |it: [usize; 3]| {
        it.iter().all(|it| [85, 86].contains(it)) && it.iter().sum::<usize>() == N_PARTITIONS
    };
    while !is_fair(shares()) {
        assert!(began.elapsed() < PATIENCE, "{:?}", shares());
        tokio::task::yield_now().await;
    }
    println!(
        "a third node had its share after {} ms",
        began.elapsed().as_millis()
    );
    third.kill();
    first.has(N_PARTITIONS / 2).await;
    second.has(N_PARTITIONS / 2).await;
    for process in [&first, &second] {
        let owned = ids
            .iter()
            .filter(|it| process.node().engine.owns(**it))
            .count();
        finish(process, &mut Worker::new("a"), owned).await;
    }
    let checked = check(&*first.node().store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
pub async fn streams_go_on_where_the_last_owner_was() {
    let world = Arc::new(World::new());
    let mut first = Process::start(&world, "first").await;
    first.has(N_PARTITIONS).await;
    let ids = [
        first.node().started("one").await,
        first.node().started("two").await,
    ];
    let second = Process::start(&world, "second").await;
    first.has(N_PARTITIONS / 2).await;
    second.has(N_PARTITIONS / 2).await;
    first.kill();
    second.has(N_PARTITIONS).await;
    finish(&second, &mut Worker::new("a"), ids.len()).await;
    for id in ids {
        second
            .node()
            .engine
            .result(TENANT, id, WAIT_MS)
            .await
            .unwrap();
    }
    second.stop().await;
    let mut records: BTreeMap<(String, u64), Vec<u8>> = BTreeMap::new();
    for name in ["first", "second"] {
        for line in read_jsonl(&world.streams().join(name), Stream::Audit).unwrap() {
            let record: Value = serde_json::from_slice(&line).unwrap();
            let subject = record["subject"].as_str().unwrap().to_owned();
            let sequence = record["sequence"].as_str().unwrap().parse().unwrap();
            let before = records.insert((subject, sequence), line.to_vec());
            // At least once, and always the same bytes.
            assert!(before.is_none_or(|it| it == line));
        }
    }
    for id in ids {
        let of_workflow = records
            .keys()
            .filter(|(it, _)| it.contains(&id.to_string()));
        let sequences: Vec<u64> = of_workflow.map(|(_, sequence)| *sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_could_not_be_given_back_are_given_back_at_the_next_look() {
    let world = Arc::new(World::new());
    let plan = Plan {
        member: Some("first"),
        n_refused_give_backs: 1,
        ..Plan::default()
    };
    let first = Process::start_with(&world, plan).await;
    first.has(N_PARTITIONS).await;
    let mut ids = Vec::new();
    for key in 0..8 {
        ids.push(first.node().started(&key.to_string()).await);
    }
    let second = Process::start(&world, "second").await;
    second.has(N_PARTITIONS / 2).await;
    first.has(N_PARTITIONS / 2).await;
    for process in [&first, &second] {
        let owned = ids.iter().filter(|it| process.node().engine.owns(**it));
        finish(process, &mut Worker::new("a"), owned.count()).await;
    }
    let checked = check(&*first.node().store).await.unwrap();
    assert_eq!((checked.n_open, checked.offenders), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_adopted_is_not_given_back_before_it_is_served() {
    let world = Arc::new(World::new());
    let first = Process::start(&world, "first").await;
    first.has(N_PARTITIONS).await;
    let plan = Plan {
        member: Some("second"),
        fault: Some((1, Fault::Late)),
        ..Plan::default()
    };
    let second = Process::start_with(&world, plan).await;
    second.has(N_PARTITIONS / 2).await;
    first.has(N_PARTITIONS / 2).await;
    // The one lane of the second node waits for a commit.
    let engine = second.node().engine.clone();
    let starting = tokio::spawn(async move {
        let mut key = 0;
        loop {
            match engine.start_workflow(start_request(&key.to_string())).await {
                Err(EngineError::Elsewhere) => key += 1,
                started => return started,
            }
        }
    });
    second.node().store.fired().await;
    first.stop().await;
    // It has taken partitions that its lane cannot adopt yet.
    let leases = async || second.node().registry.survey().await.unwrap().leases.len();
    while leases().await <= N_PARTITIONS / 2 {
        tokio::task::yield_now().await;
    }
    let n_free = N_PARTITIONS - leases().await;
    // With a third node they are too many: it gets what is free, and the rest when they are served.
    let third = Process::start(&world, "third").await;
    third.has(n_free).await;
    assert_eq!(second.n_owned(), N_PARTITIONS / 2);
    second.node().store.gate.open();
    let started = starting.await.unwrap().unwrap();
    third.has(N_PARTITIONS / 2).await;
    second.has(N_PARTITIONS / 2).await;
    let is_owned = [&second, &third].map(|it| it.node().engine.owns(started.workflow.id));
    assert_eq!(is_owned.iter().filter(|it| **it).count(), 1);
    let owner = if is_owned[0] { &second } else { &third };
    finish(owner, &mut Worker::new("a"), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_at_a_node_that_has_not_recovered_its_partition_is_not_accepted() {
    let world = Arc::new(World::new());
    let first = Process::start(&world, "first").await;
    first.has(N_PARTITIONS).await;
    let id = first.node().started("key").await;
    let mut worker = Worker::new("a");
    let key = worker.take(first.node()).await.key;
    let second = Process::start(&world, "second").await;
    second.has(N_PARTITIONS / 2).await;
    first.has(N_PARTITIONS / 2).await;
    let is_first = first.node().engine.owns(id);
    let (owner, next) = if is_first {
        (first, second)
    } else {
        (second, first)
    };
    let queues = crate::world::EVERYTHING.clone();
    let request = worker.request(vec![checkpoint(key)], 0, 0);
    let refused = next
        .node()
        .engine
        .exchange("workers", &queues, request)
        .await;
    assert_eq!(refused.unwrap_err().code(), "unavailable");

    owner.stop().await;
    next.has(N_PARTITIONS).await;
    // Nobody was told that the effect had begun, so whoever gets the turn now may begin it.
    let mut other = Worker::new("b");
    let turn = other.take(next.node()).await;
    assert_eq!((turn.key, turn.checkpoint), (key, None));
    assert_eq!(other.report(next.node(), checkpoint(key)).await, "accepted");
}
