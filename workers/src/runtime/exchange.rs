//! The loop that trades results for tasks with a core node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{self, BoxFuture};
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use btrust_platform::clock::SharedClock;
use btrust_platform::http::Shutdown;
use btrust_platform::objects::EvidenceStore;
use btrust_platform::token::TokenSource;
use btrust_schemas::exchange::{ExchangeRequest, ExchangeResponse};
use btrust_schemas::turn::{TurnInput, TurnResult};

use super::cpu::CpuPool;
use super::desk::{Desk, HEARTBEAT_MS, Queue, step_name};
use super::metrics;
use super::step::{Context, Fault, FromTurn, Step, guarded};

/// First and longest pause after a call that failed.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// How long running turns may take to end after a shutdown was asked for.
///
/// Source: below the 30 s that ECS and systemd leave by default between asking and killing.
pub const DRAIN_MAX: Duration = Duration::from_secs(20);
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
    #[error("core refused the call with status {0}")]
    Refused(u16),
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
        let url = format!("{}/internal/v1/tasks/exchange", core_url.trim_end_matches('/'));
        Self { url, client, tokens }
    }
}

#[async_trait]
impl Core for HttpCore {
    async fn exchange(&self, request: &ExchangeRequest) -> Result<ExchangeResponse, ExchangeError> {
        let token = self.tokens.bearer().await.map_err(|error| ExchangeError::NoToken(error.into()))?;
        let response = self
            .client
            .post(&self.url)
            .bearer_auth(token)
            .timeout(Duration::from_millis(request.wait_ms) + CALL_GRACE)
            .json(request)
            .send()
            .await?;
        if !response.status().is_success() {
            return Err(ExchangeError::Refused(response.status().as_u16()));
        }
        Ok(response.json().await?)
    }
}

/// When core last answered, for the health page.
#[derive(Debug, Default)]
pub struct LastAnswer(AtomicI64);

impl LastAnswer {
    /// Milliseconds since the epoch; 0 before the first answer.
    pub fn at_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }
}

/// One worker process: the steps it serves and what their turns may use.
pub struct Worker {
    pub core: Arc<dyn Core>,
    pub steps: Vec<Arc<dyn Step>>,
    pub evidence: Arc<EvidenceStore>,
    pub clock: SharedClock,
    pub cpu: CpuPool,
    pub last_answer: Arc<LastAnswer>,
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
        let queues = self.steps.iter().map(|it| Queue { name: it.name(), in_flight_max: it.in_flight_max() });
        let mut desk = Desk::new(session, queues.collect());
        let steps: BTreeMap<&'static str, Arc<dyn Step>> =
            self.steps.iter().map(|it| (it.name(), Arc::clone(it))).collect();
        let (to_loop, mut from_turns) = mpsc::channel(FROM_TURNS_MAX);

        let mut call: Option<Call> = None;
        let mut backoff = BACKOFF_FIRST;
        let mut not_before = Instant::now();
        let mut heartbeat_at = Instant::now();
        let mut drain_until: Option<Instant> = None;
        loop {
            if drain_until.is_some() && (desk.is_empty() || drain_until <= Some(Instant::now())) {
                break;
            }
            let now = Instant::now();
            let is_due = desk.has_business() || (!desk.is_empty() && heartbeat_at <= now);
            if call.is_none() && is_due && not_before <= now {
                call = Some(self.begin_call(&mut desk));
                heartbeat_at = now + Duration::from_millis(HEARTBEAT_MS);
            }
            let wake_at = if call.is_some() {
                drain_until
            } else if desk.has_business() {
                Some(not_before)
            } else {
                drain_until.into_iter().chain([heartbeat_at.max(not_before)]).min()
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
                            backoff = BACKOFF_FIRST;
                            self.last_answer.note(self.clock.now_ms());
                            for input in desk.accept(response) {
                                self.begin_turn(&steps, input, to_loop.clone());
                            }
                        }
                        Err(error) => {
                            metrics::exchange_failed();
                            tracing::warn!(error = &error as &dyn std::error::Error, "an exchange with core failed");
                            not_before = Instant::now() + backoff;
                            backoff = (backoff * 2).min(BACKOFF_MAX);
                        }
                    }
                }
                () = until(wake_at) => {}
                () = shutdown.wait(), if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + DRAIN_MAX);
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
        Call { answer: async move { core.exchange(&request).await }.boxed(), is_parked }
    }

    /// Runs one turn beside the loop.
    fn begin_turn(
        &self,
        steps: &BTreeMap<&'static str, Arc<dyn Step>>,
        input: TurnInput,
        to_loop: mpsc::Sender<FromTurn>,
    ) {
        let Some(step) = step_name(&input.resource).and_then(|name| steps.get(name)).cloned() else { return };
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
            tracing::warn!(error = &error as &dyn std::error::Error, "could not give the leases back; they will time out");
        }
    }
}

/// Books what a turn says.
fn book(desk: &mut Desk, message: FromTurn) {
    match message {
        FromTurn::Checkpoint { key, state, acked } => desk.checkpoint(key, state, acked),
        FromTurn::Ended { key, result: Ok(result) } => desk.end(key, result),
        FromTurn::Ended { key, result: Err(Fault::Failed { error, cause }) } => {
            desk.end(key, TurnResult::Fail { error: error.to_owned(), cause });
        }
        FromTurn::Ended { key, result: Err(Fault::Superseded) } => desk.forget(key),
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
