//! What all parts of a simulation share: chance, time, the database, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use btrust_machine::State;
use btrust_schemas::ids::{PromptId, WorkflowId};
use btrust_schemas::turn::TurnKey;

use crate::seal::{self, Binding};
use crate::store::{Batch, Committed, StoreError, Write};

use super::chance::Chance;
use super::database::Database;
use super::node::{Node, Process};
use super::outside::{Outside, SimulatedKeys};
use super::store::{STORE_FAULTS, StoreFault};
use super::trace::Trace;

/// When every simulation begins, ms since the epoch.
const BEGIN_MS: i64 = 1_800_000_000_000;
pub const TENANT: &str = "acme";

/// How much goes wrong while faults are on, in permille of the cases.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub store: u64,
    pub network: u64,
    pub workers: u64,
    pub nodes: u64,
    /// Of the looks of an operator, also when no faults are on; 0 where there are no operators.
    pub operators: u64,
}

/// What the oracles remember.
#[derive(Default)]
pub struct Memory {
    pub violation: Option<String>,
    /// Every turn that a commit has opened.
    pub opened: BTreeSet<TurnKey>,
    /// The status and decision of every committed sequence of every workflow.
    pub versions: BTreeMap<(WorkflowId, u64), (String, Option<String>)>,
    /// When a node has heard of the commit that came to this sequence, and which node.
    pub heard: BTreeMap<(WorkflowId, u64), (i64, String)>,
    /// When the first acknowledgement of a result arrived.
    pub acknowledged: BTreeMap<TurnKey, i64>,
    /// Which workflow each key has started.
    pub started: BTreeMap<String, WorkflowId>,
    pub created: BTreeSet<WorkflowId>,
    /// Prompts whose answer was accepted, with the state that asked.
    pub answered: BTreeMap<PromptId, String>,
    /// Workflows whose cancelling was asked for, and whether that was acknowledged.
    pub cancelled: BTreeMap<WorkflowId, bool>,
    /// Workflows that an operator has to do with now.
    pub operated: BTreeSet<WorkflowId>,
    /// Workflows that are paused, and since when that is acknowledged.
    pub paused: BTreeMap<WorkflowId, i64>,
    /// Workflows of which an act of an operator was not answered: it may be done later.
    pub doubted: BTreeSet<WorkflowId>,
    /// Workflows that were asked to go on after they had been cancelled.
    pub redriven: BTreeSet<WorkflowId>,
    /// Nodes that have begun to start.
    pub n_starts: usize,
    pub n_stalls: usize,
    pub n_fenced: usize,
    pub n_crashes: usize,
    pub n_takeovers: usize,
    pub n_commits: usize,
}

pub struct World {
    pub seed: u64,
    pub weather: Weather,
    pub chance: Chance,
    /// Where the engine's randomness comes from.
    pub random: Arc<Chance>,
    pub trace: Trace,
    pub database: Database,
    pub keys: SimulatedKeys,
    pub outside: Outside,
    pub nodes: Mutex<Vec<Arc<Node>>>,
    began: Instant,
    is_faulty: AtomicBool,
    wants_restart: AtomicBool,
    memory: Mutex<Memory>,
}

impl World {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let random = Arc::new(Chance::new(seed, "engine"));
        Self {
            seed,
            weather,
            chance: Chance::new(seed, "scheduler"),
            keys: SimulatedKeys::new(Arc::clone(&random)),
            random,
            trace: Trace::default(),
            database: Database::default(),
            outside: Outside::default(),
            nodes: Mutex::default(),
            began: Instant::now(),
            is_faulty: AtomicBool::new(false),
            wants_restart: AtomicBool::new(false),
            memory: Mutex::default(),
        }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// ms since the simulation has begun.
    pub fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).expect("a simulation is short")
    }

    /// The database's clock, which never jumps.
    pub fn now_ms(&self) -> i64 {
        BEGIN_MS + self.elapsed_ms()
    }

    pub fn note(&self, line: std::fmt::Arguments<'_>) {
        self.trace.add(self.elapsed_ms(), line);
    }

    pub fn is_faulty(&self) -> bool {
        self.is_faulty.load(Ordering::Relaxed)
    }

    pub fn set_faulty(&self, is_faulty: bool) {
        self.note(format_args!("faults {is_faulty}"));
        self.is_faulty.store(is_faulty, Ordering::Relaxed);
    }

    /// Somebody wants the node to start anew.
    pub fn want_restart(&self) {
        self.wants_restart.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has wanted that since the last time.
    pub fn takes_restart(&self) -> bool {
        self.wants_restart.swap(false, Ordering::Relaxed)
    }

    /// Whether a fault strikes, while faults are on.
    pub fn strikes(&self, permille: u64) -> bool {
        self.is_faulty() && self.chance.happens(permille)
    }

    pub fn store_fault(&self) -> Option<StoreFault> {
        if !self.strikes(self.weather.store) {
            return None;
        }
        let fault = *self.chance.pick(&STORE_FAULTS);
        self.note(format_args!("store {fault:?}"));
        Some(fault)
    }

    /// Whether a read fails; there are many more reads than writes.
    pub fn read_fault(&self) -> Option<StoreFault> {
        if !self.strikes(self.weather.store / 10) {
            return None;
        }
        let fault = *self.chance.pick(&STORE_FAULTS[..3]);
        self.note(format_args!("store {fault:?} of a read"));
        Some(fault)
    }

    /// Nothing, or a few ms.
    pub async fn pause_a_little(&self) {
        if self.chance.happens(300) {
            self.pause().await;
        }
    }

    /// The way of a packet or the time of a flush: some ms, and rarely much longer.
    pub async fn pause(&self) {
        let ms = match self.chance.below(1_000) {
            _ if !self.is_faulty() => self.chance.between(1, 5),
            0..4 => self.chance.between(20_000, 60_000),
            4..40 => self.chance.between(200, 3_000),
            _ => self.chance.between(1, 20),
        };
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Something that must never be.
    pub fn violated(&self, oracle: &str, detail: std::fmt::Arguments<'_>) {
        self.note(format_args!("VIOLATED {oracle}: {detail}"));
        let mut memory = self.memory();
        if memory.violation.is_none() {
            memory.violation = Some(format!("{oracle}: {detail}"));
        }
    }

    pub fn violation(&self) -> Option<String> {
        self.memory().violation.clone()
    }

    /// No workflow of a simulation gives a reason for an incident.
    pub fn incident(&self, workflow: WorkflowId, code: &str) {
        self.violated("no incidents", format_args!("{workflow} {code}"));
    }

    /// One transaction of the database; whether its caller still lives is all the same to it.
    pub async fn transaction(
        self: Arc<Self>,
        process: Arc<Process>,
        batch: Batch,
        arrives: bool,
        reply: oneshot::Sender<Result<Committed, StoreError>>,
    ) {
        let lock = self.database.lock_leases().await;
        let fenced = self.database.tables().fenced(&batch.fences, self.now_ms());
        // The flush, under the locks of the leases.
        self.pause().await;
        let result = if arrives {
            self.judge_writers(&process, &batch, &fenced);
            let applied = self.database.tables().apply(&batch, &fenced);
            match &applied {
                Ok(_) => self.applied(&process, &batch, &fenced),
                Err(error) => self.note(format_args!("{} commit {error}", process.name)),
            }
            applied
        } else {
            self.note(format_args!("{} commit rolled back", process.name));
            Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed))
        };
        drop(lock);
        // A caller that is gone hears nothing.
        let _ = reply.send(result);
    }

    /// A writer whose partition somebody else has taken must never appear.
    fn judge_writers(&self, process: &Process, batch: &Batch, fenced: &[u8]) {
        let tables = self.database.tables();
        let mut is_stale = None;
        for write in &batch.writes {
            let partition = write.workflow.partition();
            let owner = tables.leases.get(&partition).map(|it| it.owner.as_str());
            if !fenced.contains(&partition) && !owner.is_some_and(|it| process.is_owner(it)) {
                is_stale = Some(write.workflow);
            }
        }
        drop(tables);
        if let Some(workflow) = is_stale {
            self.violated(
                "only the owner writes",
                format_args!("{} writes {workflow}", process.name),
            );
        }
    }

    /// Looks at everything that a commit has written.
    fn applied(&self, process: &Process, batch: &Batch, fenced: &[u8]) {
        if !fenced.is_empty() {
            self.memory().n_fenced += 1;
            self.note(format_args!("{} fenced {fenced:?}", process.name));
        }
        self.memory().n_commits += usize::from(!batch.writes.is_empty());
        for write in &batch.writes {
            if fenced.contains(&write.workflow.partition()) {
                continue;
            }
            self.note(format_args!(
                "{} commits {} batch {} to {} {:?}",
                process.name,
                write.workflow,
                write.batch,
                write.sequence,
                write.columns.as_ref().map(|it| it.status.as_str())
            ));
            self.judge_order(write);
            let Some(state) = self.state(write.workflow) else {
                self.violated("a snapshot opens", format_args!("{}", write.workflow));
                continue;
            };
            self.remember(write, &state);
        }
    }

    fn judge_order(&self, write: &Write) {
        let tables = self.database.tables();
        let rows = &tables.journal[&write.workflow];
        let partition = write.workflow.partition();
        let mut broken = None;
        if write.has_events() {
            let has_batch_before =
                write.batch == 1 || tables.batches.contains_key(&(partition, write.batch - 1));
            let before = rows.iter().rev().nth(1);
            if !has_batch_before {
                broken = Some(format!("a gap before batch {}", write.batch));
            }
            if before.map_or(0, |it| it.row.sequence) + 1 != write.first_sequence {
                broken = Some(format!("a gap before event {}", write.first_sequence));
            }
            let earlier = tables.batches.get(&(partition, write.batch - 1));
            let earlier = earlier.and_then(|it| {
                let rows = tables.journal[it].iter();
                rows.clone().find(|it| it.batch == write.batch - 1)
            });
            if earlier.is_some_and(|it| write.committed_ms < it.committed_ms) {
                broken = Some("time runs back".to_owned());
            }
        }
        drop(tables);
        if let Some(how) = broken {
            self.violated(
                "the journal is in order",
                format_args!("{} {how}", write.workflow),
            );
        }
    }

    fn remember(&self, write: &Write, state: &State) {
        let mut memory = self.memory();
        for turn in state.open_turns() {
            let key = TurnKey {
                task: btrust_schemas::ids::TaskId {
                    workflow: write.workflow,
                    number: turn.task,
                },
                attempt: turn.attempt,
                turn: turn.turn,
            };
            memory.opened.insert(key);
        }
        let status = crate::workflow::status(state.status()).as_str().to_owned();
        let decision = state.decision().map(str::to_owned);
        let version = (write.workflow, state.n_events());
        memory.versions.insert(version, (status, decision));
        let is_whole = i64::try_from(state.n_events()) == Ok(write.sequence);
        drop(memory);
        if !is_whole {
            self.violated(
                "a snapshot is as far as its journal",
                format_args!("{} {} {}", write.workflow, state.n_events(), write.sequence),
            );
        }
    }

    /// A node has heard that its commit is done.
    pub fn heard(&self, process: &Process, batch: &Batch, committed: &Committed) {
        let now_ms = self.elapsed_ms();
        let mut memory = self.memory();
        for write in &batch.writes {
            if !committed.fenced.contains(&write.workflow.partition()) {
                let sequence = u64::try_from(write.sequence).unwrap_or_default();
                let version = (write.workflow, sequence);
                memory.heard.insert(version, (now_ms, process.name.clone()));
            }
        }
    }

    /// A workflow as the database has it.
    pub fn state(&self, workflow: WorkflowId) -> Option<State> {
        let tables = self.database.tables();
        let record = tables.workflows.get(&workflow)?;
        let sealer = self.keys.find(&record.columns.tenant, workflow)?;
        let binding = Binding {
            tenant: &record.columns.tenant,
            workflow,
            sequence: u64::try_from(record.sequence).ok()?,
        };
        seal::open_state(&sealer, binding, &record.sealed_snapshot).ok()
    }
}
