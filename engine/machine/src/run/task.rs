//! Tasks: attempts, turns and their results.

use serde_json::json;

use super::evaluate::{DATA_LIMIT_EXCEEDED, Seen};
use super::flow::TIMEOUT;
use super::prompt::Question;
use super::{Failure, Run, Trouble, mismatch};
use crate::command::{Refusal, TurnResult};
use crate::definition::{Kind, StateDef, TaskDef, no_arguments};
use crate::effect::{CloseReason, Effect, TurnReason};
use crate::event::EventKind;
use crate::limits::{CLOSED_TURNS_MAX, PAYLOAD_BYTES_MAX};
use crate::payload::Payload;
use crate::state::{ClosedTurn, OpenTask, Phase, Position, Visit};

const UNKNOWN_OUTCOME: &str = "BTrust.UnknownOutcome";

/// The idempotency key of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TurnId {
    pub task: u32,
    pub attempt: u32,
    pub turn: u32,
}

impl TurnId {
    fn closed(self) -> Refusal {
        Refusal::TurnClosed {
            task: self.task,
            attempt: self.attempt,
            turn: self.turn,
        }
    }

    fn unknown(self) -> Refusal {
        Refusal::TurnUnknown {
            task: self.task,
            attempt: self.attempt,
            turn: self.turn,
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn enter_task(
        &mut self,
        thread: u32,
        state_def: &'a StateDef,
        visit: Visit,
    ) -> Result<(), Refusal> {
        if self
            .definition
            .evidence
            .iter()
            .any(|it| it.state == state_def.name)
        {
            let retracted = self.thread_mut(thread)?.evidence.begin(&state_def.name);
            for evidence in retracted {
                let name = state_def.name.clone();
                self.emit(thread, EventKind::EvidenceRetracted { evidence, name });
            }
        }
        self.state.n_tasks += 1;
        let task = OpenTask {
            task: self.state.n_tasks,
            visit,
            resource: String::new(),
            arguments: no_arguments(),
            attempt: 0,
            turn: 0,
            started: false,
            scheduled_ms: self.now_ms(),
            deadline_ms: None,
            heartbeat_seconds: None,
            parked: None,
            prompt: None,
            wake_ms: None,
            phase: Phase::BackingOff {
                until_ms: self.now_ms(),
            },
        };
        self.thread_mut(thread)?.position = Position::Task(Box::new(task));
        self.begin_attempt(thread)
    }

    /// Schedules the first turn of the next attempt.
    pub(super) fn begin_attempt(&mut self, thread: u32) -> Result<(), Refusal> {
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        task.attempt += 1;
        task.turn = 0;
        task.started = false;
        task.scheduled_ms = now_ms;
        task.parked = None;
        let visit = task.visit.clone();
        let Kind::Task(task_def) = &self.state_def(thread, &visit.state)?.kind else {
            return Err(mismatch(format!("`{}` is not a task state", visit.state)));
        };
        let outcome = self.schedule(thread, task_def, &visit);
        self.settle(thread, outcome)
    }

    fn schedule(&mut self, thread: u32, task_def: &TaskDef, visit: &Visit) -> Result<(), Trouble> {
        let seen = Seen {
            thread,
            visit,
            result: None,
            error_output: None,
        };
        let arguments = match &task_def.arguments {
            Some(template) => self.template(template, "Arguments", &seen)?,
            None => no_arguments(),
        };
        super::evaluate::limit_size(&arguments, "the value of Arguments", visit)?;
        let timeout_seconds = match &task_def.timeout {
            Some(seconds) => Some(self.seconds(seconds, "TimeoutSeconds", 1, &seen)?),
            None => None,
        };
        let heartbeat_seconds = match &task_def.heartbeat {
            Some(seconds) => Some(self.seconds(seconds, "HeartbeatSeconds", 1, &seen)?),
            None => None,
        };
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        task.resource.clone_from(&task_def.resource);
        task.arguments = arguments.clone();
        task.deadline_ms = timeout_seconds.map(|it| now_ms.saturating_add(it * 1000));
        task.heartbeat_seconds = heartbeat_seconds;
        let scheduled = EventKind::TaskScheduled {
            task: task.task,
            attempt: task.attempt,
            name: visit.state.clone(),
            resource: task_def.resource.clone(),
            arguments,
            timeout_seconds,
            heartbeat_seconds,
        };
        self.emit(thread, scheduled);
        self.open_turn(thread, TurnReason::First)?;
        Ok(())
    }

    /// Opens the next turn of the attempt and hands it to a worker.
    pub(super) fn open_turn(&mut self, thread: u32, reason: TurnReason) -> Result<(), Refusal> {
        let scheduled_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        task.turn += 1;
        task.wake_ms = None;
        if task.turn > 1 {
            let (number, attempt, turn) = (task.task, task.attempt, task.turn);
            let reason = reason.word().to_owned();
            self.emit(
                thread,
                EventKind::TurnScheduled {
                    task: number,
                    attempt,
                    turn,
                    reason,
                },
            );
        }
        let task = self.task_mut(thread)?;
        task.phase = Phase::Open {
            reason,
            scheduled_ms,
            checkpoint: None,
            answer: None,
        };
        if let Some(turn) = task.open_turn() {
            self.effects.push(Effect::Dispatch(turn));
        }
        Ok(())
    }

    /// The branch whose task has exactly this turn open.
    pub(super) fn find_turn(&self, id: TurnId) -> Result<u32, Refusal> {
        let Some(thread) = self.state.thread_of_task(id.task) else {
            let was = 0 < id.task && id.task <= self.state.n_tasks && 0 < id.attempt && 0 < id.turn;
            return Err(if was { id.closed() } else { id.unknown() });
        };
        let Position::Task(task) = &self.thread(thread)?.position else {
            return Err(id.unknown());
        };
        let is_open = matches!(task.phase, Phase::Open { .. });
        match (id.attempt, id.turn).cmp(&(task.attempt, task.turn)) {
            std::cmp::Ordering::Equal if is_open => Ok(thread),
            std::cmp::Ordering::Greater => Err(id.unknown()),
            _ if id.attempt == 0 || id.turn == 0 => Err(id.unknown()),
            _ => Err(id.closed()),
        }
    }

    pub(super) fn turn_result(
        &mut self,
        id: TurnId,
        digest: &str,
        result: &TurnResult,
    ) -> Result<(), Refusal> {
        let thread = self.find_turn(id)?;
        if self.state.closed_turns.len() == CLOSED_TURNS_MAX {
            self.state.closed_turns.pop_front();
        }
        let TurnId {
            task,
            attempt,
            turn,
        } = id;
        self.state.closed_turns.push_back(ClosedTurn {
            task,
            attempt,
            turn,
            digest: super::remembered(digest).to_owned(),
        });
        self.note_start(thread)?;
        match result {
            TurnResult::Complete { outcome, output } => self.complete(thread, outcome, output),
            TurnResult::Ask {
                audience,
                kind,
                body,
                state,
                expires_in_ms,
                wake_in_ms,
            } => {
                let largest = body.size_bytes().max(state.size_bytes());
                if PAYLOAD_BYTES_MAX < largest {
                    return self.fail_attempt(thread, too_large("a question", largest));
                }
                let question = Question {
                    audience,
                    kind,
                    body,
                    expires_in_ms: *expires_in_ms,
                    wake_in_ms: *wake_in_ms,
                };
                self.task_mut(thread)?.parked = Some(state.clone());
                self.ask(thread, &question)
            }
            TurnResult::Fail { error, cause } => {
                self.fail_attempt(thread, Failure::new(error, cause.clone()))
            }
        }
    }

    pub(super) fn checkpoint(&mut self, id: TurnId, state: &Payload) -> Result<(), Refusal> {
        let thread = self.find_turn(id)?;
        if PAYLOAD_BYTES_MAX < state.size_bytes() {
            return Err(Refusal::PayloadTooLarge {
                size_bytes: state.size_bytes(),
            });
        }
        self.note_start(thread)?;
        if let Phase::Open { checkpoint, .. } = &mut self.task_mut(thread)?.phase {
            *checkpoint = Some(state.clone());
        }
        let TurnId {
            task,
            attempt,
            turn,
        } = id;
        self.emit(
            thread,
            EventKind::TaskCheckpointed {
                task,
                attempt,
                turn,
                state: state.clone(),
            },
        );
        Ok(())
    }

    /// Writes that a worker took the attempt, once.
    fn note_start(&mut self, thread: u32) -> Result<(), Refusal> {
        let task = self.task_mut(thread)?;
        if task.started {
            return Ok(());
        }
        task.started = true;
        let started = EventKind::TaskStarted {
            task: task.task,
            attempt: task.attempt,
            resource: task.resource.clone(),
        };
        self.emit(thread, started);
        Ok(())
    }

    fn complete(&mut self, thread: u32, outcome: &str, output: &Payload) -> Result<(), Refusal> {
        let task = self.task_mut(thread)?;
        task.phase = Phase::Parked;
        let state_name = task.visit.state.clone();
        let state_def = self.state_def(thread, &state_name)?;
        let Kind::Task(task_def) = &state_def.kind else {
            return Err(mismatch(format!("`{state_name}` is not a task state")));
        };
        if task_def
            .outcomes
            .as_ref()
            .is_some_and(|it| !it.iter().any(|it| it == outcome))
        {
            let cause = format!(
                "`{}` does not publish the outcome `{outcome}`.",
                task_def.resource
            );
            return self.fail_attempt(thread, Failure::new(UNKNOWN_OUTCOME, cause));
        }
        if PAYLOAD_BYTES_MAX < output.size_bytes() {
            return self.fail_attempt(thread, too_large("a result", output.size_bytes()));
        }
        self.close_prompt(thread, CloseReason::Completed)?;
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        let visit = task.visit.clone();
        let succeeded = EventKind::TaskSucceeded {
            task: task.task,
            attempt: task.attempt,
            turn: task.turn,
            name: state_name.clone(),
            resource: task.resource.clone(),
            outcome: outcome.to_owned(),
            output: output.clone(),
            duration_ms: now_ms - task.scheduled_ms,
        };
        self.emit(thread, succeeded);
        self.state.outcomes.insert(state_name, outcome.to_owned());
        let result: Payload = json!({"outcome": outcome, "output": output}).into();
        let seen = Seen {
            thread,
            visit: &visit,
            result: Some(&result),
            error_output: None,
        };
        let left = self.leave(state_def.exit(), &seen, &result);
        self.settle(thread, left)
    }

    /// The open turn says, or shows, that the attempt has failed.
    fn fail_attempt(&mut self, thread: u32, failure: Failure) -> Result<(), Refusal> {
        self.close_prompt(thread, CloseReason::Failed)?;
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        task.phase = Phase::Parked;
        let failed = EventKind::TaskFailed {
            task: task.task,
            attempt: task.attempt,
            turn: task.turn,
            name: task.visit.state.clone(),
            resource: task.resource.clone(),
            error: failure.error.clone(),
            cause: failure.cause.clone(),
            duration_ms: now_ms - task.scheduled_ms,
        };
        self.emit(thread, failed);
        self.fail_state(thread, failure)
    }

    /// `TimeoutSeconds` of the attempt has passed, whatever the task was waiting for.
    pub(super) fn time_out(&mut self, thread: u32) -> Result<(), Refusal> {
        self.withdraw_turn(thread)?;
        self.close_prompt(thread, CloseReason::TimedOut)?;
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        let timed_out = EventKind::TaskTimedOut {
            task: task.task,
            attempt: task.attempt,
            turn: task.turn,
            name: task.visit.state.clone(),
            resource: task.resource.clone(),
            duration_ms: now_ms - task.scheduled_ms,
        };
        let state = task.visit.state.clone();
        self.emit(thread, timed_out);
        self.fail_state(
            thread,
            Failure::new(TIMEOUT, format!("The attempt of '{state}' took too long.")),
        )
    }

    /// Takes an open turn back from the workers.
    pub(super) fn withdraw_turn(&mut self, thread: u32) -> Result<(), Refusal> {
        let task = self.task_mut(thread)?;
        if matches!(task.phase, Phase::Open { .. }) {
            let number = task.task;
            task.phase = Phase::Parked;
            self.effects.push(Effect::Withdraw { task: number });
        }
        Ok(())
    }

    pub(super) fn task_mut(&mut self, thread: u32) -> Result<&mut OpenTask, Refusal> {
        match &mut self.thread_mut(thread)?.position {
            Position::Task(task) => Ok(task),
            _ => Err(mismatch(format!("branch {thread} is not at a task"))),
        }
    }
}

fn too_large(what: &str, size_bytes: usize) -> Failure {
    let cause = format!("{what} of {size_bytes} bytes is larger than {PAYLOAD_BYTES_MAX}.");
    Failure::new(DATA_LIMIT_EXCEEDED, cause)
}
