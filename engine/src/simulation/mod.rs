//! The engine, its workers, clients and store in one thread, under one seed.
//!
//! Nodes run the engine as it is; everything around it is simulated: the database with its locks and
//! lost connections, keys, streams, the network, workers, persons, and the clock. Tokio's clock is
//! paused, so time passes only when everybody waits, and every decision comes from the seed. While
//! faults are on, nodes crash, stand still and are taken over, calls are lost, late and doubled, and
//! the store fails in every way that it may. After that everything has to come right.
//!
//! `BTRUST_SIMULATION_SEEDS` says how many seeds the long run takes; see `engine/SIMULATION.md`.

mod chance;
mod client;
mod database;
mod lists;
mod network;
mod node;
mod operators;
mod oracle;
mod outside;
mod reference;
mod script;
mod store;
mod tests;
mod trace;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use btrust_machine::Definition;
use btrust_schemas::definition::VersionStatus;

use crate::planted::{self, Bug};
use crate::store::definitions::VersionRecord;

use client::Client;
use script::DEFINITIONS;
use world::{TENANT, Weather, World};

/// How long everything may take after the faults, of simulated time.
const END_WITHIN: Duration = Duration::from_hours(2);
/// How long the relay may take after the last workflow.
const RELAY_WITHIN: Duration = Duration::from_mins(2);

/// Operators of a simulation that has any.
const N_OPERATORS: usize = 3;
/// How often somebody looks whether something is wrong.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a simulation has come to.
pub struct Run {
    pub violation: Option<String>,
    /// SHA-256 of the trace.
    pub hash: String,
    pub tail: String,
    pub n_fenced: usize,
    pub n_crashes: usize,
    pub n_takeovers: usize,
    pub n_commits: usize,
    pub n_workflows: usize,
    pub elapsed_ms: i64,
}

/// Simulates one seed, with a bug if one is planted.
pub fn run(seed: u64, bug: Option<Bug>) -> Run {
    run_in(seed, bug, false)
}

/// The same with operators, who pause what runs and redrive what was cancelled.
pub fn run_operated(seed: u64, bug: Option<Bug>) -> Run {
    run_in(seed, bug, true)
}

fn run_in(seed: u64, bug: Option<Bug>, is_operated: bool) -> Run {
    planted::plant(bug);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let run = runtime.block_on(simulate(seed, is_operated));
    planted::plant(None);
    run
}

async fn simulate(seed: u64, is_operated: bool) -> Run {
    let decide = chance::Chance::new(seed, "plan");
    let weather = Weather {
        store: *decide.pick(&[0, 10, 30, 80]),
        network: *decide.pick(&[0, 20, 60, 150]),
        workers: *decide.pick(&[0, 10, 30, 60]),
        nodes: *decide.pick(&[0, 300, 700]),
        operators: if is_operated { 500 } else { 0 },
    };
    let world = Arc::new(World::new(seed, weather));
    world.note(format_args!("seed {seed} {weather:?}"));
    let definitions = publish(&world);
    let labels: Vec<(String, &'static str)> = (0..decide.between(3, 9))
        .map(|n| (format!("w{n}"), *decide.pick(&DEFINITIONS)))
        .collect();

    let mut background = JoinSet::new();
    let fault_time = Duration::from_secs(decide.between(60, 300));
    background.spawn(node::supervise(Arc::clone(&world), fault_time));
    for number in 0..decide.between(1, 3) {
        let number = usize::try_from(number).expect("a few");
        background.spawn(worker::work(Arc::clone(&world), number));
    }
    background.spawn(client::operate(Arc::clone(&world)));
    for _ in 0..N_OPERATORS {
        background.spawn(operators::interfere(Arc::clone(&world)));
    }
    let mut clients = JoinSet::new();
    for (label, definition) in &labels {
        let client = Client {
            world: Arc::clone(&world),
            definition,
            label: label.clone(),
        };
        clients.spawn(client.live());
    }
    let end = tokio::time::timeout(fault_time + END_WITHIN, finish(&world, &mut clients)).await;
    if end.is_err() {
        world.violated("every workflow ends", format_args!("{}", standing(&world)));
    }
    if world.violation().is_none() {
        while world.is_faulty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(RELAY_WITHIN).await;
        oracle::judge(&world, &definitions, &labels).await;
    }
    background.abort_all();
    // A node knows the world, which knows its nodes.
    world
        .nodes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clear();
    let memory = world.memory();
    Run {
        violation: memory.violation.clone(),
        hash: world.trace.hash(),
        tail: world.trace.tail(),
        n_fenced: memory.n_fenced,
        n_crashes: memory.n_crashes,
        n_takeovers: memory.n_takeovers,
        n_commits: memory.n_commits,
        n_workflows: labels.len(),
        elapsed_ms: world.elapsed_ms(),
    }
}

/// Waits until every client is done, or something is wrong.
async fn finish(world: &World, clients: &mut JoinSet<()>) {
    while !clients.is_empty() && world.violation().is_none() {
        let next = tokio::time::timeout(LOOK_AGAIN, clients.join_next()).await;
        if let Ok(Some(done)) = next {
            done.expect("a client does not fail");
        }
    }
}

/// The open workflows, for whoever looks into a failure.
fn standing(world: &World) -> String {
    let mut lines = Vec::new();
    for (label, id) in world.memory().started.clone() {
        if let Some(state) = world.state(id).filter(|it| !it.status().is_closed()) {
            lines.push(format!(
                "{label} {id} at {:?} wakes {:?}",
                state.positions(),
                state.wake_at()
            ));
        }
    }
    lines.join("; ")
}

/// Puts the definitions where the nodes find them.
fn publish(world: &World) -> BTreeMap<&'static str, Definition> {
    let mut definitions = BTreeMap::new();
    for name in DEFINITIONS {
        let envelope = script::envelope(name);
        let definition = Definition::parse(&envelope).expect("the definition is valid");
        let record = VersionRecord {
            name: name.to_owned(),
            version: 1,
            title: name.to_owned(),
            digest: "0".repeat(64),
            status: VersionStatus::Published,
            created_by: None,
            created_ms: 0,
            published_by: None,
            published_ms: None,
            retired_by: None,
            retired_ms: None,
            is_live: true,
        };
        let mut tables = world.database.tables();
        let version = (TENANT.to_owned(), record, envelope.to_string());
        tables.versions.push(version);
        definitions.insert(name, definition);
    }
    definitions
}
