//! What one worker process holds, owes and may take; pure bookkeeping of the exchange.
//!
//! **Architecture invariant:** no I/O and no clock here. The loop in
//! `exchange.rs` sends what [`Desk::request`] says and feeds the answers back.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tokio::sync::oneshot;

use btrust_schemas::exchange::{
    Ack, EXCHANGE_WAIT_MAX_MS, ExchangeRequest, ExchangeResponse, RESULTS_MAX, Report, ReportKind,
    WANT_MAX,
};
use btrust_schemas::turn::{TurnInput, TurnKey, TurnResult};

/// How long a node may hold a call that carries reports, in milliseconds.
///
/// Acks never wait for tasks, so this only bounds a slow commit; the next call cannot start before.
pub const REPORT_WAIT_MS: u64 = 1_000;
/// Longest silence while turns are held, in milliseconds; every call renews their leases.
pub const HEARTBEAT_MS: u64 = 5_000;

/// One step as the desk sees it.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    pub name: &'static str,
    /// Most turns held at once.
    pub in_flight_max: u32,
}

/// The books of one worker process.
#[derive(Debug)]
pub struct Desk {
    session: String,
    seq: u64,
    queues: Vec<Queue>,
    /// Turns that run, or whose end is not acknowledged yet, with their queue.
    held: BTreeMap<TurnKey, &'static str>,
    /// Reports that are not acknowledged yet, oldest first.
    owed: Vec<Report>,
    waiting: HashMap<TurnKey, oneshot::Sender<String>>,
    draining: bool,
}

impl Desk {
    /// An empty desk; `session` names this run of the process.
    #[must_use]
    pub fn new(session: String, queues: Vec<Queue>) -> Self {
        Self {
            session,
            seq: 0,
            queues,
            held: BTreeMap::new(),
            owed: Vec::new(),
            waiting: HashMap::new(),
            draining: false,
        }
    }

    /// The next call. Everything owed rides along again until it is acknowledged.
    pub fn request(&mut self) -> ExchangeRequest {
        self.seq += 1;
        let wait_ms = match (self.owed.is_empty(), self.held.is_empty()) {
            (false, _) => REPORT_WAIT_MS,
            (true, false) => HEARTBEAT_MS,
            (true, true) => EXCHANGE_WAIT_MAX_MS,
        };
        ExchangeRequest {
            session: self.session.clone(),
            seq: self.seq,
            held: self.held.keys().copied().collect(),
            results: self.owed.iter().take(RESULTS_MAX).cloned().collect(),
            want: self.want(),
            queues: self
                .open_queues()
                .map(|(queue, _)| queue.name.to_owned())
                .collect(),
            wait_ms,
            ..ExchangeRequest::default()
        }
    }

    /// Whether a call now would say or ask anything.
    pub fn has_business(&self) -> bool {
        !self.owed.is_empty() || 0 < self.want()
    }

    /// Whether nothing is held or owed.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.owed.is_empty()
    }

    /// Takes no more tasks from here on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Forgets everything, so that the last call gives all leases back.
    pub fn abandon(&mut self) {
        self.held.clear();
        self.owed.clear();
        self.waiting.clear();
    }

    /// Books an answer and returns the turns to begin.
    pub fn accept(&mut self, response: ExchangeResponse) -> Vec<TurnInput> {
        for ack in &response.acks {
            self.acknowledge(ack);
        }
        response
            .tasks
            .into_iter()
            .filter(|task| self.begin(task))
            .collect()
    }

    /// Owes the end of a turn.
    pub fn end(&mut self, key: TurnKey, result: TurnResult) {
        self.waiting.remove(&key);
        self.owed.push(Report {
            key,
            what: ReportKind::Result { result },
        });
    }

    /// Owes a checkpoint; `acked` hears the code of its acknowledgement.
    pub fn checkpoint(&mut self, key: TurnKey, state: Value, acked: oneshot::Sender<String>) {
        self.owed.push(Report {
            key,
            what: ReportKind::Checkpoint { state },
        });
        self.waiting.insert(key, acked);
    }

    /// Drops a turn that the engine does not want any more.
    pub fn forget(&mut self, key: TurnKey) {
        self.held.remove(&key);
        self.waiting.remove(&key);
        self.owed.retain(|report| report.key != key);
    }

    /// Room in the emptiest sense: the node may fill any one queue with all of it.
    fn want(&self) -> u32 {
        let room = self.open_queues().map(|(_, room)| room).min().unwrap_or(0);
        room.min(WANT_MAX)
    }

    /// Queues that take more turns, each with its room.
    fn open_queues(&self) -> impl Iterator<Item = (&Queue, u32)> {
        self.queues
            .iter()
            .filter(|_| !self.draining)
            .filter_map(|queue| {
                let n_held = self
                    .held
                    .values()
                    .filter(|name| **name == queue.name)
                    .count();
                let room = queue
                    .in_flight_max
                    .saturating_sub(u32::try_from(n_held).unwrap_or(u32::MAX));
                (0 < room).then_some((queue, room))
            })
    }

    /// Whether the task is new here and of a step that this process serves.
    fn begin(&mut self, task: &TurnInput) -> bool {
        if self.held.contains_key(&task.key) {
            return false;
        }
        let Some(queue) = self
            .queues
            .iter()
            .find(|queue| Some(queue.name) == step_name(&task.resource))
        else {
            tracing::error!(task.id = %task.key.task, task.resource, "was given a task of a step that this worker does not serve");
            return false;
        };
        self.held.insert(task.key, queue.name);
        true
    }

    fn acknowledge(&mut self, ack: &Ack) {
        if ack.checkpoint {
            let is_it = |report: &Report| {
                report.key == ack.key && matches!(report.what, ReportKind::Checkpoint { .. })
            };
            self.owed.retain(|report| !is_it(report));
            if let Some(acked) = self.waiting.remove(&ack.key) {
                // The turn may have been ended by a panic meanwhile.
                let _ = acked.send(ack.code.clone());
            }
            return;
        }
        if ack.code != Ack::ACCEPTED {
            tracing::warn!(task.id = %ack.key.task, code = ack.code, "a result was refused");
        }
        self.forget(ack.key);
    }
}

/// `otp` of `kyc:otp@1`.
pub fn step_name(resource: &str) -> Option<&str> {
    let name = resource.strip_prefix("kyc:")?;
    Some(name.split_once('@').map_or(name, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use btrust_schemas::ids::{TaskId, WorkflowId};
    use btrust_schemas::turn::TurnReason;

    use super::*;

    fn desk() -> Desk {
        let otp = Queue {
            name: "otp",
            in_flight_max: 2,
        };
        Desk::new(
            "session".to_owned(),
            vec![
                otp,
                Queue {
                    name: "form",
                    in_flight_max: 3,
                },
            ],
        )
    }

    fn task(number: u32, step: &str) -> TurnInput {
        let workflow = WorkflowId::new(1, [2; 15]);
        TurnInput {
            key: TurnKey {
                task: TaskId { workflow, number },
                attempt: 1,
                turn: 1,
            },
            tenant: "acme".to_owned(),
            workflow,
            subject: "subject".to_owned(),
            state_name: "State".to_owned(),
            resource: format!("kyc:{step}@1"),
            locale: "en".to_owned(),
            arguments: Value::Null,
            state: None,
            checkpoint: None,
            reason: TurnReason::First,
            acknowledgements: Vec::new(),
            scheduled_ms: 0,
            deadline_ms: None,
        }
    }

    fn answer(acks: Vec<Ack>, tasks: Vec<TurnInput>) -> ExchangeResponse {
        ExchangeResponse {
            acks,
            tasks,
            nodes: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    fn ack(key: TurnKey, checkpoint: bool, code: &str) -> Ack {
        Ack {
            key,
            checkpoint,
            code: code.to_owned(),
        }
    }

    fn done() -> TurnResult {
        TurnResult::Complete {
            outcome: "verified".to_owned(),
            output: Value::Null,
        }
    }

    #[test]
    fn a_result_rides_in_every_call_until_it_is_acknowledged() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        assert_eq!(desk.accept(answer(vec![], vec![task(1, "otp")])).len(), 1);
        desk.end(key, done());
        for seq in [1, 2] {
            let request = desk.request();
            assert_eq!(
                (request.seq, request.results.len(), request.held.len()),
                (seq, 1, 1)
            );
        }
        desk.accept(answer(vec![ack(key, false, Ack::ACCEPTED)], vec![]));
        assert!(desk.is_empty());
        assert!(desk.request().results.is_empty());
    }

    #[test]
    fn a_full_queue_asks_for_nothing_of_its_kind() {
        let mut desk = desk();
        assert_eq!(desk.request().want, 2);
        desk.accept(answer(vec![], vec![task(1, "otp"), task(2, "otp")]));
        let request = desk.request();
        assert_eq!((request.want, request.queues), (3, vec!["form".to_owned()]));
    }

    #[test]
    fn a_turn_that_is_held_already_is_not_begun_again() {
        let mut desk = desk();
        assert_eq!(desk.accept(answer(vec![], vec![task(1, "otp")])).len(), 1);
        assert_eq!(desk.accept(answer(vec![], vec![task(1, "otp")])).len(), 0);
    }

    #[test]
    fn a_task_of_another_step_is_neither_begun_nor_held() {
        let mut desk = desk();
        assert!(desk.accept(answer(vec![], vec![task(1, "ocr")])).is_empty());
        assert!(desk.is_empty());
    }

    #[test]
    fn a_checkpoint_is_heard_by_the_turn_that_made_it() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        desk.accept(answer(vec![], vec![task(1, "otp")]));
        let (acked, mut heard) = oneshot::channel();
        desk.checkpoint(key, Value::Null, acked);
        assert_eq!(desk.request().results.len(), 1);
        assert!(heard.try_recv().is_err());
        desk.accept(answer(vec![ack(key, true, "turn_closed")], vec![]));
        assert_eq!(heard.try_recv().unwrap(), "turn_closed");
        assert_eq!(desk.request().held, vec![key]);
    }

    #[test]
    fn a_draining_desk_wants_nothing_and_still_hands_in() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        desk.accept(answer(vec![], vec![task(1, "otp")]));
        desk.drain();
        assert!(!desk.has_business());
        desk.end(key, done());
        assert!(desk.has_business());
        let request = desk.request();
        assert_eq!((request.want, request.results.len()), (0, 1));
    }

    #[test]
    fn a_refused_result_is_not_sent_again() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        desk.accept(answer(vec![], vec![task(1, "otp")]));
        desk.end(key, done());
        desk.accept(answer(vec![ack(key, false, "turn_closed")], vec![]));
        assert!(desk.is_empty());
    }

    #[test]
    fn a_resource_names_its_step_with_and_without_version() {
        assert_eq!(step_name("kyc:face-match@1"), Some("face-match"));
        assert_eq!(step_name("kyc:otp"), Some("otp"));
        assert_eq!(step_name("http:otp"), None);
    }
}
