//! Core nodes: how they start, crash, stand still, and are taken over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use btrust_platform::clock::Clock;
use btrust_platform::http::Shutdown;
use btrust_schemas::task_limits::TaskLimits;

use crate::definitions::SecondPerson;
use crate::engine::{Engine, Ports, Running};
use crate::retention::RetentionPolicies;

use super::outside::{SimulatedMasterKeys, SimulatedStreams, SimulatedWorkflowKeys};
use super::store::SimulatedStore;
use super::world::World;

/// How long a starting node waits before it tries again.
const START_AGAIN: Duration = Duration::from_secs(1);

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// Stopped by the system: nothing of it moves.
    Stalled,
    Dead,
}

/// A process as the rest of the world sees it.
pub struct Process {
    pub name: String,
    life: Mutex<Life>,
    changed: Notify,
    owners: Mutex<BTreeSet<String>>,
}

impl Process {
    pub fn new(name: String) -> Self {
        Self {
            name,
            life: Mutex::new(Life::Running),
            changed: Notify::new(),
            owners: Mutex::default(),
        }
    }

    /// Waits until the process runs; for ever when it is dead.
    pub async fn runs(&self) {
        self.is(Life::Running).await;
    }

    /// Waits until the process is dead.
    pub async fn dies(&self) {
        self.is(Life::Dead).await;
    }

    /// Waits in the order of coming, which a `watch` would not.
    async fn is(&self, wanted: Life) {
        loop {
            let changed = self.changed.notified();
            if *self.life() == wanted {
                return;
            }
            changed.await;
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, to: Life) {
        let mut life = self.life();
        if *life != Life::Dead {
            *life = to;
        }
        drop(life);
        self.changed.notify_waiters();
    }

    /// The process takes leases under this name.
    pub fn owns(&self, owner: &str) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.insert(owner.to_owned());
    }

    pub fn is_owner(&self, owner: &str) -> bool {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.contains(owner)
    }
}

/// The clock of one machine: the world's, and how far it is wrong.
pub struct SimulatedClock {
    world: Arc<World>,
    wrong_ms: AtomicI64,
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        self.world.now_ms() + self.wrong_ms.load(Ordering::Relaxed)
    }
}

/// A core node.
pub struct Node {
    pub process: Arc<Process>,
    pub engine: Arc<Engine>,
    clock: Arc<SimulatedClock>,
    shutdown: Shutdown,
    running: Mutex<Option<Running>>,
}

impl Node {
    /// Starts a node, as often as it takes.
    pub async fn start(world: &Arc<World>, number: usize) -> Arc<Self> {
        loop {
            let process = Arc::new(Process::new(format!("node{number}")));
            world.note(format_args!("{} starts", process.name));
            let clock = Arc::new(SimulatedClock {
                world: Arc::clone(world),
                wrong_ms: AtomicI64::new(0),
            });
            let shutdown = Shutdown::new();
            let ports = ports(world, &process, &clock);
            match Engine::start(ports, &shutdown).await {
                Ok((engine, running)) => {
                    return Arc::new(Self {
                        process,
                        engine,
                        clock,
                        shutdown,
                        running: Mutex::new(Some(running)),
                    });
                }
                Err(error) => world.note(format_args!("{} does not start: {error}", process.name)),
            }
            tokio::time::sleep(START_AGAIN).await;
        }
    }

    /// Ends at once: what it had in memory is gone, what it asked of the database goes on.
    pub fn crash(&self, world: &World) {
        world.note(format_args!("{} crashes", self.process.name));
        world.memory().n_crashes += 1;
        self.process.set(Life::Dead);
        if let Some(running) = self.take_running() {
            running.abort();
        }
    }

    /// Ends in good order.
    pub async fn stop(&self, world: &World) {
        world.note(format_args!("{} stops", self.process.name));
        self.shutdown.trigger();
        if let Some(running) = self.take_running() {
            tokio::select! {
                biased;
                () = running.stopped() => {}
                () = self.process.dies() => {}
            }
        }
        self.process.set(Life::Dead);
    }

    fn take_running(&self) -> Option<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.take()
    }

    pub fn stall(&self, world: &World) {
        world.note(format_args!("{} stalls", self.process.name));
        world.memory().n_stalls += 1;
        self.process.set(Life::Stalled);
    }

    pub fn resume(&self, world: &World) {
        world.note(format_args!("{} goes on", self.process.name));
        self.process.set(Life::Running);
    }

    /// Somebody sets the clock of the machine.
    pub fn set_clock(&self, world: &World, wrong_ms: i64) {
        world.note(format_args!(
            "{} clock is wrong by {wrong_ms}",
            self.process.name
        ));
        self.clock.wrong_ms.store(wrong_ms, Ordering::Relaxed);
    }
}

fn ports(world: &Arc<World>, process: &Arc<Process>, clock: &Arc<SimulatedClock>) -> Ports {
    let store = Arc::new(SimulatedStore::new(Arc::clone(world), Arc::clone(process)));
    Ports {
        store: Arc::clone(&store) as _,
        definitions: Arc::clone(&store) as _,
        tenants: Arc::clone(&store) as _,
        operations: Arc::clone(&store) as _,
        schedules: Arc::clone(&store) as _,
        lists: store,
        keys: Arc::new(SimulatedMasterKeys),
        workflow_keys: Arc::new(SimulatedWorkflowKeys::new(
            Arc::clone(world),
            Arc::clone(process),
        )),
        streams: Arc::new(SimulatedStreams::new(
            Arc::clone(world),
            Arc::clone(process),
        )),
        clock: Arc::clone(clock) as _,
        random: Arc::clone(&world.random) as _,
        nodes: Vec::new(),
        membership: None,
        second_person: SecondPerson::default(),
        task_limits: TaskLimits::default(),
        retention: RetentionPolicies::default(),
    }
}

/// Whether a node is the latest, and no other one is on its way.
pub fn is_current(world: &World, node: &Arc<Node>) -> bool {
    let n_starts = world.memory().n_starts;
    let nodes = world.nodes.lock().unwrap_or_else(PoisonError::into_inner);
    nodes.len() == n_starts && nodes.last().is_some_and(|it| Arc::ptr_eq(it, node))
}

/// A node as a caller might know it: nearly always the latest one.
pub fn known(world: &World) -> Option<Arc<Node>> {
    let nodes = world.nodes.lock().unwrap_or_else(PoisonError::into_inner);
    if nodes.is_empty() {
        return None;
    }
    let is_late = world.is_faulty() && world.chance.happens(100);
    let back = if is_late { 2 } else { 1 };
    nodes.get(nodes.len().saturating_sub(back)).map(Arc::clone)
}

async fn start_next(world: &Arc<World>, number: &mut usize) -> Arc<Node> {
    *number += 1;
    world.memory().n_starts += 1;
    let node = Node::start(world, *number).await;
    let mut nodes = world.nodes.lock().unwrap_or_else(PoisonError::into_inner);
    nodes.push(Arc::clone(&node));
    node
}

/// Starts nodes and does to them what operators and machines do, for `fault_time`.
pub async fn supervise(world: Arc<World>, fault_time: Duration) {
    let mut number = 0;
    let mut node = start_next(&world, &mut number).await;
    world.set_faulty(true);
    let weather = Arc::clone(&world);
    tokio::spawn(async move {
        tokio::time::sleep(fault_time).await;
        weather.set_faulty(false);
    });
    while world.is_faulty() {
        let ms = world.chance.between(1_000, 30_000);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if !world.strikes(world.weather.nodes) {
            continue;
        }
        match world.chance.below(8) {
            0..3 => {
                node.crash(&world);
                node = start_next(&world, &mut number).await;
            }
            3..5 => node = take_over(&world, &mut number, &node).await,
            5 => {
                node.stop(&world).await;
                node = start_next(&world, &mut number).await;
            }
            6 => {
                let wrong_ms = i64::try_from(world.chance.below(240_000)).unwrap_or_default();
                node.set_clock(&world, wrong_ms - 120_000);
            }
            _ => {
                node.stall(&world);
                let ms = world.chance.between(500, 45_000);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                node.resume(&world);
            }
        }
    }
    // Whoever was taken over ends at last; who has lost partitions is started anew.
    let nodes: Vec<Arc<Node>> = {
        let nodes = world.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.clone()
    };
    for it in &nodes {
        if !Arc::ptr_eq(it, &node) {
            it.crash(&world);
        }
    }
    loop {
        node.set_clock(&world, 0);
        while node.engine.n_lost_partitions() == 0 && !world.takes_restart() {
            tokio::time::sleep(START_AGAIN).await;
        }
        node.crash(&world);
        node = start_next(&world, &mut number).await;
    }
}

/// A node stands still for longer than anybody waits; another one takes its partitions, and it wakes up.
async fn take_over(world: &Arc<World>, number: &mut usize, node: &Node) -> Arc<Node> {
    node.stall(world);
    world.memory().n_takeovers += 1;
    let ms = world.chance.between(1_000, 60_000);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    let is_early = world.chance.happens(300);
    if is_early {
        node.resume(world);
    }
    let next = start_next(world, number).await;
    if !is_early {
        node.resume(world);
    }
    next
}
