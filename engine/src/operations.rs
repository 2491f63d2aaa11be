//! What operators do to workflows, and signals.

use async_trait::async_trait;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use btrust_machine::{Command, Origin, Payload, Refusal};
use btrust_schemas::commands::{
    Act, ActRequest, Conflict, MANY_LIMIT_DEFAULT, MANY_LIMIT_MAX, ManyRequest, ManyView,
    RedriveRequest, RestartRequest, Reuse, SignalRequest, SignalResponse,
};
use btrust_schemas::core::{CancelRequest, StartResponse, Status, WorkflowView};
use btrust_schemas::ids::WorkflowId;

use crate::engine::{Engine, check_idempotency_key, start_key, takes};
use crate::error::EngineError;
use crate::mailbox::{Request, Start};
use crate::nodes::Destination;
use crate::search;
use crate::store::StartKey;

/// Workflows named as examples of those that an act was refused for.
const EXAMPLES_MAX: usize = 5;

impl Engine {
    /// Sends a signal, once for each key.
    pub async fn signal(
        &self,
        workflow: WorkflowId,
        request: SignalRequest,
    ) -> Result<SignalResponse, EngineError> {
        check_idempotency_key(&request.idempotency_key)?;
        let command = Command::Signal {
            name: request.name,
            payload: Payload::from(request.payload),
            key: digest(&request.idempotency_key),
            digest: request.request_digest,
            by: Some(request.actor),
        };
        let done = self.command(request.tenant, workflow, command).await?;
        Ok(SignalResponse {
            created: done.is_new,
            workflow: done.workflow.view(),
        })
    }

    /// Ends a workflow: at once, or when what is under way has had time to end.
    pub async fn cancel(
        &self,
        workflow: WorkflowId,
        request: CancelRequest,
    ) -> Result<WorkflowView, EngineError> {
        let command = Command::Cancel {
            reason: request.reason,
            grace_seconds: i64::from(request.grace_seconds),
            by: Some(request.actor),
        };
        let tenant = request.tenant;
        let done = self.command(tenant.clone(), workflow, command).await?;
        // Nobody waits for turns that no worker has. Should this be lost, the grace ends all the same.
        let unheld = self.shared.dispatch.unheld(workflow);
        if unheld.is_empty() {
            return Ok(done.workflow.view());
        }
        let turns = unheld
            .into_iter()
            .map(|it| (it.task.number, it.attempt, it.turn))
            .collect();
        let command = Command::TurnsUnheld { turns };
        match self.command(tenant, workflow, command).await {
            Ok(done) => Ok(done.workflow.view()),
            Err(_) => Ok(done.workflow.view()),
        }
    }

    /// Ends a workflow at once; nothing is undone.
    pub async fn terminate(
        &self,
        workflow: WorkflowId,
        request: ActRequest,
    ) -> Result<WorkflowView, EngineError> {
        let command = Command::Terminate {
            reason: request.reason,
            by: Some(request.actor),
        };
        self.act(request.tenant, workflow, command).await
    }

    /// Lets nothing new begin in a workflow until somebody resumes it.
    pub async fn pause(
        &self,
        workflow: WorkflowId,
        request: ActRequest,
    ) -> Result<WorkflowView, EngineError> {
        let command = command(Act::Pause, request.reason, request.actor);
        self.act(request.tenant, workflow, command).await
    }

    /// Lets a paused workflow go on.
    pub async fn resume(
        &self,
        workflow: WorkflowId,
        request: ActRequest,
    ) -> Result<WorkflowView, EngineError> {
        let command = command(Act::Resume, request.reason, request.actor);
        self.act(request.tenant, workflow, command).await
    }

    /// Lets a workflow that did not end well go on from where it failed, once for each key.
    pub async fn redrive(
        &self,
        workflow: WorkflowId,
        request: RedriveRequest,
    ) -> Result<WorkflowView, EngineError> {
        check_idempotency_key(&request.idempotency_key)?;
        let command = Command::Redrive {
            key: digest(&request.idempotency_key),
            reason: request.reason,
            by: Some(request.actor),
        };
        self.act(request.tenant, workflow, command).await
    }

    /// Starts a workflow that has ended again, as a new one, once for each key.
    pub async fn restart(
        &self,
        workflow: WorkflowId,
        request: RestartRequest,
    ) -> Result<StartResponse, EngineError> {
        check_idempotency_key(&request.idempotency_key)?;
        let RestartRequest {
            tenant,
            version,
            idempotency_key,
            request_digest,
            actor,
        } = request;
        let old = self.shared.read(&tenant, workflow).await?;
        let key = restart_key(&tenant, &idempotency_key, workflow);
        let input = old.state.input().to_value();
        let definitions = &self.shared.definitions;
        let startable = definitions
            .startable(&tenant, &old.columns.definition, version)
            .await;
        let published = match startable.and_then(|it| takes(it, &input)) {
            Ok(published) => published,
            Err(refusal) => {
                let started = (key, request_digest.as_str(), None);
                return self.repeated_start(&tenant, started, 0, refusal).await;
            }
        };
        let declared = published.compiled.search_attributes();
        let before = search::of_column(old.columns.attributes.as_deref());
        let start = Start {
            attributes: search::owed_values(declared, &before, &input),
            key,
            digest: request_digest,
            tenant,
            definition: published.compiled,
            version: published.version,
            input: Payload::from(input),
            subject: old.columns.subject.clone(),
            locale: old.columns.locale.clone(),
            priority: old.state.priority(),
            actor,
            reuse: Reuse::Reject,
            conflict: Conflict::Existing,
            request: None,
            restart_of: Some(workflow),
            id: None,
            origin: Origin::default(),
        };
        let done = self.mailbox.ask(Request::Start(Box::new(start))).await?;
        self.started(done.workflow, done.is_new, 0).await
    }

    async fn act(
        &self,
        tenant: String,
        workflow: WorkflowId,
        command: Command,
    ) -> Result<WorkflowView, EngineError> {
        let done = self.command(tenant, workflow, command).await?;
        Ok(done.workflow.view())
    }

    /// Pauses or resumes a page of the running workflows that a filter finds.
    ///
    /// # Errors
    ///
    /// When nothing could be looked up, or a commit could not be stored: the same page again does what
    /// is left of it.
    pub async fn act_on_many(&self, request: ManyRequest) -> Result<ManyView, EngineError> {
        self.act_on_many_anywhere(request, None).await
    }

    /// The same, also for workflows of other nodes.
    pub(crate) async fn act_on_many_anywhere(
        &self,
        request: ManyRequest,
        neighbours: Option<&dyn Neighbours>,
    ) -> Result<ManyView, EngineError> {
        let ManyRequest {
            act,
            filter: mut query,
            dry_run,
            reason,
            actor,
        } = request;
        let request = ActRequest {
            tenant: query.tenant.clone(),
            reason,
            actor,
        };
        query.status = Some(Status::Running);
        query.paused = None;
        let limit = query.limit.unwrap_or(MANY_LIMIT_DEFAULT);
        let (found, next) = self.list_ids(query, limit.clamp(1, MANY_LIMIT_MAX)).await?;
        let mut view = ManyView {
            next,
            ..ManyView::default()
        };
        let acts = found.iter().map(|id| async {
            if dry_run {
                self.would_act(*id, act, &request.tenant).await
            } else {
                self.act_on_one(*id, act, &request, neighbours).await
            }
        });
        // All are in the mailbox before the first is waited for, so they share commits.
        for (id, acted) in found.iter().zip(join_all(acts).await) {
            match acted? {
                Acted::Changed => view.done += 1,
                Acted::Unchanged => view.unchanged += 1,
                Acted::Refused(code) => {
                    view.refused += 1;
                    view.refused_code.get_or_insert(code);
                    if view.examples.len() < EXAMPLES_MAX {
                        view.examples.push(*id);
                    }
                }
            }
        }
        Ok(view)
    }

    /// What an act would do.
    async fn would_act(
        &self,
        id: WorkflowId,
        act: Act,
        tenant: &str,
    ) -> Result<Acted, EngineError> {
        match self.shared.read(tenant, id).await {
            Ok(it) if it.state.is_paused() == (act == Act::Pause) => Ok(Acted::Unchanged),
            Ok(_) => Ok(Acted::Changed),
            Err(error) => Acted::refused(error),
        }
    }

    async fn act_on_one(
        &self,
        id: WorkflowId,
        act: Act,
        request: &ActRequest,
        neighbours: Option<&dyn Neighbours>,
    ) -> Result<Acted, EngineError> {
        if let Some(neighbours) = neighbours
            && let Destination::There(url) = self.destination(id.partition())
        {
            return match self.would_act(id, act, &request.tenant).await? {
                Acted::Changed => neighbours.act(&url, id, act, request).await,
                as_it_is => Ok(as_it_is),
            };
        }
        let command = command(act, request.reason.clone(), request.actor.clone());
        match self.command(request.tenant.clone(), id, command).await {
            Ok(done) if done.is_new => Ok(Acted::Changed),
            Ok(_) => Ok(Acted::Unchanged),
            Err(error) => Acted::refused(error),
        }
    }
}

/// What an act on one of many workflows has come to.
pub(crate) enum Acted {
    Changed,
    /// It was as asked for already, or has ended meanwhile.
    Unchanged,
    /// With the code of the reason.
    Refused(String),
}

impl Acted {
    /// What a refusal of one workflow means for the others: nothing, unless it passes by itself.
    fn refused(error: EngineError) -> Result<Self, EngineError> {
        match error {
            error if error.is_transient() => Err(error),
            EngineError::Refused(Refusal::WorkflowClosed) => Ok(Self::Unchanged),
            error => Ok(Self::Refused(error.code().to_owned())),
        }
    }
}

/// The other nodes, as the caller may call them.
#[async_trait]
pub(crate) trait Neighbours: Send + Sync {
    /// Has the node at `url` act on one of its workflows.
    async fn act(
        &self,
        url: &str,
        workflow: WorkflowId,
        act: Act,
        request: &ActRequest,
    ) -> Result<Acted, EngineError>;
}

fn command(act: Act, reason: Option<String>, by: String) -> Command {
    let by = Some(by);
    match act {
        Act::Pause => Command::Pause { reason, by },
        Act::Resume => Command::Resume { by },
    }
}

/// What is kept of an idempotency key.
fn digest(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// The key of a restart: it leads to the partition of the workflow, so that one commit writes both.
fn restart_key(tenant: &str, idempotency_key: &str, workflow: WorkflowId) -> StartKey {
    let of_restart = format!("restart\0{workflow}\0{idempotency_key}");
    let StartKey { tenant, key_hash } = start_key(tenant, &of_restart);
    let place = format!("{:02x}", workflow.partition());
    let rest = key_hash.get(place.len()..).unwrap_or_default();
    StartKey {
        tenant,
        key_hash: format!("{place}{rest}"),
    }
}
