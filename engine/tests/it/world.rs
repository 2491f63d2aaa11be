//! A folder of real stores, engines on it, and a worker that speaks the exchange.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, LazyLock, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use btrust_engine::engine::Running;
use btrust_engine::store::lists::{
    AuditCount, AuditRow, Counted, CountsQuery, CountsRow, DeletedWorkflow, Ended, EndedQuery,
    ListFilter, ListStore, ListedPage,
};
use btrust_engine::store::nodes::NodeStore;
use btrust_engine::store::{
    AcquireRequest, Acquired, ActLog, ActsWanted, Batch, Committed, Cursor, Fence, JournalRow,
    OpenWorkflow, OutboxRow, StartKey, StartRecord, Store, StoreError, Stores, WorkflowRecord,
    location,
};
use btrust_engine::{
    Engine, EngineError, Membership, Ports, Queues, RetentionPolicies, SecondPerson,
};
use btrust_platform::clock::ManualClock;
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::http::Shutdown;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::random::SystemRandom;
use btrust_platform::streams::JsonlStreams;
use btrust_platform::testing::MariaDb;
use btrust_platform::workflow_keys::{self, WorkflowKeys};
use btrust_schemas::commands::{Conflict, Reuse};
use btrust_schemas::core::{StartRequest, StartResponse};
use btrust_schemas::definition::{DraftRequest, Publish};
use btrust_schemas::exchange::{Ack, ExchangeRequest, ExchangeResponse, Report, ReportKind};
use btrust_schemas::ids::{N_PARTITIONS, WorkflowId};
use btrust_schemas::task_limits::TaskLimits;
use btrust_schemas::turn::{Ask, Audience, Submitter, TurnInput, TurnKey, TurnResult};

use crate::event_schemas::CheckedStreams;
use crate::lost_answers::{LostAnswers, Reluctant};

/// A worker that serves every step.
pub static EVERYTHING: LazyLock<Arc<Queues>> = LazyLock::new(|| Arc::new(Queues::All));

pub const TENANT: &str = "acme";
pub const NOW_MS: i64 = 1_800_000_000_000;
/// Long enough for a commit on a busy machine; no test waits for its end.
pub const WAIT_MS: u64 = 20_000;

thread_local! {
    /// The server of this test, where it runs on MariaDB.
    static SERVER: RefCell<Option<Arc<MariaDb>>> = const { RefCell::new(None) };
}

/// Runs a test whose worlds are on MariaDB, each in databases of its own.
pub fn on_mariadb(test: fn()) {
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            SERVER.take();
        }
    }
    let _ended = Ended;
    SERVER.set(Some(Arc::new(MariaDb::start())));
    test();
}

/// What all engines of one test share: files or databases, and a clock.
pub struct World {
    pub dir: Arc<TempDir>,
    pub clock: Arc<ManualClock>,
    server: Option<Arc<MariaDb>>,
    settings: OnceCell<Settings>,
}

impl World {
    pub fn new() -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            clock: Arc::new(ManualClock::new(NOW_MS)),
            server: SERVER.with_borrow(Clone::clone),
            settings: OnceCell::new(),
        }
    }

    /// Where the stores are: on files, unless the test runs on MariaDB.
    async fn settings(&self) -> &Settings {
        let named = async {
            let Some(server) = &self.server else {
                return Settings::from_table::<&str, &str>([]);
            };
            let (state, keys) = (server.database().await, server.database().await);
            Settings::from_table([("DATABASE_URL", state), ("KEYS_DATABASE_URL", keys)])
        };
        self.settings.get_or_init(|| Box::pin(named)).await
    }

    /// An engine on these files.
    pub async fn node(&self) -> Node {
        self.node_with(Plan::default()).await
    }

    /// An engine whose store misbehaves as planned.
    pub async fn node_with(&self, plan: Plan) -> Node {
        self.try_node_with(plan).await.unwrap()
    }

    /// An engine whose store misbehaves as planned, unless it does not even start.
    pub async fn try_node_with(&self, plan: Plan) -> Result<Node, EngineError> {
        let data_dir = DataDir::new(self.dir.path());
        let settings = self.settings().await;
        let stores = Stores::open(&location(settings, &data_dir).unwrap())
            .await
            .unwrap();
        let second_person = plan.second_person.clone();
        let task_limits = plan.task_limits.clone();
        let (n_lost, n_silent) = (plan.n_lost_answers, plan.n_silent_acts);
        let membership = plan.member.map(|name| Membership {
            store: Reluctant::of(Arc::clone(&stores.nodes), plan.n_refused_give_backs),
            url: format!("http://{name}"),
        });
        let streams = self.streams().join(plan.member.unwrap_or_default());
        let watched = Arc::new(WatchedStore::new(stores.store, stores.lists, plan));
        let keys = Arc::new(LocalKeyring::open(&self.dir.path().join("keyring.json")).unwrap());
        let workflow_keys = workflow_keys::open(settings, &data_dir, Arc::clone(&keys) as _)
            .await
            .unwrap();
        let ports = Ports {
            store: Arc::clone(&watched) as _,
            lists: Arc::clone(&watched) as _,
            definitions: stores.definitions,
            schedules: LostAnswers::of(stores.schedules, n_lost, n_silent),
            tenants: stores.tenants,
            operations: stores.operations,
            task_limits,
            keys,
            workflow_keys: Arc::clone(&workflow_keys),
            streams: Arc::new(CheckedStreams(Arc::new(
                JsonlStreams::open(streams).unwrap(),
            ))),
            clock: Arc::clone(&self.clock) as _,
            random: SystemRandom::shared(),
            nodes: vec!["http://localhost:5002".to_owned()],
            membership,
            second_person,
            retention: RetentionPolicies::default(),
        };
        let shutdown = Shutdown::new();
        let (engine, running) = Engine::start(ports, &shutdown).await?;
        publish(&engine).await;
        Ok(Node {
            engine,
            lists: Arc::clone(&watched) as _,
            registry: stores.nodes,
            store: watched,
            workflow_keys,
            shutdown,
            running,
            _dir: Arc::clone(&self.dir),
        })
    }

    pub fn streams(&self) -> std::path::PathBuf {
        self.dir.path().join("streams")
    }
}

pub struct Node {
    pub engine: Arc<Engine>,
    pub store: Arc<WatchedStore>,
    pub lists: Arc<dyn ListStore>,
    pub registry: Arc<dyn NodeStore>,
    pub workflow_keys: Arc<dyn WorkflowKeys>,
    shutdown: Shutdown,
    pub running: Running,
    /// The files live as long as anybody works on them.
    _dir: Arc<TempDir>,
}

impl Node {
    /// Begins to stop in good order.
    pub fn shutdown(&self) {
        self.shutdown.trigger();
    }

    /// Stops in good order.
    pub async fn stop(self) {
        self.shutdown.trigger();
        self.running.stopped().await;
    }

    pub async fn start(&self, key: &str) -> Result<StartResponse, EngineError> {
        self.engine.start_workflow(start_request(key)).await
    }

    pub async fn started(&self, key: &str) -> WorkflowId {
        self.start(key).await.unwrap().workflow.id
    }

    /// The types of all events of a workflow.
    pub async fn history(&self, id: WorkflowId) -> Vec<String> {
        let page = self
            .engine
            .history(TENANT, id, 0, Some(1_000))
            .await
            .unwrap();
        assert_eq!(page.next, None);
        page.events
            .iter()
            .map(|it| it["type"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A form, then a review of it, then the decision.
pub fn envelope() -> Value {
    let step = |resource: &str, name: &str, next: &str| {
        json!({
            "Type": "Task", "Resource": resource, "TimeoutSeconds": 900,
            "Arguments": { "secret": "{% $states.input.secret %}" },
            "Assign": { (name): "{% $states.result.outcome %}" },
            "Output": "{% $states.input %}", "Next": next,
        })
    };
    json!({
        "name": "flow", "title": "Flow",
        "inputSchema": {
            "type": "object", "required": ["secret"], "properties": { "secret": { "type": "string" } },
        },
        "timeoutSeconds": 86_400,
        "evidence": {}, "decisions": { "approved": {} },
        "definition": { "QueryLanguage": "JSONata", "StartAt": "Fill", "States": {
            "Fill": step("kyc:form@1", "fill", "Look"),
            "Look": step("kyc:review@1", "look", "Approved"),
            "Approved": { "Type": "Succeed", "Output": { "decision": "approved" } },
        } },
    })
}

async fn publish(engine: &Engine) {
    let request = draft_request(envelope(), "0", Publish::IfAllowed);
    engine.definitions().draft(request).await.unwrap();
}

/// A version of the definition whose digest is `digit` only.
pub fn draft_request(envelope: Value, digit: &str, publish: Publish) -> DraftRequest {
    DraftRequest {
        tenant: TENANT.to_owned(),
        name: "flow".to_owned(),
        envelope,
        digest: digit.repeat(64),
        publish,
        actor: "admin".to_owned(),
    }
}

pub fn start_request(key: &str) -> StartRequest {
    StartRequest {
        tenant: TENANT.to_owned(),
        definition: "flow".to_owned(),
        version: None,
        input: json!({ "secret": "only-for-the-step" }),
        subject_ref: None,
        locale: Some("he".to_owned()),
        priority: None,
        search_attributes: BTreeMap::new(),
        idempotency_key: key.to_owned(),
        request_digest: "1".repeat(64),
        actor: "bank".to_owned(),
        reuse: Reuse::default(),
        conflict: Conflict::default(),
        request_id: None,
        wait_ms: 0,
    }
}

/// A worker of one session.
pub struct Worker {
    pub session: String,
    pub seq: u64,
    pub held: Vec<TurnKey>,
    pub labels: Vec<String>,
}

impl Worker {
    pub fn new(session: &str) -> Self {
        Self {
            session: session.to_owned(),
            seq: 0,
            held: Vec::new(),
            labels: Vec::new(),
        }
    }

    pub fn request(&mut self, results: Vec<Report>, want: u32, wait_ms: u64) -> ExchangeRequest {
        self.seq += 1;
        ExchangeRequest {
            session: self.session.clone(),
            seq: self.seq,
            held: self.held.clone(),
            results,
            want,
            queues: vec!["form".to_owned(), "review".to_owned()],
            wait_ms,
            labels: self.labels.clone(),
            ..ExchangeRequest::default()
        }
    }

    /// One exchange; what was acknowledged is held no longer, what was given is held.
    pub async fn exchange(
        &mut self,
        node: &Node,
        results: Vec<Report>,
        want: u32,
        wait_ms: u64,
    ) -> ExchangeResponse {
        let request = self.request(results, want, wait_ms);
        let answer = node
            .engine
            .exchange("workers", &EVERYTHING, request)
            .await
            .unwrap();
        let response: ExchangeResponse = serde_json::from_slice(&answer).unwrap();
        for ack in response.acks.iter().filter(|it| !it.checkpoint) {
            self.held.retain(|it| *it != ack.key);
        }
        self.held.extend(response.tasks.iter().map(|it| it.key));
        response
    }

    /// Waits for one turn.
    pub async fn take(&mut self, node: &Node) -> TurnInput {
        let mut response = self.exchange(node, Vec::new(), 1, WAIT_MS).await;
        assert_eq!(response.tasks.len(), 1, "no turn came");
        response.tasks.remove(0)
    }

    /// Hands in a result and hears the code of its acknowledgement.
    pub async fn report(&mut self, node: &Node, report: Report) -> String {
        let mut response = self.exchange(node, vec![report], 0, 0).await;
        assert_eq!(response.acks.len(), 1);
        response.acks.remove(0).code
    }
}

pub fn complete(key: TurnKey, outcome: &str) -> Report {
    let result = TurnResult::Complete {
        outcome: outcome.to_owned(),
        output: json!({}),
    };
    Report {
        key,
        what: ReportKind::Result { result },
    }
}

pub fn fail(key: TurnKey, error: &str) -> Report {
    let result = TurnResult::Fail {
        error: error.to_owned(),
        cause: String::new(),
    };
    Report {
        key,
        what: ReportKind::Result { result },
    }
}

pub fn ask(key: TurnKey, expires_in_ms: i64) -> Report {
    let ask = Ask {
        audience: Audience::Applicant,
        kind: "form".to_owned(),
        body: json!({ "fields": [] }),
        state: json!({ "v": 1 }),
        expires_in_ms,
        wake_in_ms: None,
    };
    Report {
        key,
        what: ReportKind::Result {
            result: TurnResult::Ask(ask),
        },
    }
}

pub fn checkpoint(key: TurnKey) -> Report {
    Report {
        key,
        what: ReportKind::Checkpoint {
            state: json!({ "sending": true }),
        },
    }
}

pub fn applicant() -> Submitter {
    Submitter {
        kind: Audience::Applicant,
        id: "applicant".to_owned(),
        device: Some("phone".to_owned()),
        address: None,
        device_class: None,
    }
}

pub fn is_accepted(ack: &Ack) -> bool {
    ack.code == Ack::ACCEPTED
}

/// Whether any file below `dir` has these bytes.
pub fn any_file_has(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return any_file_has(&path, bytes);
        }
        // A database that closes removes its log between the listing and the reading.
        std::fs::read(&path).is_ok_and(|it| it.windows(bytes.len()).any(|it| it == bytes))
    })
}

/// What happens to one commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nothing is written, and the store says so.
    Unavailable,
    /// Nothing is written, and the store does not know.
    UnknownAbsent,
    /// Everything is written, and the store does not know.
    UnknownPresent,
    /// The process dies before the write: the call never returns.
    DiesBefore,
    /// The process dies after the write.
    DiesAfter,
    /// The write hits a bug.
    Panics,
    /// The request is on its way until somebody lets it through; then the database carries it out,
    /// whether anybody waits for it or not.
    Late,
}

/// How one call of a method of the store goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CallFault {
    /// The store refuses; nothing is written.
    ErrorBefore,
    /// It is written, and the store says that it failed; where that would be a lie, that it does not know.
    ErrorAfter,
    /// Nobody answers in time; nothing is written.
    Timeout,
    /// Another transaction is in the way; nothing is written.
    Deadlock,
    /// The connection is lost at COMMIT, which never arrives.
    LostAtCommit,
}

/// Every way in which a call goes wrong.
pub const CALL_FAULTS: [CallFault; 5] = [
    CallFault::ErrorBefore,
    CallFault::ErrorAfter,
    CallFault::Timeout,
    CallFault::Deadlock,
    CallFault::LostAtCommit,
];

impl CallFault {
    fn error(self, method: &str) -> StoreError {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        match self {
            Self::ErrorBefore => StoreError::Unavailable(sqlx::Error::Io(refused)),
            Self::Timeout => StoreError::Unavailable(sqlx::Error::PoolTimedOut),
            Self::Deadlock => {
                StoreError::Unavailable(sqlx::Error::Protocol("deadlock found".to_owned()))
            }
            Self::ErrorAfter | Self::LostAtCommit if method == "commit" => {
                StoreError::Unknown(sqlx::Error::Io(lost))
            }
            Self::ErrorAfter | Self::LostAtCommit => StoreError::Unavailable(sqlx::Error::Io(lost)),
        }
    }
}

/// Which commit misbehaves and how.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// A method, its call from 1, and its fault.
    pub call: Option<(&'static str, usize, CallFault)>,
    /// The number of the commit with writes, from 1, and its fault.
    pub fault: Option<(usize, Fault)>,
    /// Every commit that carries a start with this digest is refused because of its data.
    pub refused_digest: Option<String>,
    /// Tenants whose versions somebody else than the author publishes.
    pub second_person: SecondPerson,
    /// Committers; as many as the store says where there is nothing here.
    pub n_lanes: Option<usize>,
    pub task_limits: TaskLimits,
    /// Acts on schedules, from the first, whose answers are lost.
    pub n_lost_answers: usize,
    /// Acts on schedules, from the first, that are carried out and never answered.
    pub n_silent_acts: usize,
    /// Times, from the first, that the registry takes no partitions back.
    pub n_refused_give_backs: usize,
    /// The name of a node that shares the database with others; it has streams of its own.
    pub member: Option<&'static str>,
}

/// A store that counts commits and fails as planned.
pub struct WatchedStore {
    inner: Arc<dyn Store>,
    lists: Arc<dyn ListStore>,
    plan: Plan,
    n_commits: std::sync::atomic::AtomicUsize,
    /// Calls so far of the method that the plan names.
    n_calls: std::sync::atomic::AtomicUsize,
    fired: tokio::sync::Notify,
    pub gate: Arc<Gate>,
}

/// What holds a late commit back, and what became of it.
#[derive(Default)]
pub struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    pub committed: Mutex<Option<Committed>>,
}

impl Gate {
    pub fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn carry_out(&self, store: &dyn Store, batch: &Batch) -> Result<Committed, StoreError> {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |it| !*it).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let committed = runtime.block_on(store.commit(batch))?;
        *self.committed.lock().unwrap() = Some(committed.clone());
        Ok(committed)
    }
}

impl WatchedStore {
    fn new(inner: Arc<dyn Store>, lists: Arc<dyn ListStore>, plan: Plan) -> Self {
        Self {
            inner,
            lists,
            plan,
            n_commits: 0.into(),
            n_calls: 0.into(),
            fired: tokio::sync::Notify::new(),
            gate: Arc::default(),
        }
    }

    /// Calls so far of the method that the plan names.
    pub fn n_calls(&self) -> usize {
        self.n_calls.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Makes a call, unless it is the one that goes wrong.
    async fn call<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some((_, at, fault)) = self.plan.call.filter(|it| it.0 == method) else {
            return call.await;
        };
        let n_before = self
            .n_calls
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if n_before + 1 != at {
            return call.await;
        }
        if fault == CallFault::ErrorAfter {
            call.await?;
        }
        Err(fault.error(method))
    }

    /// Commits so far that wrote something.
    pub fn n_commits(&self) -> usize {
        self.n_commits.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// What the journal has of a workflow.
    pub async fn history_rows(&self, id: WorkflowId) -> Vec<JournalRow> {
        self.inner.history(id, 0, 1_000).await.unwrap()
    }

    pub async fn last_batch(&self, partition: u8) -> i64 {
        self.inner.last_batches(&[partition]).await.unwrap()[0]
    }

    /// Waits until the planned fault has happened.
    pub async fn fired(&self) {
        self.fired.notified().await;
    }

    fn is_refused(&self, batch: &Batch) -> bool {
        let Some(digest) = &self.plan.refused_digest else {
            return false;
        };
        batch
            .writes
            .iter()
            .any(|it| it.start.as_ref().is_some_and(|it| it.digest == *digest))
    }
}

#[async_trait]
impl Store for WatchedStore {
    fn n_lanes(&self) -> usize {
        self.plan.n_lanes.unwrap_or_else(|| self.inner.n_lanes())
    }

    fn n_partitions(&self) -> u16 {
        match self.plan.member {
            // Only tests share a file; a start then goes to the owner of its key's partition.
            Some(_) => N_PARTITIONS,
            None => self.inner.n_partitions(),
        }
    }

    async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, StoreError> {
        self.call("acquire", self.inner.acquire(request)).await
    }

    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError> {
        if batch.writes.is_empty() {
            return self.inner.commit(batch).await;
        }
        if self.is_refused(batch) {
            return Err(StoreError::DataRefused(sqlx::Error::RowNotFound));
        }
        let number = 1 + self
            .n_commits
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let fault = self
            .plan
            .fault
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault);
        let Some(fault) = fault else {
            return self.call("commit", self.inner.commit(batch)).await;
        };
        if matches!(fault, Fault::UnknownPresent | Fault::DiesAfter) {
            self.inner.commit(batch).await?;
        }
        self.fired.notify_one();
        match fault {
            Fault::Late => {
                let (inner, batch) = (Arc::clone(&self.inner), batch.clone());
                let gate = Arc::clone(&self.gate);
                let late = std::thread::spawn(move || gate.carry_out(&*inner, &batch));
                tokio::task::spawn_blocking(|| late.join().unwrap())
                    .await
                    .unwrap()
            }
            Fault::Unavailable => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
            Fault::UnknownAbsent | Fault::UnknownPresent => {
                Err(StoreError::Unknown(sqlx::Error::WorkerCrashed))
            }
            Fault::Panics => panic!("the store has a bug"),
            Fault::DiesBefore | Fault::DiesAfter => std::future::pending().await,
        }
    }

    async fn last_batches(&self, partitions: &[u8]) -> Result<Vec<i64>, StoreError> {
        self.call("last_batches", self.inner.last_batches(partitions))
            .await
    }

    async fn load(&self, workflows: &[WorkflowId]) -> Result<Vec<WorkflowRecord>, StoreError> {
        self.call("load", self.inner.load(workflows)).await
    }

    async fn open_workflows(
        &self,
        partition: u8,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<OpenWorkflow>, StoreError> {
        self.call(
            "open_workflows",
            self.inner.open_workflows(partition, after, limit),
        )
        .await
    }

    async fn history(
        &self,
        workflow: WorkflowId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, StoreError> {
        self.call("history", self.inner.history(workflow, after, limit))
            .await
    }

    async fn find_starts(&self, keys: &[StartKey]) -> Result<Vec<StartRecord>, StoreError> {
        self.call("find_starts", self.inner.find_starts(keys)).await
    }

    async fn outbox(
        &self,
        partition: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.call("outbox", self.inner.outbox(partition, after, limit))
            .await
    }

    async fn cursors(&self) -> Result<Vec<Cursor>, StoreError> {
        self.call("cursors", self.inner.cursors()).await
    }

    async fn put_cursors(
        &self,
        cursors: &[Cursor],
        fences: &[Fence],
    ) -> Result<Committed, StoreError> {
        self.call("put_cursors", self.inner.put_cursors(cursors, fences))
            .await
    }

    async fn act_logs(&self, wanted: &[ActsWanted]) -> Result<Vec<ActLog>, StoreError> {
        self.call("act_logs", self.inner.act_logs(wanted)).await
    }

    async fn put_incident(
        &self,
        workflow: WorkflowId,
        code: &str,
        fence: Fence,
    ) -> Result<Committed, StoreError> {
        let put = self.inner.put_incident(workflow, code, fence);
        self.call("put_incident", put).await
    }
}

#[async_trait]
impl ListStore for WatchedStore {
    async fn page(&self, filter: &ListFilter) -> Result<ListedPage, StoreError> {
        self.call("page", self.lists.page(filter)).await
    }

    async fn count(&self, filter: &ListFilter) -> Result<Counted, StoreError> {
        self.call("count", self.lists.count(filter)).await
    }

    async fn counts(&self, query: &CountsQuery) -> Result<Vec<CountsRow>, StoreError> {
        self.call("counts", self.lists.counts(query)).await
    }

    async fn ended(&self, query: &EndedQuery) -> Result<Vec<Ended>, StoreError> {
        self.call("ended", self.lists.ended(query)).await
    }

    async fn batches_of(&self, ids: &[WorkflowId]) -> Result<Vec<(WorkflowId, i64)>, StoreError> {
        self.call("batches_of", self.lists.batches_of(ids)).await
    }

    async fn deleted(
        &self,
        after: (u8, i64),
        limit: u32,
    ) -> Result<Vec<DeletedWorkflow>, StoreError> {
        self.call("deleted", self.lists.deleted(after, limit)).await
    }

    async fn purge(&self, partition: u8, deleted: &[DeletedWorkflow]) -> Result<(), StoreError> {
        self.call("purge", self.lists.purge(partition, deleted))
            .await
    }

    async fn audit_rows(
        &self,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.call("audit_rows", self.lists.audit_rows(after, limit))
            .await
    }

    async fn audit_counts(&self) -> Result<Vec<AuditCount>, StoreError> {
        self.call("audit_counts", self.lists.audit_counts()).await
    }
}
