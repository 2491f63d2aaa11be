//! What operators do to workflows, and signals.

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use btrust_machine::{Command, Origin, Payload};
use btrust_schemas::commands::{
    Act, ActRequest, Conflict, MANY_LIMIT_DEFAULT, MANY_LIMIT_MAX, ManyRequest, ManyView,
    RedriveRequest, RestartRequest, Reuse, SignalRequest, SignalResponse,
};
use btrust_schemas::core::{CancelRequest, StartResponse, Status, WorkflowView};
use btrust_schemas::ids::WorkflowId;

use crate::engine::{Engine, check_idempotency_key, start_key, takes};
use crate::error::EngineError;
use crate::mailbox::{Request, Start};
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
        let command = act(Act::Pause, request.reason, request.actor);
        self.act(request.tenant, workflow, command).await
    }

    /// Lets a paused workflow go on.
    pub async fn resume(
        &self,
        workflow: WorkflowId,
        request: ActRequest,
    ) -> Result<WorkflowView, EngineError> {
        let command = act(Act::Resume, request.reason, request.actor);
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
                let started = (key, request_digest.as_str());
                return self.repeated_start(&tenant, started, 0, refusal).await;
            }
        };
        let start = Start {
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
        let tenant = request.filter.tenant.clone();
        let mut query = request.filter;
        query.status = Some(Status::Running);
        query.paused = None;
        let limit = query.limit.unwrap_or(MANY_LIMIT_DEFAULT);
        let (found, next) = self.list_ids(query, limit.clamp(1, MANY_LIMIT_MAX)).await?;
        let mut view = ManyView {
            next,
            ..ManyView::default()
        };
        if request.dry_run {
            for id in found {
                let paused = match self.shared.read(&tenant, id).await {
                    Ok(workflow) => workflow.state.is_paused(),
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => {
                        view.refuse(id, &error);
                        continue;
                    }
                };
                if paused == (request.act == Act::Pause) {
                    view.unchanged += 1;
                } else {
                    view.done += 1;
                }
            }
            return Ok(view);
        }
        let acts = found.iter().map(|id| {
            let command = act(request.act, request.reason.clone(), request.actor.clone());
            self.command(tenant.clone(), *id, command)
        });
        // All are in the mailbox before the first is waited for, so they share commits.
        for (id, answer) in found.iter().zip(join_all(acts).await) {
            match answer {
                Ok(done) if done.is_new => view.done += 1,
                Ok(_) => view.unchanged += 1,
                Err(EngineError::Refused(btrust_machine::Refusal::WorkflowClosed)) => {
                    view.unchanged += 1;
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => view.refuse(*id, &error),
            }
        }
        Ok(view)
    }
}

trait Refuse {
    fn refuse(&mut self, id: WorkflowId, error: &EngineError);
}

impl Refuse for ManyView {
    fn refuse(&mut self, id: WorkflowId, error: &EngineError) {
        self.refused += 1;
        self.refused_code
            .get_or_insert_with(|| error.code().to_owned());
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(id);
        }
    }
}

fn act(act: Act, reason: Option<String>, by: String) -> Command {
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
