//! Runs of worker processes: which call of each is current, what it holds, what it has to hear.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use btrust_schemas::exchange::Ack;
use btrust_schemas::turn::TurnKey;

use super::labels::NO_LABELS;

/// How long a session may stay silent before its turns go to somebody else, ms.
///
/// Source: six heartbeats of a worker, which sends one every 5 s.
pub const SESSION_LEASE_MS: i64 = 30_000;
/// Most sessions at once; each is one worker process.
pub const SESSIONS_MAX: usize = 10_000;

/// A session as the server numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionNumber(u64);

/// One exchange of a session; it is current until the next one begins.
pub struct Call {
    pub session: SessionNumber,
    pub(super) generation: u64,
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

#[derive(Debug)]
pub struct Session {
    client: String,
    name: String,
    last_seq: u64,
    answer: Option<Bytes>,
    pub generation: u64,
    pub wake: Arc<Notify>,
    pub held: BTreeSet<TurnKey>,
    /// Those of `held` that have `HeartbeatSeconds`.
    pub beating: BTreeSet<TurnKey>,
    pub acks: Vec<Ack>,
    /// Turns that it held and nobody wants any more.
    pub cancelled: Vec<TurnKey>,
    pub silent_until_ms: i64,
    /// The set of labels that it offers.
    pub labels: u32,
    /// Steps that it has asked for since it began.
    pub serves: BTreeSet<u32>,
}

impl fmt::Display for SessionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker-{}", self.0)
    }
}

impl Session {
    /// When the worker was heard last, ms.
    pub fn heard_ms(&self) -> i64 {
        self.silent_until_ms - SESSION_LEASE_MS
    }

    pub fn drop_turn(&mut self, key: TurnKey) {
        self.held.remove(&key);
        self.beating.remove(&key);
    }
}

#[derive(Debug, Default)]
pub struct Sessions {
    by_number: BTreeMap<SessionNumber, Session>,
    /// By client and name.
    numbers: HashMap<String, HashMap<String, SessionNumber>>,
    n_opened: u64,
}

impl Sessions {
    pub fn get(&self, number: SessionNumber) -> Option<&Session> {
        self.by_number.get(&number)
    }

    pub fn get_mut(&mut self, number: SessionNumber) -> Option<&mut Session> {
        self.by_number.get_mut(&number)
    }

    pub fn iter(&self) -> impl Iterator<Item = (SessionNumber, &Session)> {
        self.by_number.iter().map(|(number, it)| (*number, it))
    }

    /// The session of a call, unless a later call has begun.
    pub fn current(&mut self, call: &Call) -> Option<&mut Session> {
        self.by_number
            .get_mut(&call.session)
            .filter(|it| it.generation == call.generation)
    }

    /// Begins an exchange: the session is alive, and an earlier call of it that is still parked ends.
    pub fn begin(&mut self, client: &str, name: &str, seq: u64, now_ms: i64) -> Begin {
        let known = self.numbers.get(client).and_then(|it| it.get(name));
        let number = match known {
            Some(number) => *number,
            None if SESSIONS_MAX <= self.by_number.len() => return Begin::TooManySessions,
            None => self.open(client, name),
        };
        let session = self
            .by_number
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

    /// Keeps the answer of a call for the case that the worker did not get it.
    pub fn answered(&mut self, call: &Call, answer: &Bytes, now_ms: i64) {
        if let Some(session) = self.current(call) {
            session.answer = Some(answer.clone());
            session.silent_until_ms = now_ms + SESSION_LEASE_MS;
        }
    }

    /// Sessions that have been silent for too long.
    pub fn silent(&self, now_ms: i64) -> Vec<SessionNumber> {
        let silent = self.iter().filter(|(_, it)| it.silent_until_ms <= now_ms);
        silent.map(|(number, _)| number).collect()
    }

    pub fn remove(&mut self, number: SessionNumber) -> Option<Session> {
        let session = self.by_number.remove(&number)?;
        if let Some(names) = self.numbers.get_mut(&session.client) {
            names.remove(&session.name);
            if names.is_empty() {
                self.numbers.remove(&session.client);
            }
        }
        Some(session)
    }

    fn open(&mut self, client: &str, name: &str) -> SessionNumber {
        self.n_opened += 1;
        let number = SessionNumber(self.n_opened);
        let session = Session {
            client: client.to_owned(),
            name: name.to_owned(),
            last_seq: 0,
            answer: None,
            generation: 0,
            wake: Arc::new(Notify::new()),
            held: BTreeSet::new(),
            beating: BTreeSet::new(),
            acks: Vec::new(),
            cancelled: Vec::new(),
            silent_until_ms: 0,
            labels: NO_LABELS,
            serves: BTreeSet::new(),
        };
        self.by_number.insert(number, session);
        let names = self.numbers.entry(client.to_owned()).or_default();
        names.insert(name.to_owned(), number);
        number
    }
}
