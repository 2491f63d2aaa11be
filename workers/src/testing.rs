//! A bench for steps: real stores in a temporary folder, a clock that stands still, turns by hand.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use btrust_vision::Vision;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use btrust_platform::clock::{Clock, ManualClock};
use btrust_platform::config::Settings;
use btrust_platform::contacts::{SqliteVerifiedContacts, VerifiedContacts};
use btrust_platform::data_dir::DataDir;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::objects::{EvidenceStore, FileObjects, byte_stream};
use btrust_platform::workflow_keys::{SqliteWorkflowKeys, WorkflowKeys};
use btrust_schemas::exchange::Ack;
use btrust_schemas::ids::{PromptId, TaskId, WorkflowId};
use btrust_schemas::object::ObjectRef;
use btrust_schemas::turn::{Ask, Audience, Submitter, TurnInput, TurnKey, TurnReason, TurnResult};

use crate::runtime::cpu::CpuPool;
use crate::runtime::step::FromTurn;
use crate::runtime::{Context, Fault, Step};
use crate::service::Ports;

/// When every test begins, in milliseconds since the epoch.
pub const NOW_MS: i64 = 1_800_000_000_000;
pub const TENANT: &str = "acme";

/// The checkpoints that turns have made, and whether the engine still takes any.
#[derive(Default)]
pub struct Checkpoints {
    pub made: Mutex<Vec<Value>>,
    /// What the next checkpoints are answered with; `accepted` when empty.
    pub code: Mutex<String>,
}

pub struct Bench {
    pub clock: Arc<ManualClock>,
    pub evidence: Arc<EvidenceStore>,
    pub checkpoints: Arc<Checkpoints>,
    pub workflow: WorkflowId,
    pub subject: String,
    pub task: AtomicU32,
    pub turn: AtomicU32,
    arguments: Mutex<Value>,
    to_loop: mpsc::Sender<FromTurn>,
    /// The folder of the stores; removed when the bench is dropped.
    pub dir: tempfile::TempDir,
    pub data_dir: DataDir,
    pub workflow_keys: Arc<dyn WorkflowKeys>,
}

impl Bench {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::new(dir.path());
        let workflow = WorkflowId::new(1, [2; 15]);
        let workflow_keys = open_workflow_keys(&data_dir, workflow).await;
        let objects = Arc::new(FileObjects::new(data_dir.objects()));
        let evidence = Arc::new(EvidenceStore::new(objects, Arc::clone(&workflow_keys)));
        let checkpoints = Arc::new(Checkpoints::default());
        let (to_loop, mut from_turns) = mpsc::channel(16);
        let engine = Arc::clone(&checkpoints);
        tokio::spawn(async move {
            while let Some(message) = from_turns.recv().await {
                let FromTurn::Checkpoint { state, acked, .. } = message else {
                    continue;
                };
                let code = engine.code.lock().unwrap().clone();
                engine.made.lock().unwrap().push(state);
                let code = if code.is_empty() {
                    Ack::ACCEPTED.to_owned()
                } else {
                    code
                };
                let _ = acked.send(code);
            }
        });
        Self {
            clock: Arc::new(ManualClock::new(NOW_MS)),
            evidence,
            checkpoints,
            workflow,
            subject: "digest of the subject".to_owned(),
            workflow_keys,
            data_dir,
            task: AtomicU32::new(1),
            turn: AtomicU32::new(0),
            arguments: Mutex::default(),
            to_loop,
            dir,
        }
    }

    /// The contacts of the bench's workflow, as the step and the test see them.
    pub async fn contacts(&self) -> Arc<dyn VerifiedContacts> {
        let keys = Arc::clone(&self.workflow_keys);
        Arc::new(
            SqliteVerifiedContacts::open(&self.data_dir.steps_db(), keys)
                .await
                .unwrap(),
        )
    }

    /// Evidence of the bench's workflow.
    pub async fn store(&self, media_type: &str, bytes: Vec<u8>) -> ObjectRef {
        self.evidence
            .put(TENANT, self.workflow, media_type, byte_stream(bytes))
            .await
            .unwrap()
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The input of the next turn.
    pub fn input(&self, step: &dyn Step, reason: TurnReason, state: Option<Value>) -> TurnInput {
        let task = TaskId {
            workflow: self.workflow,
            number: self.task.load(Ordering::SeqCst),
        };
        let turn = self.turn.fetch_add(1, Ordering::SeqCst) + 1;
        TurnInput {
            key: TurnKey {
                task,
                attempt: 1,
                turn,
            },
            tenant: TENANT.to_owned(),
            workflow: self.workflow,
            subject: self.subject.clone(),
            state_name: "State".to_owned(),
            resource: format!("kyc:{}@1", step.name()),
            locale: "en".to_owned(),
            arguments: self.arguments.lock().unwrap().clone(),
            state,
            checkpoint: None,
            reason,
            acknowledgements: Vec::new(),
            scheduled_ms: self.now_ms(),
            deadline_ms: None,
        }
    }

    pub async fn run(&self, step: &dyn Step, input: TurnInput) -> Result<TurnResult, Fault> {
        let context = self.context(&input);
        step.turn(&context, input).await
    }

    pub fn context(&self, input: &TurnInput) -> Context {
        Context {
            key: input.key,
            tenant: input.tenant.clone(),
            workflow: input.workflow,
            clock: self.clock.clone(),
            evidence: Arc::clone(&self.evidence),
            cpu: CpuPool::new(2),
            to_loop: self.to_loop.clone(),
            cancelled: watch::channel(false).1,
        }
    }

    /// A new task with these arguments takes its first turn.
    pub async fn first(&self, step: &dyn Step, arguments: Value) -> Result<TurnResult, Fault> {
        *self.arguments.lock().unwrap() = arguments;
        self.task.fetch_add(1, Ordering::SeqCst);
        self.turn.store(0, Ordering::SeqCst);
        self.run(step, self.input(step, TurnReason::First, None))
            .await
    }

    /// The applicant answers the prompt of `asked`.
    pub async fn answer(
        &self,
        step: &dyn Step,
        asked: &Result<TurnResult, Fault>,
        body: Value,
    ) -> Result<TurnResult, Fault> {
        self.answer_as(step, asked, body, applicant()).await
    }

    pub async fn answer_as(
        &self,
        step: &dyn Step,
        before: &Result<TurnResult, Fault>,
        body: Value,
        submitter: Submitter,
    ) -> Result<TurnResult, Fault> {
        let input = self.submission(step, before, body, submitter);
        self.run(step, input).await
    }

    /// The input of a turn that answers the prompt of `before`.
    pub fn submission(
        &self,
        step: &dyn Step,
        before: &Result<TurnResult, Fault>,
        body: Value,
        submitter: Submitter,
    ) -> TurnInput {
        let reason = TurnReason::Submission {
            prompt: self.prompt(),
            body,
            submitter,
        };
        self.input(step, reason, Some(asked(before).state.clone()))
    }

    pub async fn expire(
        &self,
        step: &dyn Step,
        before: &Result<TurnResult, Fault>,
    ) -> Result<TurnResult, Fault> {
        let reason = TurnReason::Expired {
            prompt: self.prompt(),
        };
        self.run(
            step,
            self.input(step, reason, Some(asked(before).state.clone())),
        )
        .await
    }

    pub async fn wake(
        &self,
        step: &dyn Step,
        before: &Result<TurnResult, Fault>,
    ) -> Result<TurnResult, Fault> {
        self.run(
            step,
            self.input(step, TurnReason::Woken, Some(asked(before).state.clone())),
        )
        .await
    }

    fn prompt(&self) -> PromptId {
        PromptId {
            workflow: self.workflow,
            number: 1,
        }
    }
}

/// The workflow's key is minted as core does it at the start.
async fn open_workflow_keys(data_dir: &DataDir, workflow: WorkflowId) -> Arc<dyn WorkflowKeys> {
    let keyring = Arc::new(LocalKeyring::open(&data_dir.keyring()).unwrap());
    let keys = SqliteWorkflowKeys::open(&data_dir.keys_db(), keyring)
        .await
        .unwrap();
    keys.create_many(&[(TENANT.to_owned(), workflow)])
        .await
        .unwrap();
    Arc::new(keys)
}

pub fn applicant() -> Submitter {
    Submitter {
        kind: Audience::Applicant,
        id: "applicant".to_owned(),
        device: None,
        address: None,
        device_class: None,
    }
}

pub fn reviewer(id: &str) -> Submitter {
    Submitter {
        kind: Audience::Reviewer,
        id: id.to_owned(),
        device: None,
        address: None,
        device_class: None,
    }
}

/// The question that the turn ended with.
#[track_caller]
pub fn asked(result: &Result<TurnResult, Fault>) -> &Ask {
    match result {
        Ok(TurnResult::Ask(ask)) => ask,
        other => panic!("the turn did not ask: {other:?}"),
    }
}

/// The outcome and output that the turn ended with.
#[track_caller]
pub fn completed(result: Result<TurnResult, Fault>) -> (String, Value) {
    match result {
        Ok(TurnResult::Complete { outcome, output }) => (outcome, output),
        other => panic!("the turn did not complete: {other:?}"),
    }
}

/// The outside world of every step, in a folder of its own.
pub async fn ports(dir: &tempfile::TempDir) -> Ports {
    let settings = Settings::from_table::<&str, &str>([]);
    let clock = Arc::new(ManualClock::new(NOW_MS));
    Ports::embedded(&settings, &DataDir::new(dir.path()), clock)
        .await
        .unwrap()
}

/// The models that `btrust models fetch` stored; without them the tests that look at pictures fail.
pub fn vision() -> Arc<Vision> {
    static VISION: OnceLock<Arc<Vision>> = OnceLock::new();
    Arc::clone(VISION.get_or_init(|| Vision::open(models_dir())))
}

pub fn models_dir() -> PathBuf {
    std::env::var_os("BTRUST_MODELS")
        .expect("BTRUST_MODELS names the folder that `btrust models fetch` filled")
        .into()
}
