//! What one worker process holds, owes and may take, of all core nodes; pure bookkeeping of the exchange.
//!
//! A turn belongs to the node that gave it, and so do its reports. When that node vanishes, or does not
//! acknowledge a report for several calls, they ride to every node: whoever owns the workflow's
//! partition now takes them, and the first answer counts.
//!
//! **Architecture invariant:** no I/O and no clock here. The loop in
//! `exchange.rs` sends what [`Desk::request`] says and feeds the answers back.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tokio::sync::{oneshot, watch};

use btrust_schemas::exchange::{
    Ack, EXCHANGE_WAIT_MAX_MS, ExchangeRequest, ExchangeResponse, PROGRESS_MAX, Progress,
    RESULTS_MAX, Report, ReportKind, WANT_MAX,
};
use btrust_schemas::turn::{TurnInput, TurnKey, TurnResult};

/// How long a node may hold a call that carries reports, in milliseconds.
///
/// Acks never wait for tasks, so this only bounds a slow commit; the next call cannot start before.
pub const REPORT_WAIT_MS: u64 = 1_000;
/// Longest silence while turns are held, in milliseconds; every call renews their leases.
pub const HEARTBEAT_MS: u64 = 5_000;
/// How long a node may hold a call while there is no room left to ask the others, in milliseconds.
///
/// Source: with less room than nodes the worker asks them in turn, and a turn should not wait long for
/// the one worker that could take it.
pub const ROTATION_WAIT_MS: u64 = 500;
/// Calls with a report after which it rides to every node.
///
/// Source: the first may have met a slow commit; after a hand-over of the partition none succeeds.
pub const SENDS_AT_HOME_MAX: u32 = 3;

/// One step as the desk sees it.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    pub name: &'static str,
    /// Most turns held at once.
    pub in_flight_max: u32,
}

/// A core node as the desk knows it; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(pub u64);

/// A turn to begin, and what tells it that nobody wants its result any more.
pub struct Begun {
    pub input: TurnInput,
    pub cancelled: watch::Receiver<bool>,
}

/// The books of one worker process.
#[derive(Debug)]
pub struct Desk {
    queues: Vec<Queue>,
    labels: Vec<String>,
    /// Turns that run, or whose end is not acknowledged yet.
    held: BTreeMap<TurnKey, Held>,
    /// Turns held of each queue.
    n_held: HashMap<&'static str, u32>,
    /// Reports that are not acknowledged yet, oldest first.
    owed: BTreeMap<u64, Owed>,
    /// The number of the report of a turn, by whether it is a checkpoint.
    numbers: HashMap<(TurnKey, bool), u64>,
    n_reports: u64,
    waiting: HashMap<TurnKey, oneshot::Sender<String>>,
    /// Turns that calls under way may bring, by node.
    asked: BTreeMap<Node, u32>,
    draining: bool,
}

#[derive(Debug)]
struct Held {
    queue: &'static str,
    /// `None`: its node is gone, so every node hears of it.
    home: Option<Node>,
    cancel: watch::Sender<bool>,
    /// What the step has told last and no call has carried yet.
    progress: Option<Progress>,
}

#[derive(Debug)]
struct Owed {
    report: Report,
    home: Option<Node>,
    n_sent: u32,
}

impl Desk {
    /// An empty desk.
    #[must_use]
    pub fn new(queues: Vec<Queue>, labels: Vec<String>) -> Self {
        Self {
            queues,
            labels,
            held: BTreeMap::new(),
            n_held: HashMap::new(),
            owed: BTreeMap::new(),
            numbers: HashMap::new(),
            n_reports: 0,
            waiting: HashMap::new(),
            asked: BTreeMap::new(),
            draining: false,
        }
    }

    /// The next call to a node; `n_nodes` share the room. Everything owed rides along again until it is
    /// acknowledged. Session and number are the link's to fill in.
    pub fn request(&mut self, node: Node, n_nodes: usize) -> ExchangeRequest {
        let want = self.want(n_nodes);
        let n_free = self.room();
        self.asked.insert(node, want);
        let results = self.send_owed(node);
        let held: Vec<TurnKey> = self.of(node).map(|(key, _)| *key).collect();
        let is_short = usize::try_from(n_free).unwrap_or(usize::MAX) < n_nodes;
        let wait_ms = match (results.is_empty(), held.is_empty()) {
            (false, _) => REPORT_WAIT_MS,
            (true, _) if is_short && 1 < n_nodes => ROTATION_WAIT_MS,
            (true, false) => HEARTBEAT_MS,
            (true, true) => EXCHANGE_WAIT_MAX_MS,
        };
        ExchangeRequest {
            session: String::new(),
            seq: 0,
            held,
            results,
            want,
            queues: self.open_queues(want),
            wait_ms,
            labels: self.labels.clone(),
            progress: self.send_progress(node),
            leaving: false,
        }
    }

    /// A call that only asks a node which nodes there are.
    pub fn question(&self) -> ExchangeRequest {
        ExchangeRequest {
            labels: self.labels.clone(),
            ..ExchangeRequest::default()
        }
    }

    /// Whether a call to this node would say or ask anything.
    pub fn has_business(&self, node: Node) -> bool {
        self.owes(node) || 0 < self.room()
    }

    /// Whether a report would ride with a call to this node.
    pub fn owes(&self, node: Node) -> bool {
        self.owed
            .values()
            .any(|it| it.home.is_none_or(|home| home == node))
    }

    /// Whether turns are held that this node should hear of.
    pub fn holds(&self, node: Node) -> bool {
        self.of(node).next().is_some()
    }

    /// Whether nothing is owed, and nothing held that anybody waits for.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.held.values().all(|it| *it.cancel.borrow())
    }

    /// Takes no more tasks from here on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Forgets everything, so that the last calls give all leases back.
    pub fn abandon(&mut self) {
        self.held.clear();
        self.n_held.clear();
        self.owed.clear();
        self.numbers.clear();
        self.waiting.clear();
    }

    /// A call to the node has ended, whatever came of it.
    pub fn call_ended(&mut self, node: Node) {
        self.asked.remove(&node);
    }

    /// The node is gone: what it gave is everybody's to hear of.
    pub fn node_gone(&mut self, node: Node) {
        self.asked.remove(&node);
        for held in self.held.values_mut().filter(|it| it.home == Some(node)) {
            held.home = None;
        }
        for owed in self.owed.values_mut().filter(|it| it.home == Some(node)) {
            owed.home = None;
        }
    }

    /// Books an answer of a node and returns the turns to begin.
    pub fn accept(&mut self, node: Node, response: ExchangeResponse) -> Vec<Begun> {
        for ack in &response.acks {
            self.acknowledge(ack);
        }
        for key in &response.cancelled {
            if let Some(held) = self.held.get(key) {
                tracing::info!(task.id = %key.task, "nobody wants the result of a turn any more");
                held.cancel.send_replace(true);
            }
        }
        let begun = response.tasks.into_iter();
        begun.filter_map(|task| self.begin(node, task)).collect()
    }

    /// Owes the end of a turn.
    pub fn end(&mut self, key: TurnKey, result: TurnResult) {
        self.waiting.remove(&key);
        self.owe(key, ReportKind::Result { result });
    }

    /// Owes a checkpoint; `acked` hears the code of its acknowledgement.
    pub fn checkpoint(&mut self, key: TurnKey, state: Value, acked: oneshot::Sender<String>) {
        self.owe(key, ReportKind::Checkpoint { state });
        self.waiting.insert(key, acked);
    }

    /// Notes how far a turn is; the next call tells.
    pub fn progress(&mut self, key: TurnKey, progress: Progress) {
        if let Some(held) = self.held.get_mut(&key) {
            held.progress = Some(progress);
        }
    }

    /// Drops a turn that the engine does not want any more.
    pub fn forget(&mut self, key: TurnKey) {
        if let Some(held) = self.held.remove(&key)
            && let Some(n_held) = self.n_held.get_mut(held.queue)
        {
            *n_held = n_held.saturating_sub(1);
        }
        self.waiting.remove(&key);
        for is_checkpoint in [true, false] {
            self.settle(key, is_checkpoint);
        }
    }

    /// The node that a turn belongs to; `None` when every node has to hear of it.
    pub fn home(&self, key: TurnKey) -> Option<Node> {
        self.held.get(&key)?.home
    }

    fn owe(&mut self, key: TurnKey, what: ReportKind) {
        let is_checkpoint = matches!(what, ReportKind::Checkpoint { .. });
        self.settle(key, is_checkpoint);
        self.n_reports += 1;
        let owed = Owed {
            report: Report { key, what },
            home: self.home(key),
            n_sent: 0,
        };
        self.owed.insert(self.n_reports, owed);
        self.numbers.insert((key, is_checkpoint), self.n_reports);
    }

    fn settle(&mut self, key: TurnKey, is_checkpoint: bool) {
        if let Some(number) = self.numbers.remove(&(key, is_checkpoint)) {
            self.owed.remove(&number);
        }
    }

    fn send_owed(&mut self, node: Node) -> Vec<Report> {
        let riding = self
            .owed
            .values_mut()
            .filter(|it| it.home.is_none_or(|home| home == node));
        let mut results = Vec::new();
        for owed in riding.take(RESULTS_MAX) {
            owed.n_sent += 1;
            if SENDS_AT_HOME_MAX <= owed.n_sent {
                owed.home = None;
            }
            results.push(owed.report.clone());
        }
        results
    }

    fn send_progress(&mut self, node: Node) -> Vec<Progress> {
        let told = self
            .held
            .values_mut()
            .filter(|it| it.home.is_none_or(|home| home == node));
        let told = told.filter_map(|it| it.progress.take());
        told.take(PROGRESS_MAX).collect()
    }

    fn of(&self, node: Node) -> impl Iterator<Item = (&TurnKey, &Held)> {
        self.held
            .iter()
            .filter(move |(_, it)| it.home.is_none_or(|home| home == node))
    }

    /// The room of one node, where `n_nodes` share what is left.
    fn want(&self, n_nodes: usize) -> u32 {
        let n_nodes = u32::try_from(n_nodes.max(1)).unwrap_or(u32::MAX);
        // Nodes with a call under way have got their share already.
        let n_under_way = u32::try_from(self.asked.len()).unwrap_or(u32::MAX);
        let n_left = n_nodes.saturating_sub(n_under_way).max(1);
        self.room().div_ceil(n_left).min(WANT_MAX)
    }

    /// Room in the emptiest sense: a node may fill any one open queue with all of it.
    fn room(&self) -> u32 {
        if self.draining {
            return 0;
        }
        let n_asked: u32 = self.asked.values().sum();
        let rooms = self.queues.iter().map(|it| self.room_of(it));
        let smallest = rooms.filter(|it| 0 < *it).min().unwrap_or(0);
        smallest.saturating_sub(n_asked)
    }

    fn room_of(&self, queue: &Queue) -> u32 {
        let n_held = self.n_held.get(queue.name).copied().unwrap_or(0);
        queue.in_flight_max.saturating_sub(n_held)
    }

    /// How many queues take more turns.
    pub fn n_open_queues(&self) -> usize {
        if self.draining {
            return 0;
        }
        let open = self.queues.iter().filter(|it| 0 < self.room_of(it));
        open.count()
    }

    /// Queues that take more turns; none when none is wanted.
    fn open_queues(&self, want: u32) -> Vec<String> {
        let open = self.queues.iter().filter(|it| 0 < self.room_of(it));
        open.filter(|_| 0 < want)
            .map(|it| it.name.to_owned())
            .collect()
    }

    /// Whether the task is new here and of a step that this process serves.
    fn begin(&mut self, node: Node, task: TurnInput) -> Option<Begun> {
        if let Some(held) = self.held.get_mut(&task.key) {
            // Another node has taken over its partition.
            held.home = Some(node);
            return None;
        }
        let Some(queue) = self
            .queues
            .iter()
            .find(|queue| Some(queue.name) == step_name(&task.resource))
        else {
            tracing::error!(task.id = %task.key.task, task.resource, "was given a task of a step that this worker does not serve");
            return None;
        };
        let (cancel, cancelled) = watch::channel(false);
        let held = Held {
            queue: queue.name,
            home: Some(node),
            cancel,
            progress: None,
        };
        *self.n_held.entry(queue.name).or_default() += 1;
        self.held.insert(task.key, held);
        Some(Begun {
            input: task,
            cancelled,
        })
    }

    fn acknowledge(&mut self, ack: &Ack) {
        if ack.checkpoint {
            self.settle(ack.key, true);
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

    const A: Node = Node(1);
    const B: Node = Node(2);

    fn desk() -> Desk {
        let otp = Queue {
            name: "otp",
            in_flight_max: 2,
        };
        let form = Queue {
            name: "form",
            in_flight_max: 3,
        };
        Desk::new(vec![otp, form], Vec::new())
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

    /// A call to a node that is answered.
    fn call(desk: &mut Desk, node: Node, response: ExchangeResponse) -> (ExchangeRequest, usize) {
        let request = desk.request(node, 1);
        desk.call_ended(node);
        let n_begun = desk.accept(node, response).len();
        (request, n_begun)
    }

    #[test]
    fn a_result_rides_in_every_call_until_it_is_acknowledged() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        assert_eq!(
            call(&mut desk, A, answer(vec![], vec![task(1, "otp")])).1,
            1
        );
        desk.end(key, done());
        for _ in 0..2 {
            let (request, _) = call(&mut desk, A, answer(vec![], vec![]));
            assert_eq!((request.results.len(), request.held.len()), (1, 1));
        }
        call(
            &mut desk,
            A,
            answer(vec![ack(key, false, Ack::ACCEPTED)], vec![]),
        );
        assert!(desk.is_empty());
        assert!(desk.request(A, 1).results.is_empty());
    }

    #[test]
    fn a_full_queue_asks_for_nothing_of_its_kind() {
        let mut desk = desk();
        let tasks = vec![task(1, "otp"), task(2, "otp")];
        assert_eq!(call(&mut desk, A, answer(vec![], tasks)).0.want, 2);
        let request = desk.request(A, 1);
        assert_eq!((request.want, request.queues), (3, vec!["form".to_owned()]));
    }

    #[test]
    fn nodes_share_the_room_and_no_more_than_it_is_asked_for() {
        let mut desk = desk();
        let wants = [A, B, Node(3)].map(|it| desk.request(it, 3).want);
        assert_eq!(wants, [1, 1, 0]);
        assert!(!desk.has_business(Node(3)));
        desk.call_ended(A);
        assert!(desk.has_business(Node(3)));
        let request = desk.request(Node(3), 3);
        assert_eq!((request.want, request.wait_ms), (1, ROTATION_WAIT_MS));
    }

    #[test]
    fn a_result_goes_to_the_node_that_gave_its_turn() {
        let mut desk = desk();
        call(&mut desk, A, answer(vec![], vec![task(1, "otp")]));
        desk.end(task(1, "otp").key, done());
        assert!(desk.owes(A) && !desk.owes(B));
        let to_b = desk.request(B, 2);
        assert_eq!((to_b.results.len(), to_b.held.len()), (0, 0));
    }

    #[test]
    fn what_a_vanished_node_gave_rides_to_every_node_until_one_takes_it() {
        let mut desk = desk();
        let (ended, running) = (task(1, "otp").key, task(2, "form").key);
        let tasks = vec![task(1, "otp"), task(2, "form")];
        call(&mut desk, A, answer(vec![], tasks));
        desk.end(ended, done());
        desk.node_gone(A);
        for node in [B, Node(3)] {
            let request = desk.request(node, 2);
            assert_eq!(request.held, [ended, running]);
            assert_eq!(request.results.len(), 1);
        }
        desk.accept(B, answer(vec![ack(ended, false, Ack::ACCEPTED)], vec![]));
        assert!(!desk.owes(B) && !desk.owes(Node(3)));
        // The new owner of the partition hands out the turn again: it runs here already.
        let begun = desk.accept(B, answer(vec![], vec![task(2, "form")]));
        assert!(begun.is_empty());
        assert_eq!(desk.home(running), Some(B));
    }

    #[test]
    fn a_result_that_its_node_does_not_take_rides_to_every_node() {
        let mut desk = desk();
        call(&mut desk, A, answer(vec![], vec![task(1, "otp")]));
        desk.end(task(1, "otp").key, done());
        for n_sent in 1..=SENDS_AT_HOME_MAX {
            assert!(!desk.owes(B), "{n_sent}");
            assert_eq!(desk.request(A, 2).results.len(), 1);
            desk.call_ended(A);
        }
        assert_eq!(desk.request(B, 2).results.len(), 1);
    }

    #[test]
    fn a_turn_that_is_held_already_is_not_begun_again() {
        let mut desk = desk();
        assert_eq!(
            call(&mut desk, A, answer(vec![], vec![task(1, "otp")])).1,
            1
        );
        assert_eq!(
            call(&mut desk, A, answer(vec![], vec![task(1, "otp")])).1,
            0
        );
    }

    #[test]
    fn a_task_of_another_step_is_neither_begun_nor_held() {
        let mut desk = desk();
        assert_eq!(
            call(&mut desk, A, answer(vec![], vec![task(1, "ocr")])).1,
            0
        );
        assert!(desk.is_empty());
    }

    #[test]
    fn a_checkpoint_is_heard_by_the_turn_that_made_it() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        call(&mut desk, A, answer(vec![], vec![task(1, "otp")]));
        let (acked, mut heard) = oneshot::channel();
        desk.checkpoint(key, Value::Null, acked);
        let told = answer(vec![ack(key, true, "turn_closed")], vec![]);
        assert_eq!(desk.request(A, 1).results.len(), 1);
        assert!(heard.try_recv().is_err());
        desk.accept(A, told);
        assert_eq!(heard.try_recv().unwrap(), "turn_closed");
        assert_eq!(desk.request(A, 1).held, vec![key]);
    }

    #[test]
    fn a_draining_desk_wants_nothing_and_still_hands_in() {
        let mut desk = desk();
        call(&mut desk, A, answer(vec![], vec![task(1, "otp")]));
        desk.drain();
        assert!(!desk.has_business(A));
        desk.end(task(1, "otp").key, done());
        assert!(desk.has_business(A));
        let request = desk.request(A, 1);
        assert_eq!((request.want, request.results.len()), (0, 1));
    }

    #[test]
    fn a_refused_result_is_not_sent_again() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        call(&mut desk, A, answer(vec![], vec![task(1, "otp")]));
        desk.end(key, done());
        desk.accept(A, answer(vec![ack(key, false, "turn_closed")], vec![]));
        assert!(desk.is_empty());
    }

    #[test]
    fn a_turn_hears_that_it_is_cancelled_and_a_drain_does_not_wait_for_it() {
        let mut desk = desk();
        let begun = desk.accept(A, answer(vec![], vec![task(1, "otp")]));
        assert!(!*begun[0].cancelled.borrow() && !desk.is_empty());
        let mut told = answer(vec![], vec![]);
        told.cancelled.push(task(1, "otp").key);
        desk.accept(A, told);
        assert!(*begun[0].cancelled.borrow() && desk.is_empty());
    }

    #[test]
    fn progress_is_told_once_and_only_the_latest() {
        let mut desk = desk();
        let key = task(1, "otp").key;
        call(&mut desk, A, answer(vec![], vec![task(1, "otp")]));
        for percent in [10, 20] {
            let percent = Some(percent);
            desk.progress(
                key,
                Progress {
                    key,
                    percent,
                    note: None,
                    details: None,
                },
            );
        }
        let told: Vec<_> = desk.request(A, 1).progress;
        assert_eq!(
            told.iter().map(|it| it.percent).collect::<Vec<_>>(),
            [Some(20)]
        );
        assert!(desk.request(A, 1).progress.is_empty());
    }

    #[test]
    fn a_resource_names_its_step_with_and_without_version() {
        assert_eq!(step_name("kyc:face-match@1"), Some("face-match"));
        assert_eq!(step_name("kyc:otp"), Some("otp"));
        assert_eq!(step_name("http:otp"), None);
    }
}
