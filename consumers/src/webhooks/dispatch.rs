//! Sends what is due: so many calls at a time, in all, of each tenant and to each endpoint, until it is told to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use btrust_platform::http::Shutdown;
use btrust_platform::random;

use super::delivery::{Change, Fault, Outcome, State};
use super::sender::{CALL_MAX, Call};
use super::store::{Claim, DueEndpoint, Recorded, StoreError};
use super::target::Target;
use super::{RETENTION_MS, Webhooks, metrics};

/// Calls of this process under way at the same time.
///
/// Source: memory for bodies and TLS below 10 MB, and far more than a bank's workflows a second need.
const IN_FLIGHT_MAX: usize = 64;
/// Of those, to one endpoint; and to one whose latest call was not taken, so that it is not stormed when it
/// comes back.
const IN_FLIGHT_OF_ENDPOINT_MAX: usize = 8;
const IN_FLIGHT_OF_FAILING_MAX: usize = 1;
/// Endpoints that one look finds: those with calls under way and as many others.
///
/// Source: four times [`IN_FLIGHT_MAX`].
const LOOKED_AT: i64 = 256;
/// How long a claim holds, ms; then whoever looks next sends the call again.
///
/// Source: twice the longest call, so that only a process that has died loses one.
const CLAIM_MS: i64 = 60_000;
/// The longest time without a look: what another process has written down is found so.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause after the database has failed.
const PAUSE: Duration = Duration::from_secs(2);
/// How often deliveries beyond their retention are looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// The calls that are under way.
pub(super) struct Dispatcher {
    webhooks: Arc<Webhooks>,
    running: JoinSet<DueEndpoint>,
    /// Calls under way to each endpoint, and of each tenant.
    by_endpoint: HashMap<String, usize>,
    by_tenant: HashMap<String, usize>,
}

impl Webhooks {
    /// Sends what is due until `shutdown`, and lets the calls under way end.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let sweeping = tokio::spawn(Arc::clone(&self).sweep_for_ever());
        let mut dispatcher = Dispatcher::new(Arc::clone(&self));
        while !shutdown.is_triggered() {
            let pause = match dispatcher.look().await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "webhooks cannot look for what is due");
                    PAUSE
                }
            };
            tokio::select! {
                () = dispatcher.one_ended() => {}
                () = self.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = shutdown.wait() => {}
            }
        }
        sweeping.abort();
        let ending = async { while dispatcher.join().await {} };
        if tokio::time::timeout(CALL_MAX, ending).await.is_err() {
            tracing::warn!("calls of webhooks were cut; they are sent again");
        }
    }

    async fn sweep_for_ever(self: Arc<Self>) {
        loop {
            if let Err(error) = self.sweep().await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "old deliveries of webhooks cannot be deleted");
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    /// Forgets what is beyond its retention.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        self.store.delete_expired_secrets(now_ms).await?;
        while self.store.sweep(now_ms - RETENTION_MS).await? {}
        Ok(())
    }

    /// Makes one call and writes down what became of it.
    async fn attempt(&self, endpoint: &DueEndpoint, claim: &Claim) {
        let began_ms = self.clock.now_ms();
        let timer = metrics::CALL_SECONDS.start_timer();
        let outcome = self.call(endpoint, claim, began_ms).await;
        timer.observe_duration();
        metrics::ATTEMPTS.with_label_values(&[class(outcome)]).inc();
        let draw = u64::from_be_bytes(random::bytes(&*self.random));
        let now_ms = self.clock.now_ms();
        match self
            .store
            .record(claim, outcome, began_ms, now_ms, draw)
            .await
        {
            Ok(Recorded::Changed(change)) => tell(endpoint, claim, change),
            Ok(Recorded::Lost) => {
                let (endpoint, delivery) = (&endpoint.id, &claim.id);
                tracing::warn!(endpoint, delivery, "a claim had ended before its call");
            }
            // It is due again when the claim ends: a receiver may see the call twice, under one id.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    delivery = claim.id,
                    "the end of a call is not written down"
                );
            }
        }
    }

    async fn call(&self, endpoint: &DueEndpoint, claim: &Claim, now_ms: i64) -> Outcome {
        let Ok(target) = Target::parse(&endpoint.url, self.sender.reach()) else {
            // The settings were stricter when the process began anew.
            return Outcome::Unanswered(Fault::Address);
        };
        let secrets = match self
            .signing_secrets(&endpoint.tenant, &endpoint.id, now_ms)
            .await
        {
            Ok(secrets) if !secrets.is_empty() => secrets,
            Ok(_) => return Outcome::Unanswered(Fault::Secrets),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, endpoint = endpoint.id, "a call cannot be signed");
                return Outcome::Unanswered(Fault::Secrets);
            }
        };
        let call = Call {
            target: &target,
            id: &claim.id,
            timestamp_s: now_ms / 1_000,
            body: &claim.body,
            secrets: &secrets,
        };
        self.sender.send(&call).await
    }
}

impl Dispatcher {
    pub(super) fn new(webhooks: Arc<Webhooks>) -> Self {
        Self {
            webhooks,
            running: JoinSet::new(),
            by_endpoint: HashMap::new(),
            by_tenant: HashMap::new(),
        }
    }

    /// Starts calls of what is due, as far as there is room.
    pub(super) async fn look(&mut self) -> Result<(), StoreError> {
        if IN_FLIGHT_MAX <= self.running.len() {
            return Ok(());
        }
        let now_ms = self.webhooks.clock.now_ms();
        let due = self.webhooks.store.due_endpoints(now_ms, LOOKED_AT).await?;
        for endpoint in due {
            let room = self.room(&endpoint);
            if room == 0 {
                continue;
            }
            let limit = i64::try_from(room).expect("room is at most the limit");
            let until_ms = now_ms + CLAIM_MS;
            let store = &self.webhooks.store;
            let claims = store.claim(&endpoint.id, now_ms, until_ms, limit).await?;
            for claim in claims {
                self.start(endpoint.clone(), claim);
            }
        }
        Ok(())
    }

    /// How many more calls an endpoint may have.
    ///
    /// A tenant has at most as many calls under way as are free: one alone takes half of them, k together
    /// leave 1/(k+1), and so there is room whenever another one has something to send.
    fn room(&self, endpoint: &DueEndpoint) -> usize {
        let n_to_endpoint = count(&self.by_endpoint, &endpoint.id);
        let n_of_tenant = count(&self.by_tenant, &endpoint.tenant);
        let most = if endpoint.is_failing {
            IN_FLIGHT_OF_FAILING_MAX
        } else {
            IN_FLIGHT_OF_ENDPOINT_MAX
        };
        let n_free = IN_FLIGHT_MAX - self.running.len();
        let share = n_free.saturating_sub(n_of_tenant).div_ceil(2);
        most.saturating_sub(n_to_endpoint).min(share)
    }

    fn start(&mut self, endpoint: DueEndpoint, claim: Claim) {
        *self.by_endpoint.entry(endpoint.id.clone()).or_default() += 1;
        *self.by_tenant.entry(endpoint.tenant.clone()).or_default() += 1;
        metrics::IN_FLIGHT.inc();
        let webhooks = Arc::clone(&self.webhooks);
        self.running.spawn(async move {
            webhooks.attempt(&endpoint, &claim).await;
            endpoint
        });
    }

    /// Waits until a call has ended; for ever when none is under way.
    async fn one_ended(&mut self) {
        if !self.join().await {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a call has ended; `false` when none is under way.
    pub(super) async fn join(&mut self) -> bool {
        let Some(ended) = self.running.join_next().await else {
            return false;
        };
        metrics::IN_FLIGHT.dec();
        match ended {
            Ok(endpoint) => {
                one_less(&mut self.by_endpoint, &endpoint.id);
                one_less(&mut self.by_tenant, &endpoint.tenant);
            }
            Err(error) => {
                tracing::error!(%error, "a call of webhooks has failed");
                // Whose it was is not known; claims bound what each endpoint gets meanwhile.
                if self.running.is_empty() {
                    self.by_endpoint.clear();
                    self.by_tenant.clear();
                }
            }
        }
        true
    }
}

fn count(calls: &HashMap<String, usize>, of: &str) -> usize {
    calls.get(of).copied().unwrap_or_default()
}

fn one_less(calls: &mut HashMap<String, usize>, of: &str) {
    if let Some(n) = calls.get_mut(of) {
        *n -= 1;
        if *n == 0 {
            calls.remove(of);
        }
    }
}

/// Says what an attempt has changed, where somebody has to hear of it.
fn tell(endpoint: &DueEndpoint, claim: &Claim, change: Change) {
    let (id, delivery) = (&endpoint.id, &claim.id);
    if change.state == State::Failed {
        metrics::GIVEN_UP.inc();
        tracing::warn!(endpoint = id, delivery, "a delivery is given up");
    }
    if let Some(stop) = change.stop {
        metrics::STOPPED.with_label_values(&[stop.as_str()]).inc();
        let (tenant, reason) = (&endpoint.tenant, stop.as_str());
        tracing::error!(
            endpoint = id,
            tenant,
            reason,
            "an endpoint is not called any more"
        );
    }
}

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered { status, .. } => match status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        },
        Outcome::Unanswered(fault) => fault.as_str(),
    }
}
