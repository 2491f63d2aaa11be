//! Carries what workflows owe each other: from the sender's snapshot into the mailbox of the receiver.
//!
//! Memory only: which senders owe something and when to try again. What they owe is in their snapshots,
//! so a restart finds it there. Nothing here polls the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::Notify;

use btrust_machine::{Command, Owed};
use btrust_platform::http::Shutdown;
use btrust_schemas::ids::WorkflowId;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::mailbox::Request;
use crate::parcel::{Parcel, Taken};
use crate::workflow::Workflow;

/// Senders whose messages are on their way at the same time.
const SENDERS_AT_ONCE: usize = 256;
/// Receivers that one sender is heard by at the same time.
const RECEIVERS_AT_ONCE: usize = 32;
/// The pause before a message is tried again; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
///
/// Source: what a message waits for by then (a version, a database) takes people longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest sleep, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// Which workflows have something to say to others.
#[derive(Default)]
pub struct Courier {
    round: Mutex<Round>,
    wanted: Notify,
}

#[derive(Default)]
struct Round {
    senders: BTreeMap<WorkflowId, Sender>,
    by_time: BTreeSet<(i64, WorkflowId)>,
    /// Counts the senders that there have been.
    n_senders: u64,
}

/// A workflow that owes something.
#[derive(Clone, Copy, Default)]
struct Sender {
    /// Tells it from an earlier one of the same workflow, which was forgotten while its messages were on
    /// their way.
    stamp: u64,
    /// When it is tried next; `None` while its messages are on their way, or after a failure.
    due_ms: Option<i64>,
    /// Whether it waits because it has failed.
    is_resting: bool,
    n_failed: u32,
    /// The latest message that the courier knows of.
    newest: u32,
    /// Whether something was added while its messages were on their way.
    is_again: bool,
}

/// A sender whose messages are on their way, or which rests.
type Stamped = (WorkflowId, u64);

/// What has come of one try.
enum Outcome {
    /// Everything that could be delivered has been.
    Done,
    /// Some messages are for later.
    Later(i64),
    Failed,
}

impl Courier {
    /// Notes that a workflow owes messages, the latest of which is number `newest`.
    pub fn put(&self, workflow: WorkflowId, newest: u32, now_ms: i64) {
        let mut round = self.lock();
        let sender = round.senders.get(&workflow).copied();
        let sender = match sender {
            // Nothing new: it is tried again when that is due.
            Some(known) if newest <= known.newest => return,
            Some(known) if known.due_ms.is_none() && !known.is_resting => Sender {
                newest,
                is_again: true,
                ..known
            },
            known => {
                let known = known.unwrap_or_else(|| round.new_sender());
                Sender {
                    due_ms: Some(now_ms),
                    is_resting: false,
                    newest,
                    ..known
                }
            }
        };
        round.set(workflow, sender);
        drop(round);
        self.wanted.notify_one();
    }

    /// Forgets the senders of a partition: somebody else carries their messages now.
    pub fn forget(&self, partition: u8) {
        let mut round = self.lock();
        let senders = round.senders.keys().copied();
        for id in senders
            .filter(|it| it.partition() == partition)
            .collect::<Vec<_>>()
        {
            round.remove(id);
        }
    }

    /// Makes the courier look at its clock; for clocks that are moved by hand.
    pub fn wake(&self) {
        self.wanted.notify_one();
    }

    fn take_due(&self, now_ms: i64, limit: usize) -> Vec<Stamped> {
        let mut round = self.lock();
        let mut due = Vec::new();
        while due.len() < limit
            && let Some((at_ms, id)) = round.by_time.first().copied()
            && at_ms <= now_ms
        {
            let sender = round.senders.get(&id).copied().unwrap_or_default();
            round.set(
                id,
                Sender {
                    due_ms: None,
                    ..sender
                },
            );
            due.push((id, sender.stamp));
        }
        due
    }

    /// Notes what has come of a try; after a failure, how long the sender rests.
    fn done(&self, stamped: Stamped, outcome: &Outcome, now_ms: i64) -> Option<Duration> {
        let mut round = self.lock();
        let (workflow, mut sender) = round.find(stamped)?;
        let is_again = std::mem::take(&mut sender.is_again);
        match outcome {
            Outcome::Failed => {
                sender.n_failed = sender.n_failed.saturating_add(1);
                sender.is_resting = true;
                round.set(workflow, sender);
                return Some(pause(sender.n_failed));
            }
            _ if is_again => sender.due_ms = Some(now_ms),
            Outcome::Later(at_ms) => sender.due_ms = Some(*at_ms),
            Outcome::Done => {
                round.remove(workflow);
                return None;
            }
        }
        sender.n_failed = 0;
        round.set(workflow, sender);
        None
    }

    /// A sender has rested after a failure.
    fn rested(&self, stamped: Stamped, now_ms: i64) {
        let mut round = self.lock();
        let sender = round.find(stamped);
        if let Some((workflow, sender)) = sender.filter(|(_, it)| it.is_resting) {
            let due_ms = Some(now_ms);
            let is_resting = false;
            round.set(
                workflow,
                Sender {
                    due_ms,
                    is_resting,
                    ..sender
                },
            );
        }
    }

    fn next_ms(&self) -> Option<i64> {
        self.lock().by_time.first().map(|(at_ms, _)| *at_ms)
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    fn new_sender(&mut self) -> Sender {
        self.n_senders += 1;
        Sender {
            stamp: self.n_senders,
            ..Sender::default()
        }
    }

    /// The sender with this stamp, unless it was forgotten meanwhile.
    fn find(&self, (workflow, stamp): Stamped) -> Option<(WorkflowId, Sender)> {
        let sender = self.senders.get(&workflow).copied();
        let sender = sender.filter(|it| it.stamp == stamp)?;
        Some((workflow, sender))
    }

    fn set(&mut self, workflow: WorkflowId, sender: Sender) {
        self.remove(workflow);
        if let Some(due_ms) = sender.due_ms {
            self.by_time.insert((due_ms, workflow));
        }
        self.senders.insert(workflow, sender);
    }

    fn remove(&mut self, workflow: WorkflowId) {
        let earlier = self.senders.remove(&workflow);
        if let Some(due_ms) = earlier.and_then(|it| it.due_ms) {
            self.by_time.remove(&(due_ms, workflow));
        }
    }
}

/// The pause after `n_failed` tries.
fn pause(n_failed: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << n_failed.saturating_sub(1).min(20));
    doubled.min(PAUSE_MAX)
}

/// Carries messages until `shutdown`; what is still owed then is found at the next start.
pub async fn run(engine: Arc<Engine>, shutdown: Shutdown) {
    let courier = &engine.shared.courier;
    let mut on_their_way = FuturesUnordered::new();
    let mut resting = FuturesUnordered::new();
    loop {
        let now_ms = engine.shared.clock.now_ms();
        let free = SENDERS_AT_ONCE - on_their_way.len();
        for sender in courier.take_due(now_ms, free) {
            let engine = Arc::clone(&engine);
            on_their_way.push(async move { (sender, carry(engine, sender.0).await) }.boxed());
        }
        let sleep = courier.next_ms().map_or(SLEEP_MAX, |at_ms| {
            let wait_ms = at_ms.saturating_sub(now_ms).max(0);
            Duration::from_millis(wait_ms.unsigned_abs()).min(SLEEP_MAX)
        });
        let is_full = on_their_way.len() == SENDERS_AT_ONCE;
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            Some((sender, outcome)) = on_their_way.next(), if !on_their_way.is_empty() => {
                let now_ms = engine.shared.clock.now_ms();
                if let Some(pause) = courier.done(sender, &outcome, now_ms) {
                    resting.push(async move {
                        tokio::time::sleep(pause).await;
                        sender
                    });
                }
            }
            Some(sender) = resting.next(), if !resting.is_empty() => {
                courier.rested(sender, engine.shared.clock.now_ms());
            }
            () = courier.wanted.notified() => {}
            () = tokio::time::sleep(sleep), if !is_full => {}
        }
    }
}

/// Delivers what a workflow owes: to each receiver in order, to different receivers side by side.
async fn carry(engine: Arc<Engine>, sender: WorkflowId) -> Outcome {
    let workflow = match engine.shared.find(sender).await {
        Ok(workflow) => workflow,
        Err(error) if error.is_transient() => return Outcome::Failed,
        // It is gone, or stands still until somebody has looked; then its next commit owes again.
        Err(_) => return Outcome::Done,
    };
    let mut by_receiver: BTreeMap<&str, Vec<Owed>> = BTreeMap::new();
    for owed in workflow.state.owed() {
        let of_receiver = by_receiver.entry(&owed.to).or_default();
        of_receiver.push(owed.clone());
    }
    let carried = by_receiver.into_values().map(|messages| {
        let (engine, workflow) = (Arc::clone(&engine), Arc::clone(&workflow));
        async move { carry_to_one(&engine, &workflow, &messages).await }.boxed()
    });
    let carried = stream::iter(carried.collect::<Vec<_>>())
        .buffer_unordered(RECEIVERS_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let mut later_ms = None;
    for outcome in carried {
        match outcome {
            Outcome::Done => {}
            Outcome::Later(at_ms) => {
                later_ms = Some(later_ms.map_or(at_ms, |it: i64| it.min(at_ms)));
            }
            Outcome::Failed => return Outcome::Failed,
        }
    }
    later_ms.map_or(Outcome::Done, Outcome::Later)
}

async fn carry_to_one(engine: &Engine, sender: &Workflow, messages: &[Owed]) -> Outcome {
    for owed in messages {
        if let Some(at_ms) = owed.not_before_ms
            && engine.shared.clock.now_ms() < at_ms
        {
            return Outcome::Later(at_ms);
        }
        if let Err(error) = carry_one(engine, sender, owed).await {
            if !error.is_transient() {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    workflow.id = %sender.id, to = owed.to, "a message between workflows cannot be delivered now"
                );
            }
            return Outcome::Failed;
        }
    }
    Outcome::Done
}

/// Delivers one message, and notes that it has been taken.
async fn carry_one(engine: &Engine, sender: &Workflow, owed: &Owed) -> Result<(), EngineError> {
    let number = owed.number;
    let taken = match Parcel::of(sender, owed) {
        Some(parcel) => engine.deliver(parcel).await?,
        None => Taken::Taken,
    };
    let command = match taken {
        Taken::Taken => Command::Delivered { number },
        Taken::NotStarted { error, cause } => Command::NotStarted {
            number,
            error,
            cause,
        },
    };
    let request = Request::Command {
        workflow: sender.id,
        tenant: None,
        queues: None,
        command: Box::new(command),
    };
    engine.mailbox.ask(request).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(n: u8) -> WorkflowId {
        WorkflowId::new(n, [n; 15])
    }

    #[test]
    fn a_sender_is_tried_again_later_each_time_and_at_once_when_it_owes_more() {
        let courier = Courier::default();
        let (id, a) = (workflow(1), (workflow(1), 1));
        courier.put(id, 1, 0);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert_eq!(courier.take_due(0, 9), [a]);
            assert_eq!(courier.take_due(0, 9), []);
            pauses.push(courier.done(a, &Outcome::Failed, 0).unwrap().as_millis());
            // The same messages again do not hurry it.
            courier.put(id, 1, 0);
            assert_eq!(courier.next_ms(), None);
            courier.rested(a, 0);
        }
        assert_eq!(pauses, [100, 200, 400, 800]);
        assert_eq!(pause(40), PAUSE_MAX);
        assert_eq!(courier.take_due(0, 9), [a]);
        courier.done(a, &Outcome::Failed, 0);
        courier.put(id, 2, 5);
        assert_eq!(courier.take_due(5, 9), [a]);
        courier.rested(a, 6);
        assert_eq!(courier.take_due(6, 9), []);
    }

    #[test]
    fn what_is_added_on_the_way_is_not_forgotten() {
        let courier = Courier::default();
        let (id, a) = (workflow(1), (workflow(1), 1));
        courier.put(id, 1, 0);
        assert_eq!(courier.take_due(0, 9), [a]);
        courier.put(id, 2, 3);
        assert_eq!(courier.take_due(3, 9), []);
        assert_eq!(courier.done(a, &Outcome::Done, 4), None);
        assert_eq!(courier.take_due(4, 9), [a]);
        assert_eq!(courier.done(a, &Outcome::Later(90), 5), None);
        assert_eq!(
            (courier.take_due(89, 9), courier.take_due(90, 9)),
            (vec![], vec![a])
        );
        assert_eq!(courier.done(a, &Outcome::Done, 91), None);
        assert_eq!(courier.next_ms(), None);
        assert!(courier.lock().senders.is_empty());
    }

    #[test]
    fn what_another_node_carries_is_forgotten() {
        let courier = Courier::default();
        let (a, b) = (workflow(1), workflow(2));
        courier.put(a, 1, 0);
        courier.put(b, 1, 0);
        courier.forget(a.partition());
        assert_eq!(courier.take_due(0, 9), [(b, 2)]);
        courier.forget(b.partition());
        assert_eq!(courier.done((b, 2), &Outcome::Failed, 0), None);
        assert_eq!(courier.next_ms(), None);
    }

    #[test]
    fn the_end_of_an_old_carry_leaves_alone_what_a_recovery_has_put_there() {
        let courier = Courier::default();
        let id = workflow(1);
        courier.put(id, 1, 0);
        let old = courier.take_due(0, 9)[0];
        // The partition goes and comes back while the messages are on their way.
        courier.forget(id.partition());
        courier.put(id, 1, 5);
        for outcome in [Outcome::Done, Outcome::Later(900), Outcome::Failed] {
            assert_eq!(courier.done(old, &outcome, 6), None);
        }
        courier.rested(old, 6);
        let new = courier.take_due(6, 9);
        assert_eq!(new.len(), 1);
        assert_eq!(courier.done(new[0], &Outcome::Done, 7), None);
        assert!(courier.lock().senders.is_empty());
    }
}
