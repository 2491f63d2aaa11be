//! The engine as its servers and tests hold it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use btrust_machine::{
    Command, Origin, PRIORITY_DEFAULT, PRIORITY_MAX, Payload, Submitter as MachineSubmitter,
};
use btrust_platform::clock::SharedClock;
use btrust_platform::http::{self, Shutdown};
use btrust_platform::keys::Keys;
use btrust_platform::random::{self, RandomSource, SharedRandom};
use btrust_platform::streams::Streams;
use btrust_platform::workflow_keys::WorkflowKeys;
use btrust_schemas::core::{
    HistoryPage, ResultView, StartRequest, StartResponse, SubmissionRequest, SubmissionResponse,
    WorkflowView,
};
use btrust_schemas::ids::{PromptId, WorkflowId};
use btrust_schemas::prompt::PromptsView;
use btrust_schemas::queues::QueueView;
use btrust_schemas::task_limits::TaskLimits;
use btrust_schemas::turn::Audience;

use crate::acknowledgements::{self, Acknowledgements};
use crate::committer::Committer;
use crate::courier;
use crate::definitions::{Definitions, Published, SecondPerson};
use crate::error::EngineError;
use crate::mailbox::{Mailbox, Request, Start, lane_of};
use crate::metrics;
use crate::nodes::{Keeper, Membership};
use crate::recovery;
use crate::relay::Relay;
use crate::retention::{self, RetentionPolicies};
use crate::schedules;
use crate::seal::{self, Binding};
use crate::search;
use crate::sequencer::AuditReader;
use crate::shared::Shared;
use crate::start_policy::request_name;
use crate::store::definitions::DefinitionStore;
use crate::store::lists::ListStore;
use crate::store::operations::OperationStore;
use crate::store::schedules::ScheduleStore;
use crate::store::tenants::TenantStore;
use crate::store::{StartKey, Store};
use crate::subjects::Subjects;
use crate::task_limits;
use crate::watchers::Awaited;
use crate::workflow::{Workflow, audience_text, column};

/// Longest park of a caller who waits for a workflow, ms.
///
/// Source: below the 30 s idle limits common to load balancers.
pub const WAIT_MAX_MS: u64 = 25_000;
/// Most events on a page of history.
pub const HISTORY_LIMIT_MAX: u32 = 1_000;
/// Events on a page of history when the caller does not say.
pub const HISTORY_LIMIT_DEFAULT: u32 = 200;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Locale of a workflow whose bank names none.
pub const LOCALE_DEFAULT: &str = "en";
/// How often silent sessions of workers are looked for.
const LEASE_LOOK: Duration = Duration::from_secs(1);

/// The world that an engine runs in.
#[derive(Clone)]
pub struct Ports {
    pub store: Arc<dyn Store>,
    pub lists: Arc<dyn ListStore>,
    pub definitions: Arc<dyn DefinitionStore>,
    pub tenants: Arc<dyn TenantStore>,
    pub operations: Arc<dyn OperationStore>,
    pub schedules: Arc<dyn ScheduleStore>,
    pub keys: Arc<dyn Keys>,
    pub workflow_keys: Arc<dyn WorkflowKeys>,
    pub streams: Arc<dyn Streams>,
    pub clock: SharedClock,
    /// Everything random comes from here: ids, seeds of transitions, names of runs.
    pub random: SharedRandom,
    /// Base URLs of the core nodes, for workers, where nobody shares the database.
    pub nodes: Vec<String>,
    /// The others that share the database; `None` where this process has it alone.
    pub membership: Option<Membership>,
    /// Tenants whose versions somebody else than the author publishes.
    pub second_person: SecondPerson,
    /// What holds until an operator has stored other limits.
    pub task_limits: TaskLimits,
    /// What the names of policies in definitions mean.
    pub retention: RetentionPolicies,
}

/// One node's engine.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mailbox: Mailbox,
    pub(crate) acknowledgements: Acknowledgements,
    /// How the other nodes of the database are reached, where there may be some.
    pub(crate) neighbours: Option<reqwest::Client>,
    /// Whoever moves workflows to another version has this one permit.
    pub(crate) migrating: Semaphore,
    pub(crate) subjects: Arc<Subjects>,
    /// The logs of audit records, where somebody keeps them.
    audit: OnceLock<AuditReader>,
}

/// The tasks behind an engine; they end after the shutdown that the engine was started with.
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Waits for one of the tasks to end; before the shutdown, that is a failure of the engine.
    pub async fn ended(&mut self) {
        let (ended, index, _) = select_all(self.tasks.iter_mut()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the engine has failed");
        }
        // What has ended must not be waited for again.
        drop(self.tasks.swap_remove(index));
    }

    /// Ends everything where it stands, as a crash does.
    #[cfg(test)]
    pub(crate) fn abort(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Waits until everything has ended.
    pub async fn stopped(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the engine has failed");
            }
        }
    }
}

impl Engine {
    /// Takes over the partitions, recovers what is open, and begins to work.
    ///
    /// A node among others only enters the registry; its partitions come to it while it works.
    ///
    /// # Errors
    ///
    /// When a store does not answer; nothing has been changed but the epochs.
    pub async fn start(
        ports: Ports,
        shutdown: &Shutdown,
    ) -> Result<(Arc<Self>, Running), EngineError> {
        let subjects = Arc::new(Subjects::new(
            Arc::clone(&ports.tenants),
            Arc::clone(&ports.keys),
            Arc::clone(&ports.random),
        ));
        let shared = Arc::new(Shared::new(&ports, &subjects));
        shared.look_at_limits().await?;
        let acknowledgements =
            Acknowledgements::load(Arc::clone(&ports.tenants), ports.clock).await?;
        let n_lanes = shared.store.n_lanes();
        let (mailbox, receivers) = Mailbox::new(n_lanes);
        // The keeper hears from it when the last task that writes has ended.
        let (working, all_ended) = mpsc::channel(1);
        let (incarnation, recovered, keeper) = match ports.membership {
            None => {
                let acquired = recovery::acquire(&shared, random_name(&*ports.random)).await?;
                let mut recovered = Vec::with_capacity(acquired.partitions.len());
                for owned in acquired.partitions {
                    recovered.push(recovery::recover_partition(&shared, owned).await?);
                }
                (acquired.incarnation, recovered, None)
            }
            Some(membership) => {
                let (shared, mailbox) = (Arc::clone(&shared), mailbox.clone());
                let joined = Keeper::join(shared, mailbox, membership, all_ended).await?;
                (joined.1, Vec::new(), Some(joined.0))
            }
        };
        let committers = receivers.into_iter();
        let mut committers: Vec<Committer> = committers
            .map(|mailbox| Committer::new(Arc::clone(&shared), mailbox, incarnation))
            .collect();
        for it in recovered {
            committers[lane_of(it.partition.number, n_lanes)].adopt(it);
        }
        let relay = Relay::new(Arc::clone(&shared), ports.streams);
        let engine = Arc::new(Self {
            shared,
            mailbox,
            acknowledgements,
            neighbours: keeper.as_ref().map(|_| http::client()),
            migrating: Semaphore::new(1),
            subjects,
            audit: OnceLock::new(),
        });
        let mut tasks = Vec::new();
        for committer in committers {
            let (working, shutdown) = (working.clone(), shutdown.clone());
            tasks.push(tokio::spawn(async move {
                committer.run(shutdown).await;
                drop(working);
            }));
        }
        let relay = relay.run(shutdown.clone());
        tasks.push(tokio::spawn(async move {
            relay.await;
            drop(working);
        }));
        tasks.extend(keeper.map(|it| tokio::spawn(it.run(shutdown.clone()))));
        let silence = look_for_silence(Arc::clone(&engine), shutdown.clone());
        tasks.push(tokio::spawn(silence));
        tasks.push(tokio::spawn(hear_of_acknowledgements(
            Arc::clone(&engine),
            shutdown.clone(),
        )));
        tasks.push(tokio::spawn(task_limits::look_for_limits(
            Arc::clone(&engine.shared),
            shutdown.clone(),
        )));
        tasks.push(tokio::spawn(task_limits::hand_out_tokens(
            Arc::clone(&engine.shared),
            shutdown.clone(),
        )));
        tasks.push(tokio::spawn(courier::run(
            Arc::clone(&engine),
            shutdown.clone(),
        )));
        tasks.push(tokio::spawn(retention::run(
            Arc::clone(&engine),
            shutdown.clone(),
        )));
        tasks.push(tokio::spawn(schedules::run(
            Arc::clone(&engine),
            shutdown.clone(),
        )));
        if engine.has_neighbours() {
            let looking = schedules::look_again(Arc::clone(&engine), shutdown.clone());
            tasks.push(tokio::spawn(looking));
        }
        Ok((engine, Running { tasks }))
    }

    /// Published definitions.
    pub fn definitions(&self) -> &Definitions {
        &self.shared.definitions
    }

    /// Tells the engine that audit records get places in logs: nothing is deleted before it has its own.
    pub fn has_audit_log(&self, audit: AuditReader) {
        // It is said once, at the start.
        let _ = self.audit.set(audit);
    }

    pub(crate) fn audit(&self) -> Option<&AuditReader> {
        self.audit.get()
    }

    /// What tenants have acknowledged.
    pub fn acknowledgements(&self) -> &Acknowledgements {
        &self.acknowledgements
    }

    /// Starts a workflow, at most once for a tenant and key.
    pub async fn start_workflow(
        &self,
        request: StartRequest,
    ) -> Result<StartResponse, EngineError> {
        check_idempotency_key(&request.idempotency_key)?;
        let priority = request.priority.unwrap_or(PRIORITY_DEFAULT);
        if PRIORITY_MAX < priority {
            let detail = format!("a priority is a whole number from 0 to {PRIORITY_MAX}");
            return Err(EngineError::Invalid {
                code: "priority_invalid",
                detail,
            });
        }
        let wait_ms = request.wait_ms;
        let key = start_key(&request.tenant, &request.idempotency_key);
        let name = request_name(&request);
        let published = match self.start_on(&request).await {
            Ok(published) => published,
            Err(refusal) => {
                let started = (key, request.request_digest.as_str(), name.as_deref());
                return self
                    .repeated_start(&request.tenant, started, wait_ms, refusal)
                    .await;
            }
        };
        let now_ms = self.shared.clock.now_ms();
        let _admitted = self.shared.admission.admit(&request.tenant, now_ms)?;
        let attributes = search::first_values(
            published.compiled.search_attributes(),
            &request.search_attributes,
            &request.input,
        )?;
        let tenant = request.tenant;
        let subject = match &request.subject_ref {
            Some(reference) => Some(self.subjects.digest(&tenant, reference).await?),
            None => None,
        };
        let start = Start {
            key,
            digest: request.request_digest,
            tenant,
            definition: published.compiled,
            version: published.version,
            input: Payload::from(request.input),
            subject,
            locale: request.locale.unwrap_or_else(|| LOCALE_DEFAULT.to_owned()),
            priority,
            attributes,
            id: None,
            origin: Origin::default(),
            actor: request.actor,
            reuse: request.reuse,
            conflict: request.conflict,
            request: name,
            restart_of: None,
        };
        let done = self.mailbox.ask(Request::Start(Box::new(start))).await?;
        self.started(done.workflow, done.is_new, wait_ms).await
    }

    /// Answers a start, waiting up to `wait_ms` for the end of the workflow.
    pub(crate) async fn started(
        &self,
        workflow: Arc<Workflow>,
        created: bool,
        wait_ms: u64,
    ) -> Result<StartResponse, EngineError> {
        let is_closed = |it: &Workflow| it.state.status().is_closed();
        let tenant = workflow.columns.tenant.clone();
        let workflow = match wait_ms {
            0 => workflow,
            _ => {
                self.read_when(&tenant, workflow.id, wait_ms, Awaited::End, is_closed)
                    .await?
            }
        };
        let has_result = 0 < wait_ms && is_closed(&workflow);
        Ok(StartResponse {
            created,
            workflow: workflow.view(),
            result: has_result.then(|| workflow.result()),
        })
    }

    /// The version that the request asks for, if it takes the input.
    async fn start_on(&self, request: &StartRequest) -> Result<Published, EngineError> {
        let (tenant, definition) = (&request.tenant, &request.definition);
        self.startable_with(tenant, definition, request.version, &request.input)
            .await
    }

    /// A version of a definition, if something starts on it and it takes the input.
    async fn startable_with(
        &self,
        tenant: &str,
        definition: &str,
        version: Option<u32>,
        input: &serde_json::Value,
    ) -> Result<Published, EngineError> {
        let definitions = &self.shared.definitions;
        let published = definitions.startable(tenant, definition, version).await?;
        takes(published, input)
    }

    /// Whether something could be started now.
    pub(crate) async fn check_start(
        &self,
        tenant: &str,
        definition: &str,
        version: Option<u32>,
        input: &serde_json::Value,
    ) -> Result<(), EngineError> {
        self.startable_with(tenant, definition, version, input)
            .await
            .map(|_| ())
    }

    /// Answers a start that nothing could start on now: it may have done so before the version was
    /// retired or the alias moved, and the same request gets the same answer.
    pub(crate) async fn repeated_start(
        &self,
        tenant: &str,
        (key, digest, request): (StartKey, &str, Option<&str>),
        wait_ms: u64,
        refusal: EngineError,
    ) -> Result<StartResponse, EngineError> {
        let Some(start) = self.shared.store.find_starts(&[key]).await?.pop() else {
            return Err(refusal);
        };
        let remembered = request.and_then(|it| start.requests.find(it));
        let same = (start.digest == digest).then_some(start.workflow);
        if remembered.is_none() && same.is_none() {
            return Err(EngineError::KeyReused);
        }
        for started in remembered.into_iter().chain(same) {
            match self.shared.read(tenant, started).await {
                // It was deleted after its time.
                Err(EngineError::Unknown) => {}
                workflow => return self.started(workflow?, false, wait_ms).await,
            }
        }
        Err(refusal)
    }

    /// Answers a prompt.
    pub async fn submit(
        &self,
        prompt: PromptId,
        request: SubmissionRequest,
    ) -> Result<SubmissionResponse, EngineError> {
        let command = Command::Submit {
            prompt: prompt.number,
            digest: request.digest,
            body: Payload::from(request.body),
            submitter: MachineSubmitter {
                kind: audience_text(request.submitter.kind).to_owned(),
                id: request.submitter.id,
                device: request.submitter.device,
                address: request.submitter.address,
                device_class: request
                    .submitter
                    .device_class
                    .map(|it| it.as_str().to_owned()),
            },
        };
        let done = self.command(request.tenant, prompt.workflow, command).await;
        match done {
            // A prompt of a workflow that is not there is a prompt that is not there.
            Err(EngineError::Unknown) => Err(EngineError::Refused(
                btrust_machine::Refusal::PromptUnknown {
                    prompt: prompt.number,
                },
            )),
            Err(error) => Err(error),
            Ok(done) => Ok(SubmissionResponse {
                prompt,
                created: done.is_new,
            }),
        }
    }

    pub(crate) async fn command(
        &self,
        tenant: String,
        workflow: WorkflowId,
        command: Command,
    ) -> crate::mailbox::Answer {
        let tenant = Some(tenant);
        self.mailbox
            .ask(Request::Command {
                workflow,
                tenant,
                queues: None,
                command: Box::new(command),
            })
            .await
    }

    /// What anybody of the tenant may see of a workflow.
    pub async fn view(
        &self,
        tenant: &str,
        workflow: WorkflowId,
    ) -> Result<WorkflowView, EngineError> {
        let mut view = self.shared.read(tenant, workflow).await?.view();
        view.running = self.shared.dispatch.running(workflow);
        Ok(view)
    }

    /// The result of a workflow, waiting up to `wait_ms` for its end.
    pub async fn result(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        wait_ms: u64,
    ) -> Result<ResultView, EngineError> {
        let is_closed = |it: &Workflow| it.state.status().is_closed();
        Ok(self
            .read_when(tenant, workflow, wait_ms, Awaited::End, is_closed)
            .await?
            .result())
    }

    /// The open prompts for an audience, waiting up to `wait_ms` for an event after number `after`.
    pub async fn prompts(
        &self,
        tenant: &str,
        workflow: WorkflowId,
        audience: Option<Audience>,
        after: Option<u64>,
        wait_ms: u64,
    ) -> Result<PromptsView, EngineError> {
        let is_news = |it: &Workflow| {
            after.is_none_or(|after| after < it.state.n_events()) || it.state.status().is_closed()
        };
        Ok(self
            .read_when(tenant, workflow, wait_ms, Awaited::Change, is_news)
            .await?
            .prompts(audience))
    }

    /// Reads a workflow once `is_ready` holds, or as it is when `wait_ms` have passed.
    async fn read_when(
        &self,
        tenant: &str,
        id: WorkflowId,
        wait_ms: u64,
        awaited: Awaited,
        is_ready: impl Fn(&Workflow) -> bool,
    ) -> Result<Arc<Workflow>, EngineError> {
        let workflow = self.shared.read(tenant, id).await?;
        if is_ready(&workflow) || wait_ms == 0 {
            return Ok(workflow);
        }
        // Only its owner hears of what happens to a workflow.
        if !self.shared.ownership.owns(id.partition()) {
            return Err(EngineError::Elsewhere);
        }
        let Some(mut watch) = self.shared.watchers.watch(id, awaited) else {
            return Ok(workflow);
        };
        let deadline = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MAX_MS));
        loop {
            // Read after the watch has begun, so that no commit falls between the two.
            let workflow = self.shared.read(tenant, id).await?;
            if is_ready(&workflow) {
                return Ok(workflow);
            }
            if !self.shared.ownership.owns(id.partition()) {
                return Err(EngineError::Elsewhere);
            }
            if timeout_at(deadline, watch.changed()).await.is_err() {
                return Ok(workflow);
            }
        }
    }

    /// A page of a workflow's history in the spelling of Step Functions.
    pub async fn history(
        &self,
        tenant: &str,
        id: WorkflowId,
        after: u64,
        limit: Option<u32>,
    ) -> Result<HistoryPage, EngineError> {
        let workflow = self.shared.read(tenant, id).await?;
        let limit = limit
            .unwrap_or(HISTORY_LIMIT_DEFAULT)
            .clamp(1, HISTORY_LIMIT_MAX);
        // A row has at least one event, so these rows have enough of them.
        let rows = self.shared.store.history(id, column(after), limit).await?;
        let mut events = Vec::new();
        for row in rows {
            let sequence = u64::try_from(row.sequence).unwrap_or_default();
            let binding = Binding {
                tenant,
                workflow: id,
                sequence,
            };
            let opened = seal::open_events(&workflow.sealer, binding, &row.sealed_events);
            let opened = opened.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "history is lost");
                EngineError::Incident {
                    code: "history_unreadable".to_owned(),
                }
            })?;
            events.extend(opened.into_iter().filter(|it| after < it.id));
        }
        events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let last = events.last().map(|it| it.id);
        let next = last.filter(|it| *it < workflow.state.n_events());
        Ok(HistoryPage {
            events: events
                .iter()
                .map(btrust_machine::Event::to_step_functions)
                .collect(),
            next,
        })
    }

    /// Looks at the clock and carries out what is due; for clocks that are moved by hand.
    pub async fn wake(&self) {
        self.fail_silent_turns().await;
        self.lose_silent_leases().await;
        self.shared.dispatch.tokens(self.shared.clock.now_ms());
        self.mailbox.wake().await;
        self.shared.courier.wake();
        self.shared.schedules.wake();
    }

    /// Ends the attempts whose worker has been silent for longer than their `HeartbeatSeconds`.
    async fn fail_silent_turns(&self) {
        let silent = self
            .shared
            .dispatch
            .silent_turns(self.shared.clock.now_ms());
        let missed = silent.into_iter().map(|key| {
            tracing::warn!(task.id = %key.task, "a worker has missed the heartbeat of its task");
            let command = Command::HeartbeatMissed {
                task: key.task.number,
                attempt: key.attempt,
                turn: key.turn,
            };
            self.mailbox.ask(Request::Command {
                workflow: key.task.workflow,
                tenant: None,
                queues: None,
                command: Box::new(command),
            })
        });
        // What is refused has ended meanwhile; what could not be stored is still silent at the next look.
        join_all(missed).await;
    }

    /// Whether the latest write has found the disk full.
    pub fn is_storage_full(&self) -> bool {
        self.shared.storage.is_full()
    }

    /// How often this process has lost a partition to another one. Where it should have the database
    /// alone, what is lost stands still until a restart.
    pub fn n_lost_partitions(&self) -> usize {
        self.shared.n_lost.load(Ordering::Relaxed)
    }

    /// The last batch of each partition that this process has told the streams of.
    pub fn published(&self) -> watch::Receiver<BTreeMap<u8, i64>> {
        self.shared.outbox.listen()
    }

    /// Brings the gauges up to date; called when they are read.
    pub fn observe(&self) {
        let waiting = i64::try_from(self.mailbox.n_waiting()).unwrap_or(i64::MAX);
        metrics::MAILBOX.set(waiting);
        let n_owned = i64::try_from(self.shared.ownership.n_owned()).unwrap_or(i64::MAX);
        metrics::PARTITIONS.set(n_owned);
        let bytes = i64::try_from(self.mailbox.n_waiting_bytes()).unwrap_or(i64::MAX);
        metrics::MAILBOX_BYTES.set(bytes);
        metrics::observe_queues(&self.queues());
    }

    /// What waits for workers on this node, and what they hold.
    pub fn queues(&self) -> Vec<QueueView> {
        self.shared.dispatch.queues(self.shared.clock.now_ms())
    }
}

/// Gives the turns of silent sessions to others.
async fn look_for_silence(engine: Arc<Engine>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LEASE_LOOK) => {}
        }
        engine.fail_silent_turns().await;
        engine.lose_silent_leases().await;
        engine.observe();
    }
}

/// Reads what other nodes have taken from tenants.
async fn hear_of_acknowledgements(engine: Arc<Engine>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(acknowledgements::REFRESH) => {}
        }
        if let Err(error) = engine.acknowledgements.reload().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot read what tenants have acknowledged; will try again"
            );
        }
    }
}

/// Refuses an idempotency key that is too short or too long.
pub(crate) fn check_idempotency_key(key: &str) -> Result<(), EngineError> {
    let (code, detail) = match key.len() {
        0 => (
            "idempotency_key_missing",
            "there is no idempotency key".to_owned(),
        ),
        1..=IDEMPOTENCY_KEY_BYTES_MAX => return Ok(()),
        _ => (
            "idempotency_key_invalid",
            format!("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes"),
        ),
    };
    Err(EngineError::Invalid { code, detail })
}

/// The version, if it takes the input.
pub(crate) fn takes(
    published: Published,
    input: &serde_json::Value,
) -> Result<Published, EngineError> {
    match published.compiled.check_input(input) {
        Ok(()) => Ok(published),
        Err(findings) => {
            let findings = findings
                .iter()
                .filter_map(|it| serde_json::to_value(it).ok());
            Err(EngineError::InputInvalid {
                findings: findings.collect(),
            })
        }
    }
}

/// A name that no other run of any process has.
pub(crate) fn random_name(source: &dyn RandomSource) -> String {
    hex::encode(random::bytes::<16>(source))
}

/// The key of a start: what the bank chose never reaches a column.
pub(crate) fn start_key(tenant: &str, idempotency_key: &str) -> StartKey {
    let mut hash = Sha256::new();
    hash.update(tenant.as_bytes());
    hash.update([0]);
    hash.update(idempotency_key.as_bytes());
    StartKey {
        tenant: tenant.to_owned(),
        key_hash: hex::encode(hash.finalize()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_key_belongs_to_one_tenant() {
        assert_ne!(start_key("a", "bc").key_hash, start_key("ab", "c").key_hash);
        assert_eq!(start_key("a", "b"), start_key("a", "b"));
    }
}
