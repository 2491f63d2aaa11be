//! The loop that trades results for tasks with a core node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use reqwest::StatusCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use btrust_platform::clock::SharedClock;
use btrust_platform::http::Shutdown;
use btrust_platform::objects::EvidenceStore;
use btrust_platform::token::TokenSource;
use btrust_schemas::exchange::{ExchangeRequest, ExchangeResponse};
use btrust_schemas::problem::Problem;
use btrust_schemas::turn::{TurnInput, TurnResult};

use super::cpu::CpuPool;
use super::desk::{Desk, Queue, step_name};
use super::metrics;
use super::pace::Pace;
use super::step::{Context, Fault, FromTurn, Step, guarded};

/// Room of the channel from turns to the loop; a full one only makes turns wait.
const FROM_TURNS_MAX: usize = 256;
/// How much longer than a node may hold a call the worker waits for its answer.
const CALL_GRACE: Duration = Duration::from_secs(10);

/// One call to a core node.
#[async_trait]
pub trait Core: Send + Sync {
    async fn exchange(&self, request: &ExchangeRequest) -> Result<ExchangeResponse, ExchangeError>;
}

/// Why a call got no answer; the loop tries again in every case.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("core did not answer")]
    Unreachable(#[from] reqwest::Error),
    #[error("core refused the call with status {status} and code {code}")]
    Refused { status: u16, code: String },
    #[error("there is no token for core")]
    NoToken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Core over HTTP.
pub struct HttpCore {
    url: String,
    client: reqwest::Client,
    tokens: TokenSource,
}

impl HttpCore {
    /// A client of the core node at `core_url`.
    pub fn new(core_url: &str, client: reqwest::Client, tokens: TokenSource) -> Self {
        let url = format!(
            "{}/internal/v1/tasks/exchange",
            core_url.trim_end_matches('/')
        );
        Self {
            url,
            client,
            tokens,
        }
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
    pub core: Arc<dyn Core>,
    pub steps: Vec<Arc<dyn Step>>,
    pub evidence: Arc<EvidenceStore>,
    pub clock: SharedClock,
    pub cpu: CpuPool,
}

/// A call under way; a parked one carries no reports and may be dropped for one that does.
struct Call {
    answer: BoxFuture<'static, Result<ExchangeResponse, ExchangeError>>,
    is_parked: bool,
}

impl Worker {
    /// Serves tasks until `shutdown`, then ends the running turns, hands in their results and gives
    /// the remaining leases back.
    pub async fn run(self, session: String, shutdown: Shutdown) {
        let queues = self.steps.iter().map(|it| Queue {
            name: it.name(),
            in_flight_max: it.in_flight_max(),
        });
        let mut desk = Desk::new(session, queues.collect());
        let steps: BTreeMap<&'static str, Arc<dyn Step>> = self
            .steps
            .iter()
            .map(|it| (it.name(), Arc::clone(it)))
            .collect();
        let (to_loop, mut from_turns) = mpsc::channel(FROM_TURNS_MAX);

        let mut call: Option<Call> = None;
        let mut pace = Pace::new(Instant::now());
        while !pace.is_over(&desk, Instant::now()) {
            if call.is_none() && pace.is_due(&desk, Instant::now()) {
                call = Some(self.begin_call(&mut desk));
                pace.called(Instant::now());
            }
            let wake_at = match call {
                Some(_) => pace.drain_ends_at(),
                None => Some(pace.wake_at(&desk)),
            };
            tokio::select! {
                message = from_turns.recv() => {
                    let mut next = message;
                    while let Some(message) = next {
                        book(&mut desk, message);
                        next = from_turns.try_recv().ok();
                    }
                    call = call.filter(|call| !call.is_parked);
                }
                answer = answer_of(call.as_mut()) => {
                    call = None;
                    match answer {
                        Ok(response) => {
                            pace.succeeded();
                            for input in desk.accept(response) {
                                self.begin_turn(&steps, input, to_loop.clone());
                            }
                        }
                        Err(error) => {
                            pace.failed(Instant::now());
                            metrics::exchange_failed();
                            tracing::warn!(error = &error as &dyn std::error::Error, "an exchange with core failed");
                        }
                    }
                }
                () = until(wake_at) => {}
                () = shutdown.wait(), if !pace.is_draining() => {
                    pace.drain(Instant::now());
                    desk.drain();
                    call = call.filter(|call| !call.is_parked);
                }
            }
        }
        self.give_back(desk).await;
    }

    fn begin_call(&self, desk: &mut Desk) -> Call {
        let request = desk.request();
        let is_parked = request.results.is_empty();
        let core = Arc::clone(&self.core);
        Call {
            answer: async move { core.exchange(&request).await }.boxed(),
            is_parked,
        }
    }

    /// Runs one turn beside the loop.
    fn begin_turn(
        &self,
        steps: &BTreeMap<&'static str, Arc<dyn Step>>,
        input: TurnInput,
        to_loop: mpsc::Sender<FromTurn>,
    ) {
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
            checkpoints: to_loop.clone(),
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

    /// Tells core that nothing is held any more, so that what is left goes to another worker at once.
    async fn give_back(&self, mut desk: Desk) {
        desk.abandon();
        if let Err(error) = self.core.exchange(&desk.request()).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not give the leases back; they will time out"
            );
        }
    }
}

/// Books what a turn says.
fn book(desk: &mut Desk, message: FromTurn) {
    match message {
        FromTurn::Checkpoint { key, state, acked } => desk.checkpoint(key, state, acked),
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

async fn answer_of(call: Option<&mut Call>) -> Result<ExchangeResponse, ExchangeError> {
    match call {
        Some(call) => (&mut call.answer).await,
        None => future::pending().await,
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
    use std::sync::atomic::{AtomicU32, Ordering};

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
                        nodes: Vec::new(),
                        cancelled: Vec::new(),
                    });
                }
                heard.await;
            }
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
        let bench = Bench::new().await;
        let core = Arc::new(ScriptedCore::default());
        let puppet = Arc::new(Puppet::default());
        let shutdown = Shutdown::new();
        let worker = Worker {
            core: core.clone(),
            steps: vec![puppet.clone()],
            evidence: Arc::clone(&bench.evidence),
            clock: bench.clock.clone(),
            cpu: CpuPool::new(1),
        };
        let worker = tokio::spawn(worker.run("session".to_owned(), shutdown.clone()));
        Stage {
            bench,
            core,
            puppet,
            shutdown,
            worker,
        }
    }

    impl Stage {
        fn give(&self, what: &str) -> TurnKey {
            let mut input = self
                .bench
                .input(self.puppet.as_ref(), TurnReason::First, None);
            input.arguments = json!(what);
            let key = input.key;
            self.core.give(input);
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
}
