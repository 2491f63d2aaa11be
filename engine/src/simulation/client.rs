//! Banks and applicants: they start, ask, answer, cancel, and repeat what they are not sure of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use btrust_machine::State;
use btrust_schemas::commands::{Conflict, RedriveRequest, Reuse};
use btrust_schemas::core::{
    CancelRequest, StartRequest, StartResponse, Status, SubmissionRequest, TaskSuccessRequest,
    WorkflowView,
};
use btrust_schemas::ids::{IncidentId, PromptId, TaskToken, WorkflowId};
use btrust_schemas::incidents::{ResolutionAction, ResolutionRequest};
use btrust_schemas::prompt::PromptView;
use btrust_schemas::turn::{Audience, Submitter};

use crate::error::EngineError;

use super::network::call;
use super::node;
use super::script;
use super::world::{TENANT, World};

/// How long a client waits before it asks again.
const AGAIN: Duration = Duration::from_millis(700);
/// How long a client lets a long poll take, ms.
const WAIT_MS: u64 = 15_000;
/// How late a long poll may hear of a commit, ms.
const NEWS_MS: i64 = 2_000;

/// One workflow from its start to its end.
pub struct Client {
    pub world: Arc<World>,
    pub definition: &'static str,
    pub label: String,
}

/// Asks the known node; `None` when there is no node or no answer.
macro_rules! ask {
    ($world:expr, $node:ident => $work:expr) => {
        match node::known($world) {
            Some(known) => call($world, &known, |$node| async move { $work.await }).await,
            None => None,
        }
    };
}

pub(super) use ask;

impl Client {
    pub async fn live(self) {
        let ms = self.world.chance.between(0, 60_000);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let workflow = Box::pin(self.start()).await;
        let cancels_at_ms = (self.world.chance.happens(80))
            .then(|| self.world.elapsed_ms() + self.world.chance.below(60_000).cast_signed());
        loop {
            let is_redriven = self.world.memory().redriven.contains(&workflow);
            if !is_redriven && cancels_at_ms.is_some_and(|it| it <= self.world.elapsed_ms()) {
                self.cancel(workflow).await;
            }
            let is_over = match self.world.chance.below(4) {
                0 => self.view(workflow).await,
                1 => self.result(workflow).await,
                _ => self.answer_prompts(workflow).await,
            };
            if is_over && !self.goes_on(workflow).await {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.world.note(format_args!("{} is over", self.label));
    }

    fn start_request(&self) -> StartRequest {
        StartRequest {
            tenant: TENANT.to_owned(),
            definition: self.definition.to_owned(),
            version: None,
            input: script::input(&self.label),
            subject_ref: Some(self.label.clone()),
            locale: None,
            idempotency_key: self.label.clone(),
            request_digest: "1".repeat(64),
            actor: "bank".to_owned(),
            priority: None,
            reuse: Reuse::default(),
            conflict: Conflict::default(),
            request_id: None,
            wait_ms: 0,
            search_attributes: BTreeMap::new(),
        }
    }

    /// Starts until somebody says that it is started, and sometimes once more.
    async fn start(&self) -> WorkflowId {
        loop {
            let twice = self.world.chance.happens(250);
            let first = self.start_once();
            let answers = if twice {
                let (one, other) = tokio::join!(first, self.start_once());
                [one, other]
            } else {
                [first.await, None]
            };
            if let Some(workflow) = answers.into_iter().flatten().next() {
                return workflow;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn start_once(&self) -> Option<WorkflowId> {
        let request = self.start_request();
        let answer = ask!(&self.world, node => node.engine.start_workflow(request));
        match answer? {
            Ok(response) => {
                self.judge_start(&response);
                Some(response.workflow.id)
            }
            Err(error) if error.is_transient() => None,
            Err(error) => {
                self.world.violated(
                    "a start is not refused",
                    format_args!("{} {error}", self.label),
                );
                None
            }
        }
    }

    /// A start that is acknowledged is there, once.
    fn judge_start(&self, response: &StartResponse) {
        let id = response.workflow.id;
        self.world
            .note(format_args!("{} is {id} {}", self.label, response.created));
        let is_there = self.world.database.tables().workflows.contains_key(&id);
        let mut memory = self.world.memory();
        let started = *memory.started.entry(self.label.clone()).or_insert(id);
        let is_created_again = response.created && !memory.created.insert(id);
        drop(memory);
        if !is_there || started != id || is_created_again {
            self.world.violated(
                "an acknowledged start is there, once",
                format_args!("{} {id} there {is_there}, before {started}", self.label),
            );
        }
        self.judge_view(&response.workflow);
    }

    /// What is shown of a workflow was committed.
    fn judge_view(&self, view: &WorkflowView) {
        let version = (view.id, view.sequence);
        let memory = self.world.memory();
        let committed = memory.versions.get(&version).cloned();
        drop(memory);
        let shown = (view.status.as_str().to_owned(), view.decision.clone());
        if committed != Some(shown) {
            self.world.violated(
                "what is shown is committed",
                format_args!("{} {} {:?}", view.id, view.sequence, view.status),
            );
        }
    }

    /// Whether the workflow is closed.
    async fn view(&self, id: WorkflowId) -> bool {
        let answer = ask!(&self.world, node => node.engine.view(TENANT, id));
        match answer {
            Some(Ok(view)) => {
                self.judge_view(&view);
                view.status != Status::Running
            }
            Some(Err(error)) => self.judge_refusal("a view", &error),
            None => false,
        }
    }

    fn judge_refusal(&self, what: &str, error: &EngineError) -> bool {
        if !error.is_transient() {
            self.world
                .violated("no false refusal", format_args!("{what} {error}"));
        }
        false
    }

    /// Waits for the end; whether it is there.
    async fn result(&self, id: WorkflowId) -> bool {
        let Some(known) = node::known(&self.world) else {
            return false;
        };
        let was_current = node::is_current(&self.world, &known);
        let n_stalls = self.world.memory().n_stalls;
        let begun_ms = self.world.elapsed_ms();
        let answer = call(&self.world, &known, |node| async move {
            node.engine.result(TENANT, id, WAIT_MS).await
        })
        .await;
        let is_quiet = was_current
            && node::is_current(&self.world, &known)
            && n_stalls == self.world.memory().n_stalls;
        match answer {
            Some(Ok(result)) => {
                let is_over = result.status != Status::Running;
                if is_quiet && !is_over {
                    self.judge_news(id, begun_ms, &known.process.name);
                }
                is_over
            }
            Some(Err(error)) => self.judge_refusal("a result", &error),
            None => false,
        }
    }

    /// Whoever waits hears of the end when the node does.
    fn judge_news(&self, id: WorkflowId, begun_ms: i64, node: &str) {
        let state = self.world.state(id);
        let Some(closed) = state.filter(|it| it.status().is_closed()) else {
            return;
        };
        let memory = self.world.memory();
        let heard = memory.heard.get(&(id, closed.n_events())).cloned();
        drop(memory);
        let deadline_ms = begun_ms + WAIT_MS.cast_signed() - NEWS_MS;
        if heard.is_some_and(|(at_ms, by)| by == node && at_ms < deadline_ms) {
            self.world
                .violated("whoever waits is told", format_args!("{id}"));
        }
    }

    /// Answers the prompts that somebody answers; whether the workflow is closed.
    async fn answer_prompts(&self, id: WorkflowId) -> bool {
        let wait_ms = self.world.chance.below(2) * WAIT_MS;
        let answer =
            ask!(&self.world, node => node.engine.prompts(TENANT, id, None, None, wait_ms));
        let view = match answer {
            Some(Ok(view)) => view,
            Some(Err(error)) => return self.judge_refusal("prompts", &error),
            None => return false,
        };
        for prompt in view.prompts {
            if script::is_answered(&prompt.state_name) {
                // A person takes a while.
                let ms = self.world.chance.between(50, 30_000);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.submit(&prompt).await;
            }
        }
        view.status != Status::Running
    }

    fn submission(digest: char) -> SubmissionRequest {
        SubmissionRequest {
            tenant: TENANT.to_owned(),
            submitter: Submitter {
                kind: Audience::Applicant,
                id: "applicant".to_owned(),
                device: None,
                address: None,
                device_class: None,
            },
            body: json!({ "answer": digest.to_string() }),
            digest: digest.to_string().repeat(64),
        }
    }

    async fn submit(&self, prompt: &PromptView) {
        let id = prompt.id;
        let request = Self::submission('a');
        let answer = ask!(&self.world, node => node.engine.submit(id, request));
        let Some(Ok(_)) = answer else { return };
        self.judge_submission(prompt);
        if self.world.chance.happens(100) {
            let request = Self::submission('b');
            let other = ask!(&self.world, node => node.engine.submit(id, request));
            if let Some(Ok(_)) = other {
                self.world
                    .violated("the first answer counts", format_args!("{id}"));
            }
        }
    }

    /// An answer that is acknowledged is committed.
    fn judge_submission(&self, prompt: &PromptView) {
        let PromptId { workflow, number } = prompt.id;
        self.world
            .note(format_args!("{} answers {}", self.label, prompt.id));
        let state = self.world.state(workflow);
        let open = state.map(|it| it.open_prompts());
        let is_open = open.is_none_or(|it| it.iter().any(|it| it.prompt == number));
        if is_open {
            self.world.violated(
                "an acknowledged answer is committed",
                format_args!("{}", prompt.id),
            );
        }
        let mut memory = self.world.memory();
        memory.answered.insert(prompt.id, prompt.state_name.clone());
    }

    async fn cancel(&self, id: WorkflowId) {
        self.world.memory().cancelled.entry(id).or_insert(false);
        let request = CancelRequest {
            tenant: TENANT.to_owned(),
            reason: None,
            grace_seconds: 0,
            actor: "bank".to_owned(),
        };
        let answer = ask!(&self.world, node => node.engine.cancel(id, request));
        if let Some(Ok(view)) = answer {
            self.judge_view(&view);
            self.world.memory().cancelled.insert(id, true);
            let is_closed = self
                .world
                .state(id)
                .is_some_and(|it| it.status().is_closed());
            if !is_closed {
                self.world.violated(
                    "an acknowledged cancelling is committed",
                    format_args!("{id}"),
                );
            }
        }
    }
}

impl Client {
    /// Redrives a workflow that was cancelled, once, where there are operators; whether it did.
    async fn goes_on(&self, id: WorkflowId) -> bool {
        let is_cancelled = |it: State| it.status() == btrust_machine::Status::Cancelled;
        let is_first = !self.world.memory().redriven.contains(&id);
        if self.world.weather.operators == 0
            || !is_first
            || !self.world.state(id).is_some_and(is_cancelled)
        {
            return false;
        }
        self.world.memory().redriven.insert(id);
        loop {
            let request = RedriveRequest {
                tenant: TENANT.to_owned(),
                reason: None,
                idempotency_key: "once".to_owned(),
                actor: "operator".to_owned(),
            };
            let answer = ask!(&self.world, node => node.engine.redrive(id, request));
            self.world.note(format_args!(
                "{} is redriven: {}",
                self.label,
                answer.is_some()
            ));
            if let Some(Ok(view)) = answer {
                self.judge_view(&view);
                let n_redrives = self.world.state(id).map_or(0, |it| it.n_redrives());
                if n_redrives != 1 {
                    self.world.violated(
                        "an acknowledged redrive is committed, once",
                        format_args!("{id} {n_redrives}"),
                    );
                }
                return true;
            }
            // Whoever was taken over may still know it as running; refused for ever, it never ends.
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Somebody outside sends a token back until the task takes it or is over.
pub async fn send_back(world: Arc<World>, token: TaskToken) {
    let id = token.task.workflow;
    let is_waited_for = || {
        let state = world.state(id);
        let text = token.to_string();
        state.is_some_and(|it| it.open_tokens().contains(&text.as_str()))
    };
    let ms = world.chance.between(10, 20_000);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    while is_waited_for() {
        let request = TaskSuccessRequest {
            tenant: TENANT.to_owned(),
            result: json!({ "outcome": "returned", "output": {} }),
            actor: "bank".to_owned(),
        };
        let answer = ask!(&world, node => node.engine.succeed_task(token, request));
        if let Some(Ok(())) = answer
            && is_waited_for()
        {
            world.violated("an acknowledged token is committed", format_args!("{id}"));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How often an operator looks for tasks that stand still.
const LOOK: Duration = Duration::from_secs(20);

/// Lets every task go on that has lost too many workers.
pub async fn operate(world: Arc<World>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let started: Vec<WorkflowId> = world.memory().started.values().copied().collect();
        for workflow in started {
            let stuck = world.state(workflow).map(|it| it.stuck_tasks());
            for task in stuck.into_iter().flatten() {
                let id = IncidentId {
                    workflow,
                    number: task.task,
                };
                resolve(&world, id).await;
            }
        }
    }
}

async fn resolve(world: &Arc<World>, id: IncidentId) {
    let request = ResolutionRequest {
        tenant: TENANT.to_owned(),
        action: ResolutionAction::Retry,
        error: None,
        cause: None,
        note: None,
        actor: "operator".to_owned(),
    };
    let answer = ask!(world, node => node.engine.resolve_incident(id, request));
    world.note(format_args!(
        "an operator resolves {id}: {}",
        answer.is_some()
    ));
    if let Some(Err(EngineError::IncidentUnknown)) = answer {
        // Its row could not be stored; a starting node stores it.
        world.want_restart();
    }
}
