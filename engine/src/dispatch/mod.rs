//! Which turns wait for a worker and who holds which: memory only, rebuilt from snapshots at start.
//!
//! Each operation costs O(log n): steps and tenants have numbers, a turn knows its place, and what is
//! waited for is woken by what happens, never looked for.
//!
//! **Architecture invariant:** nothing here decides whether a result counts. The state machine does, by
//! (task, attempt, turn); so whatever is lost or doubled here costs time and never correctness.

mod gates;
mod holding_back;
mod labels;
mod level;
mod limits;
mod losses;
mod names;
mod parking;
mod progress;
mod queue;
mod sessions;
mod slots;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use btrust_machine::{OpenTurn, Payload};
use btrust_schemas::exchange::{Ack, ExchangeRequest};
use btrust_schemas::ids::{TaskId, WorkflowId};
use btrust_schemas::turn::TurnKey;

use crate::metrics;
use crate::planted::{Bug, is_planted};
use crate::queues::Queues;

use gates::{Gates, Scope};
use labels::LabelSets;
use names::Names;
use parking::{Parked, Parking};
use queue::{Place, Queue};
use sessions::Sessions;
use slots::{Lease, Slot, Slots};

pub use parking::ParkedCall;
pub use sessions::{Begin, Call, SessionNumber};
pub use slots::Owner;

/// Shortest silence of a worker that counts as a missed heartbeat of a task, ms.
///
/// Source: three heartbeats of a worker, which sends one every 5 s; a shorter `HeartbeatSeconds` would
/// end the tasks of workers that are well.
pub const HEARTBEAT_MIN_MS: i64 = 15_000;

/// What a commit changes about the turns of one workflow.
#[derive(Clone, Debug)]
pub enum Change {
    /// The turn has ended.
    Finish(TurnKey),
    /// The turn is about to cause its effect: whoever gets it next must not repeat that.
    Checkpoint(TurnKey, Payload),
    /// A worker has to take this turn; it replaces any other turn of the task.
    Put(Box<OpenTurn>),
    /// No turn of the task is wanted any more.
    Withdraw(u32),
    /// No turn of the workflow is handed out until [`Change::Resume`]; whoever has one goes on.
    Pause,
    Resume,
    /// No turn that is open now is handed out any more; whoever has one is told that it need not go on.
    Cancel,
}

/// What an exchange brings to a worker.
#[derive(Default)]
pub struct Given {
    pub acks: Vec<Ack>,
    pub taken: Vec<Taken>,
    /// Turns that the session holds and nobody wants any more.
    pub cancelled: Vec<TurnKey>,
}

impl Given {
    pub fn is_empty(&self) -> bool {
        self.acks.is_empty() && self.taken.is_empty() && self.cancelled.is_empty()
    }
}

/// A turn that a worker takes.
#[derive(Clone, Debug)]
pub struct Taken {
    pub owner: Arc<Owner>,
    pub turn: Arc<OpenTurn>,
}

#[derive(Default)]
pub struct Dispatch {
    inner: Mutex<Inner>,
    /// Rung when the next token of a limit comes sooner than it was expected.
    pub token_sooner: Notify,
}

#[derive(Default)]
struct Inner {
    slots: Slots,
    steps: Names,
    tenants: Names,
    label_sets: LabelSets,
    gates: Gates,
    /// By the step's number.
    queues: BTreeMap<u32, Queue>,
    sessions: Sessions,
    parking: Parking,
    /// Turns that have been put into a line so far.
    n_lined_up: u64,
    /// Workflows whose turns nobody is given.
    paused: BTreeSet<WorkflowId>,
}

impl Dispatch {
    /// Carries out what a commit changed about the turns of one workflow.
    pub fn change(
        &self,
        owner: &Arc<Owner>,
        changes: impl IntoIterator<Item = Change>,
        now_ms: i64,
    ) {
        let mut inner = self.lock();
        for change in changes {
            match change {
                Change::Finish(key) => {
                    if let Some(slot) = inner.slots.of(key) {
                        metrics::TURN_SECONDS.observe(slot.put_at.elapsed().as_secs_f64());
                        inner.remove(key.task);
                    }
                }
                Change::Checkpoint(key, state) => {
                    if let Some(slot) = inner.slots.of_mut(key) {
                        Arc::make_mut(&mut slot.turn).checkpoint =
                            Some(state).filter(|_| !is_planted(Bug::HideCheckpoint));
                    }
                }
                Change::Withdraw(task) => {
                    inner.withdraw(TaskId {
                        workflow: owner.workflow,
                        number: task,
                    });
                }
                Change::Put(turn) => inner.put(owner, *turn, now_ms),
                Change::Pause => inner.pause(owner.workflow),
                Change::Resume => inner.resume(owner.workflow, now_ms),
                Change::Cancel => inner.cancel(owner.workflow),
            }
        }
    }

    /// Takes back every turn of a workflow.
    pub fn withdraw_all(&self, workflow: WorkflowId) {
        let mut inner = self.lock();
        for task in inner.slots.of_workflow(workflow) {
            inner.withdraw(task);
        }
    }

    /// Takes back every turn of a partition.
    pub fn forget(&self, partition: u8) {
        let mut inner = self.lock();
        for task in inner.slots.of_partition(partition) {
            inner.remove(task);
        }
        inner.paused.retain(|it| it.partition() != partition);
    }

    /// Begins an exchange: the session is alive, and an earlier call of it that is still parked ends.
    pub fn begin(&self, client: &str, request: &ExchangeRequest, now_ms: i64) -> Begin {
        let mut inner = self.lock();
        let begin = inner
            .sessions
            .begin(client, &request.session, request.seq, now_ms);
        if let Begin::Fresh(call) = &begin {
            inner.offer(call.session, &request.labels);
        }
        begin
    }

    /// Whether a session may checkpoint a turn, or two could cause its effect; if so, it is the one who does.
    ///
    /// Only the holder may, and only while nobody else has a checkpoint of the turn or is making one.
    pub fn begin_checkpoint(&self, number: SessionNumber, key: TurnKey) -> bool {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.of_mut(key) else {
            // What is not open here, the state machine refuses with a better reason.
            return true;
        };
        let is_first = slot.turn.checkpoint.is_none() && slot.checkpointer.is_none();
        let may = slot.is_held_by(number) && (is_first || slot.checkpointer == Some(number));
        if may {
            slot.checkpointer = Some(number);
        }
        may
    }

    /// The checkpoint that a session has begun is there, or it has failed and the turn is as before.
    pub fn checkpoint_ends(&self, number: SessionNumber, key: TurnKey, is_made: bool) {
        if let Some(slot) = self.lock().slots.of_mut(key)
            && !is_made
            && slot.turn.checkpoint.is_none()
            && slot.checkpointer == Some(number)
        {
            slot.checkpointer = None;
        }
    }

    /// Those of `keys` whose task is of a step that is not among `queues`.
    pub fn forbidden(&self, queues: &Queues, keys: &BTreeSet<TurnKey>) -> Vec<TurnKey> {
        if *queues == Queues::All {
            return Vec::new();
        }
        let inner = self.lock();
        let is_forbidden = |it: &TurnKey| {
            let slot = inner.slots.get(it.task);
            slot.is_some_and(|it| !queues.allows(queue_of(&it.turn.resource)))
        };
        keys.iter().copied().filter(is_forbidden).collect()
    }

    /// Keeps an acknowledgement for the session's next answer.
    pub fn acknowledge(&self, number: SessionNumber, ack: Ack) {
        if let Some(session) = self.lock().sessions.get_mut(number) {
            session.acks.push(ack);
        }
    }

    /// Keeps a turn out of the queues while a result of it is on its way to a commit.
    pub fn report_begins(&self, key: TurnKey) {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.of_mut(key) {
            slot.n_reports += 1;
            inner.leave_line(key);
        }
    }

    /// The result has been answered; without an acknowledgement the worker will bring it again.
    ///
    /// A result that is refused although its turn stays open has ended the lease: the worker is done with
    /// it. That counts as a loss, which is returned.
    pub fn report_ends(
        &self,
        number: SessionNumber,
        key: TurnKey,
        ack: Option<Ack>,
        now_ms: i64,
    ) -> Option<TurnKey> {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.of_mut(key) {
            slot.n_reports = slot.n_reports.saturating_sub(1);
            inner.line_up(key, now_ms);
        }
        let ack = ack?;
        let lost = if ack.checkpoint {
            None
        } else {
            inner.lose(number, key, now_ms)
        };
        if let Some(session) = inner.sessions.get_mut(number) {
            session.acks.push(ack);
            session.wake.notify_one();
        }
        lost
    }

    /// Whether no later call of the session has begun.
    pub fn is_current(&self, call: &Call) -> bool {
        self.lock().sessions.current(call).is_some()
    }

    /// Takes what there is for the current call of a session: acknowledgements, and up to `want` turns.
    pub fn take(&self, call: &Call, queues: &[String], want: usize, now_ms: i64) -> Given {
        let mut inner = self.lock();
        let number = call.session;
        let Some(session) = inner.sessions.current(call) else {
            return Given::default();
        };
        let acks = std::mem::take(&mut session.acks);
        let cancelled = std::mem::take(&mut session.cancelled);
        let offered = session.labels;
        let mut open = inner.serve(number, queues);
        // Steps take turns, and another one begins each time.
        if !open.is_empty() {
            let first = call.generation % open.len() as u64;
            open.rotate_left(usize::try_from(first).unwrap_or(0));
        }
        let mut taken = Vec::new();
        while taken.len() < want && !open.is_empty() {
            open.retain(|queue| {
                if want <= taken.len() {
                    return true;
                }
                let next = inner.next(*queue, offered, now_ms);
                taken.extend(next.and_then(|it| inner.hand_out(number, it, now_ms)));
                next.is_some()
            });
        }
        self.expect_token(&inner);
        Given {
            acks,
            taken,
            cancelled,
        }
    }

    /// Parks a call until a turn is ready in one of `queues`, unless one is already.
    pub fn park<'a>(
        &'a self,
        call: &Call,
        queues: &[String],
        now_ms: i64,
    ) -> Option<ParkedCall<'a>> {
        let mut inner = self.lock();
        let labels = inner.sessions.get(call.session)?.labels;
        let queues: Vec<u32> = queues
            .iter()
            .filter_map(|it| inner.steps.number_if_room(it))
            .collect();
        if queues.iter().any(|it| inner.has_ready(*it, labels, now_ms)) {
            return None;
        }
        self.expect_token(&inner);
        let parked = Parked {
            queues,
            labels,
            wake: Arc::clone(&call.wake),
        };
        Some(inner.park(self, parked))
    }

    /// Keeps the answer of a call for the case that the worker did not get it.
    pub fn answered(&self, call: &Call, answer: &Bytes, now_ms: i64) {
        self.lock().sessions.answered(call, answer, now_ms);
    }

    /// Leased turns whose `HeartbeatSeconds` have passed since their worker was heard.
    ///
    /// What a worker no longer says it holds is not leased any more, so to hear of a session is to hear
    /// of its turns.
    pub fn silent_turns(&self, now_ms: i64) -> Vec<TurnKey> {
        let inner = self.lock();
        let mut silent = Vec::new();
        for (number, session) in inner.sessions.iter() {
            let heard_ms = session.heard_ms();
            for key in &session.beating {
                let leased = inner.slots.of(*key).filter(|it| it.is_held_by(number));
                let Some(slot) = leased.filter(|it| it.n_reports == 0) else {
                    continue;
                };
                let Some(heartbeat_seconds) = slot.turn.heartbeat_seconds else {
                    continue;
                };
                let silence_max_ms = heartbeat_seconds
                    .saturating_mul(1_000)
                    .max(HEARTBEAT_MIN_MS);
                let is_paused = inner.paused.contains(&key.task.workflow);
                if !is_paused && heard_ms.saturating_add(silence_max_ms) <= now_ms {
                    silent.push(*key);
                }
            }
        }
        silent
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, owner: &Arc<Owner>, turn: OpenTurn, now_ms: i64) {
        let task = TaskId {
            workflow: owner.workflow,
            number: turn.task,
        };
        if let Some(slot) = self.slots.get_mut(task)
            && slot.turn.attempt == turn.attempt
            && slot.turn.turn == turn.turn
        {
            // The same turn with more to say (its checkpoint): whoever holds it goes on.
            slot.turn = Arc::new(turn);
            return;
        }
        self.withdraw(task);
        let place = self.place(owner, &turn);
        let slot = Slot {
            owner: Arc::clone(owner),
            turn: Arc::new(turn),
            place,
            waiting: None,
            lease: None,
            checkpointer: None,
            is_cancelled: false,
            n_reports: 0,
            put_at: Instant::now(),
        };
        let key = slot.key();
        self.slots.insert(slot);
        self.line_up(key, now_ms);
    }

    /// Where a turn waits: what it asks for follows from its state and its tenant.
    fn place(&mut self, owner: &Owner, turn: &OpenTurn) -> Place {
        let tenant = self.tenants.number(&owner.tenant);
        let of_state = owner
            .labels
            .as_ref()
            .and_then(|it| it.get(&turn.state_name));
        let labels = match (of_state, self.gates.labels(tenant)) {
            (None, None) => labels::NO_LABELS,
            (of_state, of_tenant) => {
                let asked = of_state.into_iter().chain(of_tenant).flatten();
                self.label_sets.number(asked.cloned().collect())
            }
        };
        Place {
            queue: self.steps.number(queue_of(&turn.resource)),
            labels,
            priority: owner.priority,
            tenant,
        }
    }

    /// Takes back a turn that nobody wants any more, and tells whoever holds it.
    fn withdraw(&mut self, task: TaskId) {
        if let Some(slot) = self.slots.get(task)
            && let Some(lease) = &slot.lease
            && let Some(session) = self.sessions.get_mut(lease.session)
        {
            session.cancelled.push(slot.key());
            session.wake.notify_one();
        }
        self.remove(task);
    }

    fn remove(&mut self, task: TaskId) {
        let Some(slot) = self.slots.remove(task) else {
            return;
        };
        if slot.lease.is_some() {
            self.lease_ended(slot.place);
        }
        if let Some(number) = slot.waiting
            && let Some(queue) = self.queues.get_mut(&slot.place.queue)
        {
            queue.level(slot.place).remove(slot.place.tenant, number);
        }
        if let Some(lease) = &slot.lease
            && let Some(session) = self.sessions.get_mut(lease.session)
        {
            session.drop_turn(slot.key());
        }
    }

    fn lease(&mut self, number: SessionNumber, key: TurnKey, now_ms: i64) {
        self.leave_line(key);
        let (Some(slot), Some(session)) =
            (self.slots.get_mut(key.task), self.sessions.get_mut(number))
        else {
            return;
        };
        slot.lease = Some(Lease {
            session: number,
            generation: session.generation,
            since_ms: now_ms,
            told: None,
        });
        self.gates.lease_begins(slot.place);
        if let Some(queue) = self.queues.get_mut(&slot.place.queue) {
            queue.n_leased += 1;
        }
        session.held.insert(key);
        if slot.turn.heartbeat_seconds.is_some() {
            session.beating.insert(key);
        }
    }

    /// Ends the lease of a session on a turn, if it has one.
    fn release(&mut self, number: SessionNumber, key: TurnKey, now_ms: i64) {
        if let Some(session) = self.sessions.get_mut(number) {
            session.drop_turn(key);
        }
        if let Some(slot) = self.slots.of_mut(key)
            && slot.is_held_by(number)
        {
            slot.lease = None;
            let place = slot.place;
            self.line_up(key, now_ms);
            self.lease_ended(place);
        }
    }

    /// Puts a free turn into its line and wakes one call that waits for such.
    fn line_up(&mut self, key: TurnKey, now_ms: i64) {
        if self.paused.contains(&key.task.workflow) {
            return;
        }
        let Some(slot) = self.slots.of_mut(key).filter(|it| it.is_free()) else {
            return;
        };
        self.n_lined_up += 1;
        slot.waiting = Some(self.n_lined_up);
        let place = slot.place;
        let queue = self.queues.entry(place.queue).or_default();
        let level = queue.level(place);
        level.add(place.tenant, self.n_lined_up, key.task, now_ms);
        // Whoever is woken for what a limit holds back would find nothing.
        if level.is_open() && self.gates.is_open(Scope::Step(place.queue), now_ms) {
            self.wake_one(place.queue, place.labels);
        }
    }

    /// Takes a turn out of its line, if it is in one.
    fn leave_line(&mut self, key: TurnKey) {
        if let Some(slot) = self.slots.of_mut(key)
            && let Some(number) = slot.waiting.take()
            && let Some(queue) = self.queues.get_mut(&slot.place.queue)
        {
            queue.level(slot.place).remove(slot.place.tenant, number);
        }
    }

    fn has_ready(&mut self, queue: u32, offered: u32, now_ms: i64) -> bool {
        let open = self.queues.get(&queue).into_iter();
        let mut labels = open.flat_map(Queue::open_labels);
        labels.any(|asked| self.label_sets.fits(asked, offered))
            && self.gates.is_open(Scope::Step(queue), now_ms)
    }

    /// Takes the next turn out of a queue, for a worker that offers these labels.
    fn next(&mut self, number: u32, offered: u32, now_ms: i64) -> Option<TaskId> {
        let queue = self.queues.get_mut(&number)?;
        let label_sets = &self.label_sets;
        loop {
            let picked = queue.pick(|asked| label_sets.fits(asked, offered), now_ms)?;
            if !self.gates.is_open(Scope::Step(number), now_ms) {
                return None;
            }
            let mut place = Place {
                queue: number,
                labels: picked.labels,
                priority: picked.priority,
                tenant: 0,
            };
            let level = queue.level(place);
            place.tenant = level.next()?;
            if let Some(scope) = self.gates.closed(place, now_ms) {
                level.hold_back(place.tenant);
                self.gates.hold_back(scope, place);
                continue;
            }
            let task = level.take(place.tenant, self.gates.weight(place.tenant))?;
            self.gates.pass(place);
            queue.served(picked);
            return Some(task);
        }
    }

    fn hand_out(&mut self, number: SessionNumber, task: TaskId, now_ms: i64) -> Option<Taken> {
        let slot = self.slots.get_mut(task)?;
        slot.waiting = None;
        // Whoever is given the turn with its checkpoint knows that its effect may have happened.
        slot.checkpointer = slot.turn.checkpoint.is_some().then_some(number);
        let (key, owner, turn) = (slot.key(), Arc::clone(&slot.owner), Arc::clone(&slot.turn));
        self.lease(number, key, now_ms);
        Some(Taken { owner, turn })
    }

    /// Notes what a session offers; it is what it first said.
    fn offer(&mut self, number: SessionNumber, labels: &[String]) {
        if labels.is_empty() {
            return;
        }
        if let Some(session) = self.sessions.get_mut(number)
            && session.serves.is_empty()
        {
            session.labels = self
                .label_sets
                .number_if_room(labels.iter().cloned().collect());
        }
    }

    /// Numbers the queues that a session asks for, and notes that it serves them.
    fn serve(&mut self, number: SessionNumber, queues: &[String]) -> Vec<u32> {
        let numbers: Vec<u32> = queues
            .iter()
            .filter_map(|it| self.steps.number_if_room(it))
            .collect();
        if let Some(session) = self.sessions.get_mut(number) {
            for queue in &numbers {
                if session.serves.insert(*queue) {
                    let serving = &mut self.queues.entry(*queue).or_default().n_serving;
                    *serving.entry(session.labels).or_default() += 1;
                }
            }
        }
        numbers
    }

    /// Forgets what a session served.
    fn serves_no_more(&mut self, labels: u32, served: &BTreeSet<u32>) {
        for queue in served {
            if let Some(queue) = self.queues.get_mut(queue)
                && let Some(n_serving) = queue.n_serving.get_mut(&labels)
            {
                *n_serving = n_serving.saturating_sub(1);
                if *n_serving == 0 {
                    queue.n_serving.remove(&labels);
                }
            }
        }
    }
}

/// The queue of a resource, which is the step's name: `otp` of `kyc:otp@1`.
pub fn queue_of(resource: &str) -> &str {
    let name = resource.split_once(':').map_or(resource, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}
