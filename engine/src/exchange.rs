//! The one call of workers: results in, acknowledgements and new turns out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout, timeout_at};

use btrust_machine::{Command, Payload, TurnReason as MachineReason, TurnResult as MachineResult};
use btrust_schemas::exchange::{
    Ack, EXCHANGE_WAIT_MAX_MS, ExchangeRequest, ExchangeResponse, PROGRESS_MAX, RESULTS_MAX,
    Report, ReportKind, WANT_MAX, WORKER_LABELS_MAX,
};
use btrust_schemas::ids::{PromptId, TaskId};
use btrust_schemas::task_limits::is_label;
use btrust_schemas::turn::{Submitter, TurnInput, TurnKey, TurnReason, TurnResult};

use crate::dispatch::{Begin, SessionNumber, Taken};
use crate::engine::Engine;
use crate::error::{EngineError, QUEUE_FORBIDDEN};
use crate::mailbox::Request;
use crate::queues::Queues;
use crate::workflow::{audience_text, parse_audience};

/// How long a call that brings results waits for their commit; later acknowledgements ride the next one.
pub const ACK_WAIT_MAX: Duration = Duration::from_secs(1);
/// The answer to a checkpoint of a turn that another session holds: the effect is not this one's to cause.
pub const LEASE_LOST: &str = "lease_lost";
/// Longest name of a session, in bytes.
pub const SESSION_BYTES_MAX: usize = 128;

impl Engine {
    /// Serves one exchange of `client`, and answers with JSON.
    ///
    /// `queues` are the steps that the client serves: it can neither hold nor report turns of others.
    /// The caller has checked that it asks for no others either.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unavailable`] when none of its results could be stored; `exchange_out_of_order` when a later exchange of the session has been served or has begun.
    ///
    /// # Panics
    ///
    /// Never: an answer is plain JSON.
    pub async fn exchange(
        self: &Arc<Self>,
        client: &str,
        queues: &Arc<Queues>,
        mut request: ExchangeRequest,
    ) -> Result<Bytes, EngineError> {
        check(&request)?;
        let dispatch = &self.shared.dispatch;
        let now_ms = || self.shared.clock.now_ms();
        let call = match dispatch.begin(client, &request, now_ms()) {
            Begin::Fresh(call) => call,
            Begin::Answered(answer) => return Ok(answer),
            Begin::OutOfOrder => return Err(out_of_order()),
            Begin::TooManySessions => return Err(EngineError::Overloaded),
        };
        let held = self.refuse_forbidden(call.session, queues, &mut request);
        let lost = dispatch.hold(call.session, &held, request.leaving, now_ms());
        self.note_losses(lost).await;
        dispatch.progress(
            call.session,
            std::mem::take(&mut request.progress),
            now_ms(),
        );

        let has_results = !request.results.is_empty();
        let wait_ms = request.wait_ms.min(EXCHANGE_WAIT_MAX_MS);
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        if has_results {
            let reports =
                Arc::clone(self).report(call.session, Arc::clone(queues), request.results);
            // Whatever is not committed by then rides the next exchange.
            let reported = timeout(ACK_WAIT_MAX, tokio::spawn(reports)).await;
            if matches!(reported, Ok(Ok(0))) {
                // The worker must back off, instead of bringing the same again at once.
                return Err(EngineError::Unavailable);
            }
        }
        let want = usize::try_from(request.want.min(WANT_MAX)).unwrap_or_default();
        let response = loop {
            // By now others may own whatever this node would give out.
            if self.shared.ownership.has_ended() {
                return Err(EngineError::Unavailable);
            }
            let given = dispatch.take(&call, &request.queues, want, now_ms());
            let is_over = has_results || want == 0 || deadline <= Instant::now();
            if is_over || !given.is_empty() {
                let tasks = given.taken.into_iter().map(|it| self.turn_input(it));
                break ExchangeResponse {
                    acks: given.acks,
                    tasks: tasks.collect(),
                    nodes: self.shared.routes.node_urls(),
                    cancelled: given.cancelled,
                };
            }
            let parked = dispatch.park(&call, &request.queues, now_ms());
            if parked.is_some() {
                // A timeout is looked at by the next round of the loop.
                let _ = timeout_at(deadline, call.wake.notified()).await;
            }
            drop(parked);
            if !dispatch.is_current(&call) {
                return Err(out_of_order());
            }
        };
        let answer = Bytes::from(serde_json::to_vec(&response).expect("an answer is plain JSON"));
        dispatch.answered(&call, &answer, now_ms());
        Ok(answer)
    }

    /// Takes turns of steps that the client does not serve out of a request; returns what it may hold.
    fn refuse_forbidden(
        &self,
        session: SessionNumber,
        queues: &Queues,
        request: &mut ExchangeRequest,
    ) -> BTreeSet<TurnKey> {
        let dispatch = &self.shared.dispatch;
        let reported = request.results.iter().map(|it| it.key);
        let mut held: BTreeSet<TurnKey> = request.held.iter().copied().chain(reported).collect();
        for key in dispatch.forbidden(queues, &held) {
            held.remove(&key);
            let reports = request.results.extract_if(.., |it| it.key == key);
            let mut kinds: Vec<bool> = reports.map(|it| is_checkpoint(&it)).collect();
            if kinds.is_empty() {
                kinds.push(false);
            }
            for checkpoint in kinds {
                let code = QUEUE_FORBIDDEN.to_owned();
                let ack = Ack {
                    key,
                    checkpoint,
                    code,
                };
                dispatch.acknowledge(session, ack);
            }
        }
        held
    }

    /// Hands results to the state machine; each is acknowledged by its own commit. Returns how many were.
    async fn report(
        self: Arc<Self>,
        session: SessionNumber,
        queues: Arc<Queues>,
        reports: Vec<Report>,
    ) -> usize {
        let reports = reports
            .into_iter()
            .map(|it| self.report_one(session, &queues, it));
        // All are in the mailbox before the first is waited for, so they share a commit.
        let acknowledged = join_all(reports).await;
        acknowledged.into_iter().filter(|it| *it).count()
    }

    /// Returns whether the report is acknowledged.
    async fn report_one(
        &self,
        session: SessionNumber,
        queues: &Arc<Queues>,
        report: Report,
    ) -> bool {
        let key = report.key;
        let dispatch = &self.shared.dispatch;
        dispatch.report_begins(key);
        let checkpoint = is_checkpoint(&report);
        let partition = key.task.workflow.partition();
        if checkpoint && !self.shared.ownership.owns(partition) {
            // Whose the turn is, is known once the partition has been recovered; the worker brings it again.
            let _ = dispatch.report_ends(session, key, None, self.shared.clock.now_ms());
            return false;
        }
        if checkpoint && !dispatch.begin_checkpoint(session, key) {
            let ack = Ack {
                key,
                checkpoint,
                code: LEASE_LOST.to_owned(),
            };
            // A checkpoint loses no lease.
            let _ = dispatch.report_ends(session, key, Some(ack), self.shared.clock.now_ms());
            return true;
        }
        let workflow = key.task.workflow;
        let command = Box::new(command(report));
        let code = match self
            .mailbox
            .ask(Request::Command {
                workflow,
                tenant: None,
                queues: Some(Arc::clone(queues)),
                command,
            })
            .await
        {
            Ok(_) => Some(Ack::ACCEPTED.to_owned()),
            // No acknowledgement: the worker brings it again.
            Err(error) if error.is_transient() => None,
            Err(error) => Some(error.code().to_owned()),
        };
        let is_acknowledged = code.is_some();
        if checkpoint {
            dispatch.checkpoint_ends(session, key, code.as_deref() == Some(Ack::ACCEPTED));
        }
        let ack = code.map(|code| Ack {
            key,
            checkpoint,
            code,
        });
        let lost = dispatch.report_ends(session, key, ack, self.shared.clock.now_ms());
        self.note_losses(lost.into_iter().collect()).await;
        is_acknowledged
    }

    fn turn_input(&self, taken: Taken) -> TurnInput {
        let Taken { owner, turn } = taken;
        TurnInput {
            key: TurnKey {
                task: TaskId {
                    workflow: owner.workflow,
                    number: turn.task,
                },
                attempt: turn.attempt,
                turn: turn.turn,
            },
            tenant: owner.tenant.clone(),
            workflow: owner.workflow,
            subject: owner.subject.clone(),
            state_name: turn.state_name.clone(),
            resource: turn.resource.clone(),
            locale: owner.locale.clone(),
            arguments: turn.arguments.to_value(),
            state: turn.parked.as_ref().map(Payload::to_value),
            checkpoint: turn.checkpoint.as_ref().map(Payload::to_value),
            reason: reason(owner.workflow, &turn.reason),
            acknowledgements: self.acknowledgements.kinds(&owner.tenant),
            scheduled_ms: turn.scheduled_ms,
            deadline_ms: turn.deadline_ms,
        }
    }
}

fn is_checkpoint(report: &Report) -> bool {
    matches!(report.what, ReportKind::Checkpoint { .. })
}

fn check(request: &ExchangeRequest) -> Result<(), EngineError> {
    let refused = |detail: String| {
        Err(EngineError::Invalid {
            code: "exchange_invalid",
            detail,
        })
    };
    if request.session.is_empty() || SESSION_BYTES_MAX < request.session.len() {
        return refused(format!(
            "a session's name has 1 to {SESSION_BYTES_MAX} bytes"
        ));
    }
    if WORKER_LABELS_MAX < request.labels.len() || !request.labels.iter().all(|it| is_label(it)) {
        return refused(format!(
            "a worker offers at most {WORKER_LABELS_MAX} labels such as `region=eu` or `gpu`"
        ));
    }
    if PROGRESS_MAX < request.progress.len() {
        return refused(format!(
            "an exchange tells the progress of at most {PROGRESS_MAX} turns"
        ));
    }
    if RESULTS_MAX < request.results.len() {
        return refused(format!("an exchange carries at most {RESULTS_MAX} results"));
    }
    Ok(())
}

fn out_of_order() -> EngineError {
    let detail = "a later exchange of this session has begun".to_owned();
    EngineError::Invalid {
        code: "exchange_out_of_order",
        detail,
    }
}

fn command(report: Report) -> Command {
    let TurnKey {
        task,
        attempt,
        turn,
    } = report.key;
    let task = task.number;
    match report.what {
        ReportKind::Checkpoint { state } => Command::Checkpoint {
            task,
            attempt,
            turn,
            state: Payload::from(state),
        },
        ReportKind::Result { result } => {
            let bytes = serde_json::to_vec(&result).expect("a result is plain JSON");
            let digest = hex::encode(Sha256::digest(bytes));
            Command::TurnResult {
                task,
                attempt,
                turn,
                digest,
                result: machine_result(result),
            }
        }
    }
}

fn machine_result(result: TurnResult) -> MachineResult {
    match result {
        TurnResult::Complete { outcome, output } => MachineResult::Complete {
            outcome,
            output: Payload::from(output),
        },
        TurnResult::Ask(ask) => MachineResult::Ask {
            audience: audience_text(ask.audience).to_owned(),
            kind: ask.kind,
            body: Payload::from(ask.body),
            state: Payload::from(ask.state),
            expires_in_ms: ask.expires_in_ms,
            wake_in_ms: ask.wake_in_ms,
        },
        TurnResult::Fail { error, cause } => MachineResult::Fail { error, cause },
    }
}

fn reason(workflow: btrust_schemas::ids::WorkflowId, reason: &MachineReason) -> TurnReason {
    let prompt_id = |number| PromptId { workflow, number };
    match reason {
        MachineReason::First => TurnReason::First,
        MachineReason::Expired { prompt } => TurnReason::Expired {
            prompt: prompt_id(*prompt),
        },
        MachineReason::Woken => TurnReason::Woken,
        MachineReason::Submission {
            prompt,
            body,
            submitter,
        } => TurnReason::Submission {
            prompt: prompt_id(*prompt),
            body: body.to_value(),
            submitter: Submitter {
                kind: parse_audience(&submitter.kind)
                    .expect("the machine compared it with the prompt's audience"),
                id: submitter.id.clone(),
                device: submitter.device.clone(),
                address: submitter.address.clone(),
                // For analytics only.
                device_class: None,
            },
        },
    }
}
