//! Which turns wait for a worker and who holds which: memory only, rebuilt from snapshots at start.
//!
//! Each operation costs O(log n): steps and tenants have numbers, a turn knows its place, and what is
//! waited for is woken by what happens, never looked for.
//!
//! **Architecture invariant:** nothing here decides whether a result counts. The state machine does, by
//! (task, attempt, turn); so whatever is lost or doubled here costs time and never correctness.

mod labels;
mod level;
mod names;
mod parking;
mod queue;
mod sessions;
mod slots;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use btrust_machine::{OpenTurn, Payload};
use btrust_schemas::exchange::Ack;
use btrust_schemas::ids::{TaskId, WorkflowId};
use btrust_schemas::turn::TurnKey;

use crate::queues::Queues;

use labels::{LabelSets, NO_LABELS};
use names::Names;
use parking::{Parked, Parking};
use queue::{Place, Queue};
use sessions::Sessions;
use slots::{Slot, Slots};

pub use parking::ParkedCall;
pub use sessions::{Begin, Call, SessionNumber};
pub use slots::Owner;
pub use totals::Depth;

/// Shortest silence of a worker that counts as a missed heartbeat of a task, ms.
///
/// Source: three heartbeats of a worker, which sends one every 5 s; a shorter `HeartbeatSeconds` would
/// end the tasks of workers that are well.
pub const HEARTBEAT_MIN_MS: i64 = 15_000;
/// Priority of a workflow whose bank names none.
pub const PRIORITY_DEFAULT: u8 = 5;

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
}

/// A turn that a worker takes.
#[derive(Clone, Debug)]
pub struct Taken {
    pub owner: Arc<Owner>,
    pub turn: Arc<OpenTurn>,
}

#[derive(Default)]
pub struct Dispatch(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    slots: Slots,
    steps: Names,
    tenants: Names,
    label_sets: LabelSets,
    /// By the step's number.
    queues: BTreeMap<u32, Queue>,
    sessions: Sessions,
    parking: Parking,
    /// Turns that have been put into a line so far.
    n_lined_up: u64,
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
                    if inner.slots.of(key).is_some() {
                        inner.remove(key.task);
                    }
                }
                Change::Checkpoint(key, state) => {
                    if let Some(slot) = inner.slots.of_mut(key) {
                        Arc::make_mut(&mut slot.turn).checkpoint = Some(state);
                    }
                }
                Change::Withdraw(task) => {
                    inner.remove(TaskId {
                        workflow: owner.workflow,
                        number: task,
                    });
                }
                Change::Put(turn) => inner.put(owner, *turn, now_ms),
            }
        }
    }

    /// Takes back every turn of a workflow.
    pub fn withdraw_all(&self, workflow: WorkflowId) {
        let mut inner = self.lock();
        for task in inner.slots.of_workflow(workflow) {
            inner.remove(task);
        }
    }

    /// Begins an exchange: the session is alive, and an earlier call of it that is still parked ends.
    pub fn begin(&self, client: &str, name: &str, seq: u64, now_ms: i64) -> Begin {
        self.lock().sessions.begin(client, name, seq, now_ms)
    }

    /// Makes the leases of a session what the worker says it holds.
    pub fn hold(&self, number: SessionNumber, held: &BTreeSet<TurnKey>, now_ms: i64) {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get(number) else {
            return;
        };
        let missing: Vec<TurnKey> = session.held.difference(held).copied().collect();
        let unknown: Vec<TurnKey> = held.difference(&session.held).copied().collect();
        for key in missing {
            inner.release(number, key, now_ms);
        }
        // Held but not leased: this process has restarted, and the worker is still at it.
        for key in unknown {
            if inner.slots.of(key).is_some_and(|it| it.lease.is_none()) {
                inner.lease(number, key);
            }
        }
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
        let may = slot.lease == Some(number) && (is_first || slot.checkpointer == Some(number));
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
    pub fn report_ends(&self, number: SessionNumber, key: TurnKey, ack: Option<Ack>, now_ms: i64) {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.of_mut(key) {
            slot.n_reports = slot.n_reports.saturating_sub(1);
            inner.line_up(key, now_ms);
        }
        let Some(ack) = ack else { return };
        if let Some(session) = inner.sessions.get_mut(number) {
            if !ack.checkpoint {
                session.drop_turn(key);
            }
            session.acks.push(ack);
            session.wake.notify_one();
        }
    }

    /// Whether no later call of the session has begun.
    pub fn is_current(&self, call: &Call) -> bool {
        self.lock().sessions.current(call).is_some()
    }

    /// Takes what there is for the current call of a session: acknowledgements, and up to `want` turns.
    pub fn take(
        &self,
        call: &Call,
        queues: &[String],
        want: usize,
        now_ms: i64,
    ) -> (Vec<Ack>, Vec<Taken>) {
        let mut inner = self.lock();
        let number = call.session;
        let Some(session) = inner.sessions.current(call) else {
            return (Vec::new(), Vec::new());
        };
        let acks = std::mem::take(&mut session.acks);
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
                taken.extend(next.and_then(|it| inner.hand_out(number, it)));
                next.is_some()
            });
        }
        (acks, taken)
    }

    /// Parks a call until a turn is ready in one of `queues`, unless one is already.
    pub fn park<'a>(&'a self, call: &Call, queues: &[String]) -> Option<ParkedCall<'a>> {
        let mut inner = self.lock();
        let labels = inner.sessions.get(call.session)?.labels;
        let queues: Vec<u32> = queues
            .iter()
            .filter_map(|it| inner.steps.number_if_room(it))
            .collect();
        if queues.iter().any(|it| inner.has_ready(*it, labels)) {
            return None;
        }
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
                let leased = inner.slots.of(*key).filter(|it| it.lease == Some(number));
                let Some(slot) = leased.filter(|it| it.n_reports == 0) else {
                    continue;
                };
                let Some(heartbeat_seconds) = slot.turn.heartbeat_seconds else {
                    continue;
                };
                let silence_max_ms = heartbeat_seconds
                    .saturating_mul(1_000)
                    .max(HEARTBEAT_MIN_MS);
                if heard_ms.saturating_add(silence_max_ms) <= now_ms {
                    silent.push(*key);
                }
            }
        }
        silent
    }

    /// Requeues the turns of sessions that have been silent for too long; returns how many.
    pub fn expire(&self, now_ms: i64) -> usize {
        let mut inner = self.lock();
        let mut n_requeued = 0;
        for number in inner.sessions.silent(now_ms) {
            let Some(session) = inner.sessions.remove(number) else {
                continue;
            };
            inner.serves_no_more(session.labels, &session.serves);
            n_requeued += session.held.len();
            for key in session.held {
                inner.release(number, key, now_ms);
            }
        }
        n_requeued
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.remove(task);
        let place = Place {
            queue: self.steps.number(queue_of(&turn.resource)),
            labels: NO_LABELS,
            priority: PRIORITY_DEFAULT,
            tenant: self.tenants.number(&owner.tenant),
        };
        let slot = Slot {
            owner: Arc::clone(owner),
            turn: Arc::new(turn),
            place,
            waiting: None,
            lease: None,
            checkpointer: None,
            n_reports: 0,
        };
        let key = slot.key();
        self.slots.insert(slot);
        self.line_up(key, now_ms);
    }

    fn remove(&mut self, task: TaskId) {
        let Some(slot) = self.slots.remove(task) else {
            return;
        };
        if let Some(number) = slot.waiting
            && let Some(queue) = self.queues.get_mut(&slot.place.queue)
        {
            queue.level(slot.place).remove(slot.place.tenant, number);
        }
        if let Some(session) = slot.lease.and_then(|it| self.sessions.get_mut(it)) {
            session.drop_turn(slot.key());
        }
    }

    fn lease(&mut self, number: SessionNumber, key: TurnKey) {
        self.leave_line(key);
        let (Some(slot), Some(session)) =
            (self.slots.get_mut(key.task), self.sessions.get_mut(number))
        else {
            return;
        };
        slot.lease = Some(number);
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
            && slot.lease == Some(number)
        {
            slot.lease = None;
            self.line_up(key, now_ms);
        }
    }

    /// Puts a free turn into its line and wakes one call that waits for such.
    fn line_up(&mut self, key: TurnKey, now_ms: i64) {
        let Some(slot) = self.slots.of_mut(key).filter(|it| it.is_free()) else {
            return;
        };
        self.n_lined_up += 1;
        slot.waiting = Some(self.n_lined_up);
        let place = slot.place;
        let queue = self.queues.entry(place.queue).or_default();
        queue
            .level(place)
            .add(place.tenant, self.n_lined_up, key.task, now_ms);
        self.wake_one(place.queue, place.labels);
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

    fn has_ready(&self, queue: u32, offered: u32) -> bool {
        let open = self.queues.get(&queue).into_iter();
        let mut labels = open.flat_map(Queue::open_labels);
        labels.any(|asked| self.label_sets.fits(asked, offered))
    }

    /// Takes the next turn out of a queue, for a worker that offers these labels.
    fn next(&mut self, queue: u32, offered: u32, now_ms: i64) -> Option<TaskId> {
        let queue_no = queue;
        let queue = self.queues.get_mut(&queue_no)?;
        let label_sets = &self.label_sets;
        let picked = queue.pick(|asked| label_sets.fits(asked, offered), now_ms)?;
        let mut place = Place {
            queue: queue_no,
            labels: picked.labels,
            priority: picked.priority,
            tenant: 0,
        };
        let level = queue.level(place);
        place.tenant = level.next()?;
        let task = level.take(place.tenant, 1)?;
        queue.served(picked);
        Some(task)
    }

    fn hand_out(&mut self, number: SessionNumber, task: TaskId) -> Option<Taken> {
        let slot = self.slots.get_mut(task)?;
        slot.waiting = None;
        // Whoever is given the turn with its checkpoint knows that its effect may have happened.
        slot.checkpointer = slot.turn.checkpoint.is_some().then_some(number);
        let (key, owner, turn) = (slot.key(), Arc::clone(&slot.owner), Arc::clone(&slot.turn));
        self.lease(number, key);
        Some(Taken { owner, turn })
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
