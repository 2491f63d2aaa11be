//! Which turns wait for a worker and who holds which: memory only, rebuilt from snapshots at start.
//!
//! **Architecture invariant:** nothing here decides whether a result counts. The state machine does, by
//! (task, attempt, turn); so whatever is lost or doubled here costs time and never correctness.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use btrust_machine::{OpenTurn, Payload};
use btrust_schemas::exchange::Ack;
use btrust_schemas::ids::{TaskId, WorkflowId};
use btrust_schemas::turn::TurnKey;

use crate::queues::Queues;

/// How long a session may stay silent before its turns go to somebody else, ms.
///
/// Source: six heartbeats of a worker, which sends one every 5 s.
pub const SESSION_LEASE_MS: i64 = 30_000;
/// Shortest silence of a worker that counts as a missed heartbeat of a task, ms.
///
/// Source: three heartbeats of a worker, which sends one every 5 s; a shorter `HeartbeatSeconds` would
/// end the tasks of workers that are well.
pub const HEARTBEAT_MIN_MS: i64 = 15_000;
/// Most sessions at once; each is one worker process.
pub const SESSIONS_MAX: usize = 10_000;

/// What all turns of a workflow have in common.
#[derive(Debug)]
pub struct Owner {
    pub workflow: WorkflowId,
    pub tenant: String,
    pub subject: String,
    pub locale: String,
}

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
    pub turn: OpenTurn,
}

/// A session as the server numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber(u64);

/// One exchange of a session; it is current until the next one begins.
pub struct Call {
    pub session: SessionNumber,
    generation: u64,
    /// Rung when there may be something to take, or when the call is no longer current.
    pub wake: Arc<Notify>,
}

/// How an exchange may go on.
pub enum Begin {
    Fresh(Call),
    /// The call was answered before, with these bytes.
    Answered(Bytes),
    /// A later call of the session has come before this one.
    OutOfOrder,
    TooManySessions,
}

/// Turns ready of one step and the age of the oldest, ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depth {
    pub queue: String,
    pub n_ready: usize,
    pub oldest_ms: i64,
}

#[derive(Default)]
pub struct Dispatch(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    slots: HashMap<TaskId, Slot>,
    /// Open tasks of each workflow that has some.
    tasks: HashMap<WorkflowId, BTreeSet<u32>>,
    queues: HashMap<String, VecDeque<Ready>>,
    sessions: HashMap<SessionNumber, Session>,
    session_numbers: HashMap<(String, String), SessionNumber>,
    n_sessions: u64,
    parked: VecDeque<Parked>,
    n_parks: u64,
}

struct Slot {
    owner: Arc<Owner>,
    turn: OpenTurn,
    queue: String,
    ready_since_ms: i64,
    lease: Option<SessionNumber>,
    /// The session that has made the turn's checkpoint, is making it, or was given the turn with it.
    checkpointer: Option<SessionNumber>,
    /// Results of this turn that are on their way to a commit; while there are any, it is not requeued.
    n_reports: u32,
}

/// An entry of a queue; stale when its slot has another turn, a lease, or is gone.
struct Ready {
    task: TaskId,
    attempt: u32,
    turn: u32,
}

struct Session {
    client: String,
    name: String,
    last_seq: u64,
    answer: Option<Bytes>,
    generation: u64,
    wake: Arc<Notify>,
    held: BTreeSet<TurnKey>,
    acks: Vec<Ack>,
    silent_until_ms: i64,
}

struct Parked {
    number: u64,
    queues: Vec<String>,
    wake: Arc<Notify>,
}

impl Slot {
    fn key(&self) -> TurnKey {
        let task = TaskId {
            workflow: self.owner.workflow,
            number: self.turn.task,
        };
        TurnKey {
            task,
            attempt: self.turn.attempt,
            turn: self.turn.turn,
        }
    }

    fn is(&self, key: TurnKey) -> bool {
        self.turn.attempt == key.attempt && self.turn.turn == key.turn
    }

    fn is_free(&self) -> bool {
        self.lease.is_none() && self.n_reports == 0
    }
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
                    if inner.slots.get(&key.task).is_some_and(|it| it.is(key)) {
                        inner.remove(key.task);
                    }
                }
                Change::Checkpoint(key, state) => {
                    if let Some(slot) = inner.slots.get_mut(&key.task)
                        && slot.is(key)
                    {
                        slot.turn.checkpoint = Some(state);
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
        for number in inner.tasks.get(&workflow).cloned().unwrap_or_default() {
            inner.remove(TaskId { workflow, number });
        }
    }

    /// Begins an exchange: the session is alive, and an earlier call of it that is still parked ends.
    pub fn begin(&self, client: &str, name: &str, seq: u64, now_ms: i64) -> Begin {
        let mut inner = self.lock();
        let names = (client.to_owned(), name.to_owned());
        let known = inner.session_numbers.get(&names).copied();
        let number = match known {
            Some(number) => number,
            None if SESSIONS_MAX <= inner.sessions.len() => return Begin::TooManySessions,
            None => inner.open_session(names),
        };
        let session = inner
            .sessions
            .get_mut(&number)
            .expect("a numbered session is kept");
        if session.last_seq == seq
            && let Some(answer) = &session.answer
        {
            return Begin::Answered(answer.clone());
        }
        if seq < session.last_seq {
            return Begin::OutOfOrder;
        }
        session.last_seq = seq;
        session.answer = None;
        session.generation += 1;
        session.silent_until_ms = now_ms + SESSION_LEASE_MS;
        // The parked call of an earlier number wakes up, sees that it is not current, and ends.
        session.wake.notify_one();
        session.wake = Arc::new(Notify::new());
        let wake = Arc::clone(&session.wake);
        Begin::Fresh(Call {
            session: number,
            generation: session.generation,
            wake,
        })
    }

    /// Makes the leases of a session what the worker says it holds.
    pub fn hold(&self, number: SessionNumber, held: &BTreeSet<TurnKey>, now_ms: i64) {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(&number) else {
            return;
        };
        let missing: Vec<TurnKey> = session.held.difference(held).copied().collect();
        for key in missing {
            inner.release(number, key, now_ms);
        }
        // Held but not leased: this process has restarted, and the worker is still at it.
        for key in held {
            let Some(slot) = inner.slots.get_mut(&key.task) else {
                continue;
            };
            if slot.is(*key) && slot.lease.is_none() {
                slot.lease = Some(number);
                if let Some(session) = inner.sessions.get_mut(&number) {
                    session.held.insert(*key);
                }
            }
        }
    }

    /// Whether a session may checkpoint a turn, or two could cause its effect; if so, it is the one who does.
    ///
    /// Only the holder may, and only while nobody else has a checkpoint of the turn or is making one.
    pub fn begin_checkpoint(&self, number: SessionNumber, key: TurnKey) -> bool {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(&key.task).filter(|it| it.is(key)) else {
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
        if let Some(slot) = self.lock().slots.get_mut(&key.task)
            && slot.is(key)
            && !is_made
            && slot.turn.checkpoint.is_none()
            && slot.checkpointer == Some(number)
        {
            slot.checkpointer = None;
        }
    }

    /// Those of `keys` whose task is of a step that is not among `queues`.
    pub fn forbidden(&self, queues: &Queues, keys: &BTreeSet<TurnKey>) -> Vec<TurnKey> {
        let inner = self.lock();
        let is_forbidden = |it: &TurnKey| {
            let slot = inner.slots.get(&it.task);
            slot.is_some_and(|it| !queues.allows(&it.queue))
        };
        keys.iter().copied().filter(is_forbidden).collect()
    }

    /// Keeps an acknowledgement for the session's next answer.
    pub fn acknowledge(&self, number: SessionNumber, ack: Ack) {
        if let Some(session) = self.lock().sessions.get_mut(&number) {
            session.acks.push(ack);
        }
    }

    /// Keeps a turn out of the queues while a result of it is on its way to a commit.
    pub fn report_begins(&self, key: TurnKey) {
        if let Some(slot) = self.lock().slots.get_mut(&key.task)
            && slot.is(key)
        {
            slot.n_reports += 1;
        }
    }

    /// The result has been answered; without an acknowledgement the worker will bring it again.
    pub fn report_ends(&self, number: SessionNumber, key: TurnKey, ack: Option<Ack>, now_ms: i64) {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.get_mut(&key.task)
            && slot.is(key)
        {
            slot.n_reports = slot.n_reports.saturating_sub(1);
            if slot.is_free() {
                inner.enqueue(key, now_ms);
            }
        }
        let Some(ack) = ack else { return };
        if let Some(session) = inner.sessions.get_mut(&number) {
            if !ack.checkpoint {
                session.held.remove(&key);
            }
            session.acks.push(ack);
            session.wake.notify_one();
        }
    }

    /// Whether no later call of the session has begun.
    pub fn is_current(&self, call: &Call) -> bool {
        self.lock()
            .sessions
            .get(&call.session)
            .is_some_and(|it| it.generation == call.generation)
    }

    /// Takes what there is for the current call of a session: acknowledgements, and up to `want` turns.
    pub fn take(&self, call: &Call, queues: &[String], want: usize) -> (Vec<Ack>, Vec<Taken>) {
        let mut inner = self.lock();
        let number = call.session;
        let Some(session) = inner.sessions.get_mut(&number) else {
            return (Vec::new(), Vec::new());
        };
        if session.generation != call.generation {
            return (Vec::new(), Vec::new());
        }
        let acks = std::mem::take(&mut session.acks);
        let mut taken = Vec::new();
        for queue in queues {
            while taken.len() < want
                && let Some(key) = inner.pop(queue)
            {
                let Some(slot) = inner.slots.get_mut(&key.task) else {
                    continue;
                };
                slot.lease = Some(number);
                // Whoever is given the turn with its checkpoint knows that its effect may have happened.
                slot.checkpointer = slot.turn.checkpoint.is_some().then_some(number);
                taken.push(Taken {
                    owner: Arc::clone(&slot.owner),
                    turn: slot.turn.clone(),
                });
                if let Some(session) = inner.sessions.get_mut(&number) {
                    session.held.insert(key);
                }
            }
        }
        (acks, taken)
    }

    /// Parks a call until a turn is ready in one of `queues`, unless one is already.
    pub fn park<'a>(&'a self, call: &Call, queues: &[String]) -> Option<ParkedCall<'a>> {
        let mut inner = self.lock();
        if queues.iter().any(|it| inner.has_ready(it)) {
            return None;
        }
        inner.n_parks += 1;
        let number = inner.n_parks;
        inner.parked.push_back(Parked {
            number,
            queues: queues.to_vec(),
            wake: Arc::clone(&call.wake),
        });
        Some(ParkedCall {
            dispatch: self,
            number,
            queues: queues.to_vec(),
        })
    }

    /// Keeps the answer of a call for the case that the worker did not get it.
    pub fn answered(&self, call: &Call, answer: &Bytes, now_ms: i64) {
        if let Some(session) = self.lock().sessions.get_mut(&call.session)
            && session.generation == call.generation
        {
            session.answer = Some(answer.clone());
            session.silent_until_ms = now_ms + SESSION_LEASE_MS;
        }
    }

    /// Leased turns whose `HeartbeatSeconds` have passed since their worker was heard.
    ///
    /// What a worker no longer says it holds is not leased any more, so to hear of a session is to hear
    /// of its turns.
    pub fn silent_turns(&self, now_ms: i64) -> Vec<TurnKey> {
        let inner = self.lock();
        let mut silent = Vec::new();
        for (number, session) in &inner.sessions {
            let heard_ms = session.silent_until_ms - SESSION_LEASE_MS;
            for key in &session.held {
                let slot = inner.slots.get(&key.task);
                let leased = slot.filter(|it| it.is(*key) && it.lease == Some(*number));
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
        let silent: Vec<SessionNumber> = inner
            .sessions
            .iter()
            .filter(|(_, it)| it.silent_until_ms <= now_ms)
            .map(|(number, _)| *number)
            .collect();
        let mut n_requeued = 0;
        for number in silent {
            let Some(session) = inner.sessions.get(&number) else {
                continue;
            };
            let held: Vec<TurnKey> = session.held.iter().copied().collect();
            n_requeued += held.len();
            for key in held {
                inner.release(number, key, now_ms);
            }
            if let Some(session) = inner.sessions.remove(&number) {
                inner
                    .session_numbers
                    .remove(&(session.client, session.name));
            }
        }
        n_requeued
    }

    /// How much waits in each queue.
    pub fn depths(&self, now_ms: i64) -> Vec<Depth> {
        let mut by_queue: HashMap<String, Depth> = HashMap::new();
        let inner = self.lock();
        for queue in inner.queues.keys() {
            let depth = Depth {
                queue: queue.clone(),
                n_ready: 0,
                oldest_ms: 0,
            };
            by_queue.insert(queue.clone(), depth);
        }
        for slot in inner.slots.values().filter(|it| it.is_free()) {
            let Some(depth) = by_queue.get_mut(&slot.queue) else {
                continue;
            };
            depth.n_ready += 1;
            depth.oldest_ms = depth.oldest_ms.max(now_ms - slot.ready_since_ms);
        }
        by_queue.into_values().collect()
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
        if let Some(slot) = self.slots.get_mut(&task)
            && slot.turn.attempt == turn.attempt
            && slot.turn.turn == turn.turn
        {
            // The same turn with more to say (its checkpoint): whoever holds it goes on.
            slot.turn = turn;
            return;
        }
        self.remove(task);
        let queue = queue_of(&turn.resource).to_owned();
        let slot = Slot {
            owner: Arc::clone(owner),
            turn,
            queue,
            ready_since_ms: now_ms,
            lease: None,
            checkpointer: None,
            n_reports: 0,
        };
        let key = slot.key();
        self.slots.insert(task, slot);
        self.tasks
            .entry(task.workflow)
            .or_default()
            .insert(task.number);
        self.enqueue(key, now_ms);
    }

    fn remove(&mut self, task: TaskId) {
        let Some(slot) = self.slots.remove(&task) else {
            return;
        };
        if let Some(session) = slot.lease.and_then(|it| self.sessions.get_mut(&it)) {
            session.held.remove(&slot.key());
        }
        if let Some(tasks) = self.tasks.get_mut(&task.workflow) {
            tasks.remove(&task.number);
            if tasks.is_empty() {
                self.tasks.remove(&task.workflow);
            }
        }
    }

    /// Ends the lease of a session on a turn, if it has one.
    fn release(&mut self, number: SessionNumber, key: TurnKey, now_ms: i64) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.held.remove(&key);
        }
        let Some(slot) = self.slots.get_mut(&key.task) else {
            return;
        };
        if !slot.is(key) || slot.lease != Some(number) {
            return;
        }
        slot.lease = None;
        if slot.is_free() {
            self.enqueue(key, now_ms);
        }
    }

    /// Puts a free turn into its queue and wakes one call that waits for such.
    fn enqueue(&mut self, key: TurnKey, now_ms: i64) {
        let Some(slot) = self.slots.get_mut(&key.task) else {
            return;
        };
        slot.ready_since_ms = now_ms;
        let queue = slot.queue.clone();
        let ready = Ready {
            task: key.task,
            attempt: key.attempt,
            turn: key.turn,
        };
        self.queues
            .entry(queue.clone())
            .or_default()
            .push_back(ready);
        self.wake_one(&queue);
    }

    fn wake_one(&mut self, queue: &str) {
        let position = self
            .parked
            .iter()
            .position(|it| it.queues.iter().any(|name| name == queue));
        if let Some(parked) = position.and_then(|it| self.parked.remove(it)) {
            parked.wake.notify_one();
        }
    }

    /// Drops stale entries from the front of a queue and says whether a turn is left.
    fn has_ready(&mut self, queue: &str) -> bool {
        let Some(entries) = self.queues.get_mut(queue) else {
            return false;
        };
        while let Some(front) = entries.front() {
            let slot = self.slots.get(&front.task);
            if slot.is_some_and(|it| it.is_ready_as(front)) {
                return true;
            }
            entries.pop_front();
        }
        false
    }

    fn pop(&mut self, queue: &str) -> Option<TurnKey> {
        if !self.has_ready(queue) {
            return None;
        }
        let ready = self.queues.get_mut(queue)?.pop_front()?;
        Some(TurnKey {
            task: ready.task,
            attempt: ready.attempt,
            turn: ready.turn,
        })
    }

    fn open_session(&mut self, names: (String, String)) -> SessionNumber {
        self.n_sessions += 1;
        let number = SessionNumber(self.n_sessions);
        let session = Session {
            client: names.0.clone(),
            name: names.1.clone(),
            last_seq: 0,
            answer: None,
            generation: 0,
            wake: Arc::new(Notify::new()),
            held: BTreeSet::new(),
            acks: Vec::new(),
            silent_until_ms: 0,
        };
        self.sessions.insert(number, session);
        self.session_numbers.insert(names, number);
        number
    }
}

impl Slot {
    fn is_ready_as(&self, ready: &Ready) -> bool {
        self.is_free() && self.turn.attempt == ready.attempt && self.turn.turn == ready.turn
    }
}

/// A call that waits for turns; it leaves the waiting line when dropped.
pub struct ParkedCall<'a> {
    dispatch: &'a Dispatch,
    number: u64,
    queues: Vec<String>,
}

impl Drop for ParkedCall<'_> {
    fn drop(&mut self) {
        let mut inner = self.dispatch.lock();
        let n_parked = inner.parked.len();
        inner.parked.retain(|it| it.number != self.number);
        if inner.parked.len() == n_parked {
            // It was woken for a turn. If the call ends without taking it, somebody else must hear of it.
            for queue in &self.queues {
                if inner.has_ready(queue) {
                    inner.wake_one(queue);
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
