//! The loop that trades results for tasks with the core nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future;
use reqwest::StatusCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use btrust_platform::clock::SharedClock;
use btrust_platform::http::Shutdown;
use btrust_platform::objects::EvidenceStore;
use btrust_platform::token::TokenSource;
use btrust_schemas::exchange::{ExchangeRequest, ExchangeResponse};
use btrust_schemas::problem::Problem;
use btrust_schemas::turn::TurnResult;

use super::cpu::CpuPool;
use super::desk::{Begun, Desk, Queue, step_name};
use super::links::{Answer, Core, Cores, ExchangeError, Links};
use super::metrics;
use super::pace::DRAIN_MAX;
use super::step::{Context, Fault, FromTurn, Step, guarded};

/// Room of the channel from turns to the loop; a full one only makes turns wait.
const FROM_TURNS_MAX: usize = 256;
/// How much longer than a node may hold a call the worker waits for its answer.
const CALL_GRACE: Duration = Duration::from_secs(10);

/// Core nodes over HTTP.
pub struct HttpCores {
    client: reqwest::Client,
    tokens: Arc<TokenSource>,
}

struct HttpCore {
    url: String,
    client: reqwest::Client,
    tokens: Arc<TokenSource>,
}

impl HttpCores {
    /// Nodes that take the tokens of `tokens`.
    pub fn new(client: reqwest::Client, tokens: TokenSource) -> Self {
        let tokens = Arc::new(tokens);
        Self { client, tokens }
    }
}

impl Cores for HttpCores {
    fn at(&self, url: &str) -> Arc<dyn Core> {
        let base = url.trim_end_matches('/');
        Arc::new(HttpCore {
            url: format!("{base}/internal/v1/tasks/exchange"),
            client: self.client.clone(),
            tokens: Arc::clone(&self.tokens),
        })
    }
}

#[async_trait]
impl Core for HttpCore {
    async fn exchange(&self, request: &ExchangeRequest) -> Result<ExchangeResponse, ExchangeError> {
        let token = self
            .tokens
            .bearer()
            .await
            .map_err(|error| ExchangeError::NoToken(error.into()))?;
        let response = self
            .client
            .post(&self.url)
            .bearer_auth(token)
            .timeout(Duration::from_millis(request.wait_ms) + CALL_GRACE)
            .json(request)
            .send()
            .await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.tokens.forget();
        }
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let problem = response.json::<Problem>().await;
            let code = problem.map_or_else(|_| "no code".to_owned(), |it| it.code);
            return Err(ExchangeError::Refused { status, code });
        }
        Ok(response.json().await?)
    }
}

/// One worker process: the steps it serves and what their turns may use.
pub struct Worker {
    pub cores: Arc<dyn Cores>,
    /// Base URL of a core node, or of a load balancer before them, that names the nodes.
    pub core_url: String,
    pub steps: Vec<Arc<dyn Step>>,
    /// What it offers to tasks that ask for labels: `region=eu`, `gpu`.
    pub labels: Vec<String>,
    pub evidence: Arc<EvidenceStore>,
    pub clock: SharedClock,
    pub cpu: CpuPool,
}

/// What one run of a worker works with.
struct Shift {
    desk: Desk,
    links: Links,
    steps: BTreeMap<&'static str, Arc<dyn Step>>,
    to_loop: mpsc::Sender<FromTurn>,
    drain_until: Option<Instant>,
}

impl Shift {
    /// Whether a drain has nothing left to wait for.
    fn is_over(&self, now: Instant) -> bool {
        let is_late = |until| until <= now || self.links.have_all_failed();
        self.drain_until
            .is_some_and(|until| self.desk.is_empty() || is_late(until))
    }

    fn wake_at(&self) -> Option<Instant> {
        let call_at = self.links.wake_at(&self.desk);
        call_at.into_iter().chain(self.drain_until).min()
    }

    fn drain(&mut self, now: Instant) {
        self.drain_until = Some(now + DRAIN_MAX);
        self.desk.drain();
        self.links.interrupt_all(&mut self.desk);
    }
}

impl Worker {
    /// Serves tasks until `shutdown`, then ends the running turns, hands in their results and gives
    /// the remaining leases back.
    pub async fn run(self, session: String, shutdown: Shutdown) {
        let queues = self.steps.iter().map(|it| Queue {
            name: it.name(),
            in_flight_max: it.in_flight_max(),
        });
        let steps = self.steps.iter().map(|it| (it.name(), Arc::clone(it)));
        let (to_loop, mut from_turns) = mpsc::channel(FROM_TURNS_MAX);
        let cores = Arc::clone(&self.cores);
        let mut shift = Shift {
            desk: Desk::new(queues.collect(), self.labels.clone()),
            links: Links::new(cores, &self.core_url, session, Instant::now()),
            steps: steps.collect(),
            to_loop,
            drain_until: None,
        };
        while !shift.is_over(Instant::now()) {
            shift.links.begin_calls(&mut shift.desk, Instant::now());
            let wake_at = shift.wake_at();
            tokio::select! {
                biased;
                () = shutdown.wait(), if shift.drain_until.is_none() => shift.drain(Instant::now()),
                message = from_turns.recv() => {
                    let mut next = message;
                    while let Some(message) = next {
                        book(&mut shift.desk, message);
                        next = from_turns.try_recv().ok();
                    }
                    let n_open = shift.desk.n_open_queues();
                    shift.links.interrupt(&mut shift.desk, n_open);
                }
                (node, answer) = shift.links.next_answer() => {
                    shift.desk.call_ended(node);
                    self.answered(&mut shift, node, answer);
                }
                () = until(wake_at) => {}
            }
        }
        shift.desk.abandon();
        shift.links.give_back(&mut shift.desk).await;
    }

    fn answered(&self, shift: &mut Shift, node: super::desk::Node, answer: Answer) {
        let now = Instant::now();
        match answer {
            Ok(mut response) => {
                let nodes = std::mem::take(&mut response.nodes);
                for begun in shift.desk.accept(node, response) {
                    self.begin_turn(&shift.steps, begun, shift.to_loop.clone());
                }
                shift.links.answered(node, &nodes, &mut shift.desk, now);
            }
            Err(error) => {
                shift.links.failed(node, now);
                metrics::exchange_failed();
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an exchange with core failed"
                );
            }
        }
    }

    /// Runs one turn beside the loop.
    fn begin_turn(
        &self,
        steps: &BTreeMap<&'static str, Arc<dyn Step>>,
        begun: Begun,
        to_loop: mpsc::Sender<FromTurn>,
    ) {
        let Begun { input, cancelled } = begun;
        let Some(step) = step_name(&input.resource)
            .and_then(|name| steps.get(name))
            .cloned()
        else {
            return;
        };
        let context = Context {
            key: input.key,
            tenant: input.tenant.clone(),
            workflow: input.workflow,
            clock: Arc::clone(&self.clock),
            evidence: Arc::clone(&self.evidence),
            cpu: self.cpu.clone(),
            to_loop: to_loop.clone(),
            cancelled,
        };
        tokio::spawn(async move {
            let key = input.key;
            let (name, state_name) = (step.name(), input.state_name.clone());
            let timer = metrics::turn_begins(name);
            let result = guarded(async move { step.turn(&context, input).await }).await;
            let (label, duration_ms) = timer.ends(&result);
            tracing::info!(
                task.id = %key.task, task.attempt = key.attempt, task.turn = key.turn,
                state.name = state_name, step.name = name, result = label, duration_ms, "a turn ended"
            );
            // The loop ends only after a drain that did not wait for this turn.
            let _ = to_loop.send(FromTurn::Ended { key, result }).await;
        });
    }
}

/// Books what a turn says.
fn book(desk: &mut Desk, message: FromTurn) {
    match message {
        FromTurn::Checkpoint { key, state, acked } => desk.checkpoint(key, state, acked),
        FromTurn::Progress(progress) => desk.progress(progress.key, progress),
        FromTurn::Ended {
            key,
            result: Ok(result),
        } => desk.end(key, result),
        FromTurn::Ended {
            key,
            result: Err(Fault::Failed { error, cause }),
        } => {
            desk.end(
                key,
                TurnResult::Fail {
                    error: error.to_owned(),
                    cause,
                },
            );
        }
        FromTurn::Ended {
            key,
            result: Err(Fault::Superseded),
        } => desk.forget(key),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use btrust_schemas::turn::TurnInput;
    use serde_json::{Value, json};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use btrust_schemas::exchange::{Ack, Report, ReportKind};
    use btrust_schemas::turn::{ERROR_WORKER_FAULT, TurnKey, TurnReason};

    use super::*;
    use crate::runtime::complete;
    use crate::testing::Bench;

    /// A core that hands out what it is given, acknowledges at once, and parks polls for ever.
    #[derive(Default)]
    struct ScriptedCore {
        tasks: Mutex<Vec<TurnInput>>,
        reports: Mutex<Vec<Report>>,
        requests: Mutex<Vec<ExchangeRequest>>,
        /// Calls that fail after their reports were lost.
        n_failing: AtomicU32,
        /// The nodes that it names.
        nodes: Mutex<Vec<String>>,
        is_gone: AtomicBool,
        news: Notify,
        reported: Notify,
    }

    #[async_trait]
    impl Core for ScriptedCore {
        async fn exchange(
            &self,
            request: &ExchangeRequest,
        ) -> Result<ExchangeResponse, ExchangeError> {
            self.requests.lock().unwrap().push(request.clone());
            let gone = || ExchangeError::Refused {
                status: 503,
                code: "gone".to_owned(),
            };
            if self.is_gone.load(Ordering::SeqCst) {
                return Err(gone());
            }
            let brings = !request.results.is_empty();
            if brings && self.n_failing.load(Ordering::SeqCst) != 0 {
                self.n_failing.fetch_sub(1, Ordering::SeqCst);
                return Err(ExchangeError::Refused {
                    status: 503,
                    code: "overloaded".to_owned(),
                });
            }
            let mut acks = Vec::new();
            for report in &request.results {
                let checkpoint = matches!(report.what, ReportKind::Checkpoint { .. });
                acks.push(Ack {
                    key: report.key,
                    checkpoint,
                    code: Ack::ACCEPTED.to_owned(),
                });
                self.reports.lock().unwrap().push(report.clone());
                self.reported.notify_one();
            }
            loop {
                let heard = self.news.notified();
                let n_taken = self.tasks.lock().unwrap().len().min(request.want as usize);
                let tasks: Vec<TurnInput> = self.tasks.lock().unwrap().drain(..n_taken).collect();
                if brings || !tasks.is_empty() || request.want == 0 {
                    return Ok(ExchangeResponse {
                        acks,
                        tasks,
                        nodes: self.nodes.lock().unwrap().clone(),
                        cancelled: Vec::new(),
                    });
                }
                heard.await;
                if self.is_gone.load(Ordering::SeqCst) {
                    return Err(gone());
                }
            }
        }
    }

    /// Cores by their address.
    struct Addresses(BTreeMap<String, Arc<ScriptedCore>>);

    impl Cores for Addresses {
        fn at(&self, url: &str) -> Arc<dyn Core> {
            self.0[url].clone()
        }
    }

    impl ScriptedCore {
        fn give(&self, task: TurnInput) {
            self.tasks.lock().unwrap().push(task);
            self.news.notify_one();
        }

        /// The reports so far, once there are `n` of them.
        async fn reports(&self, n: usize) -> Vec<ReportKind> {
            while self.reports.lock().unwrap().len() < n {
                self.reported.notified().await;
            }
            self.reports
                .lock()
                .unwrap()
                .iter()
                .map(|it| it.what.clone())
                .collect()
        }
    }

    /// Does what its arguments say.
    #[derive(Default)]
    struct Puppet {
        release: Arc<Notify>,
        n_running: AtomicU32,
        n_running_most: AtomicU32,
    }

    #[async_trait]
    impl Step for Puppet {
        fn name(&self) -> &'static str {
            "puppet"
        }

        fn in_flight_max(&self) -> u32 {
            2
        }

        async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
            let n_running = self.n_running.fetch_add(1, Ordering::SeqCst) + 1;
            self.n_running_most.fetch_max(n_running, Ordering::SeqCst);
            match input.arguments.as_str() {
                Some("panic") => panic!("the strings are cut"),
                Some("checkpoint") => context.checkpoint(&json!({ "v": 1 })).await?,
                Some("wait") => self.release.notified().await,
                Some("compute-panic") => context.compute(|| panic!("too deep")).await?,
                _ => {}
            }
            self.n_running.fetch_sub(1, Ordering::SeqCst);
            complete("danced", &Value::Null)
        }
    }

    struct Stage {
        bench: Bench,
        core: Arc<ScriptedCore>,
        puppet: Arc<Puppet>,
        shutdown: Shutdown,
        worker: JoinHandle<()>,
    }

    async fn stage() -> Stage {
        stage_with(&[]).await.0
    }

    /// A worker, its core, and the cores at other addresses.
    async fn stage_with(others: &[&str]) -> (Stage, Vec<Arc<ScriptedCore>>) {
        let bench = Bench::new().await;
        let core = Arc::new(ScriptedCore::default());
        let mut cores = BTreeMap::from([("http://core".to_owned(), Arc::clone(&core))]);
        for url in others {
            cores.insert((*url).to_owned(), Arc::default());
        }
        let others = others.iter().map(|it| Arc::clone(&cores[*it])).collect();
        let puppet = Arc::new(Puppet::default());
        let shutdown = Shutdown::new();
        let worker = Worker {
            cores: Arc::new(Addresses(cores)),
            core_url: "http://core".to_owned(),
            labels: Vec::new(),
            steps: vec![puppet.clone()],
            evidence: Arc::clone(&bench.evidence),
            clock: bench.clock.clone(),
            cpu: CpuPool::new(1),
        };
        let worker = tokio::spawn(worker.run("session".to_owned(), shutdown.clone()));
        let stage = Stage {
            bench,
            core,
            puppet,
            shutdown,
            worker,
        };
        (stage, others)
    }

    impl Stage {
        fn give(&self, what: &str) -> TurnKey {
            self.give_at(&self.core, what)
        }

        fn give_at(&self, core: &ScriptedCore, what: &str) -> TurnKey {
            let mut input = self
                .bench
                .input(self.puppet.as_ref(), TurnReason::First, None);
            input.arguments = json!(what);
            let key = input.key;
            core.give(input);
            key
        }
    }

    fn danced() -> ReportKind {
        ReportKind::Result {
            result: TurnResult::Complete {
                outcome: "danced".to_owned(),
                output: Value::Null,
            },
        }
    }

    #[tokio::test]
    async fn a_task_is_taken_and_its_result_brought_while_another_poll_is_parked() {
        let stage = stage().await;
        stage.give("dance");
        assert_eq!(stage.core.reports(1).await, [danced()]);
        stage.give("dance");
        assert_eq!(stage.core.reports(2).await, [danced(), danced()]);
    }

    #[tokio::test]
    async fn a_panic_fails_the_turn_and_the_worker_goes_on() {
        for how in ["panic", "compute-panic"] {
            let stage = stage().await;
            stage.give(how);
            let reports = stage.core.reports(1).await;
            let ReportKind::Result {
                result: TurnResult::Fail { error, .. },
            } = &reports[0]
            else {
                panic!("{reports:?}");
            };
            assert_eq!(error, ERROR_WORKER_FAULT);
            stage.give("dance");
            assert_eq!(stage.core.reports(2).await[1], danced());
        }
    }

    #[tokio::test]
    async fn a_checkpoint_is_durable_before_the_turn_goes_on() {
        let stage = stage().await;
        stage.give("checkpoint");
        let reports = stage.core.reports(2).await;
        assert_eq!(
            reports,
            [
                ReportKind::Checkpoint {
                    state: json!({ "v": 1 })
                },
                danced()
            ]
        );
    }

    #[tokio::test]
    async fn a_result_is_brought_again_until_core_takes_it() {
        let stage = stage().await;
        stage.core.n_failing.store(2, Ordering::SeqCst);
        let key = stage.give("dance");
        assert_eq!(stage.core.reports(1).await, [danced()]);
        let requests = stage.core.requests.lock().unwrap();
        let bringing: Vec<_> = requests
            .iter()
            .filter(|it| !it.results.is_empty())
            .collect();
        assert_eq!(bringing.len(), 3);
        assert!(
            bringing
                .iter()
                .all(|it| it.held == [key] && it.results.len() == 1)
        );
    }

    #[tokio::test]
    async fn no_more_turns_run_at_once_than_the_step_permits() {
        let stage = stage().await;
        for _ in 0..6 {
            stage.give("wait");
        }
        for n in 1..=6 {
            stage.puppet.release.notify_one();
            stage.core.reports(n).await;
        }
        assert_eq!(stage.puppet.n_running_most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_shutdown_does_not_wait_for_a_core_that_is_gone() {
        let stage = stage().await;
        stage.core.n_failing.store(u32::MAX, Ordering::SeqCst);
        stage.give("dance");
        stage.shutdown.trigger();
        stage.worker.await.unwrap();
        assert_eq!(stage.core.reports.lock().unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_shutdown_ends_what_runs_brings_it_and_gives_the_leases_back() {
        let stage = stage().await;
        stage.give("dance");
        stage.core.reports(1).await;
        stage.give("wait");
        while stage.puppet.n_running.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        stage.shutdown.trigger();
        stage.puppet.release.notify_one();
        stage.worker.await.unwrap();
        assert_eq!(stage.core.reports(2).await.len(), 2);
        let requests = stage.core.requests.lock().unwrap();
        let last = requests.last().unwrap();
        assert_eq!((last.want, last.held.len(), last.results.len()), (0, 0, 0));
    }

    /// A worker whose core, a load balancer, names two nodes.
    async fn two_nodes() -> (Stage, Vec<Arc<ScriptedCore>>) {
        let urls = ["http://one", "http://two"];
        let (stage, nodes) = stage_with(&urls).await;
        for core in nodes.iter().chain([&stage.core]) {
            *core.nodes.lock().unwrap() = urls.map(str::to_owned).to_vec();
        }
        (stage, nodes)
    }

    #[tokio::test]
    async fn turns_come_from_every_node_that_is_named_and_go_back_to_theirs() {
        let (stage, nodes) = two_nodes().await;
        for node in &nodes {
            stage.give_at(node, "dance");
            assert_eq!(node.reports(1).await, [danced()]);
        }
        assert!(stage.core.reports.lock().unwrap().is_empty());
        let sessions: Vec<String> = nodes
            .iter()
            .map(|it| it.requests.lock().unwrap()[0].session.clone())
            .collect();
        assert_ne!(sessions[0], sessions[1]);
    }

    #[tokio::test]
    async fn the_result_of_a_turn_whose_node_has_vanished_goes_to_the_others() {
        let (stage, nodes) = two_nodes().await;
        let key = stage.give_at(&nodes[0], "wait");
        while stage.puppet.n_running.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        nodes[0].is_gone.store(true, Ordering::SeqCst);
        *nodes[1].nodes.lock().unwrap() = vec!["http://two".to_owned()];
        // Its answer says that the other one is gone.
        stage.give_at(&nodes[1], "dance");
        nodes[1].reports(1).await;
        stage.puppet.release.notify_one();
        assert_eq!(nodes[1].reports(2).await, [danced(), danced()]);
        let reports = nodes[1].reports.lock().unwrap();
        assert!(reports.iter().any(|it| it.key == key));
        assert!(nodes[0].reports.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_worker_that_lost_every_node_asks_the_load_balancer_again() {
        let (stage, nodes) = two_nodes().await;
        stage.give_at(&nodes[0], "dance");
        nodes[0].reports(1).await;
        for node in &nodes {
            node.is_gone.store(true, Ordering::SeqCst);
            node.news.notify_one();
        }
        *stage.core.nodes.lock().unwrap() = vec!["http://core".to_owned()];
        stage.give("dance");
        assert_eq!(stage.core.reports(1).await, [danced()]);
    }
}
