//! Tasks: attempts, turns and their results.

use serde_json::{Map, Value, json};

use super::map::{ITEM_READER_FAILED, RESULT_WRITER_FAILED};
use super::prompt::Question;
use super::{Failure, Run, Seen, Trouble, mismatch};
use crate::catalogue::{RESOURCE_SCHEME, SIGNAL};
use crate::command::{Refusal, TurnResult};
use crate::definition::{Kind, Seconds, StateDef, Template, Transfer, no_arguments};
use crate::effect::{CloseReason, Effect, TurnReason};
use crate::error_name::DATA_LIMIT_EXCEEDED;
use crate::event::EventKind;
use crate::limits::{CLOSED_TURNS_MAX, COMPENSATIONS_MAX};
use crate::payload::{Excess, Payload};
use crate::state::{ClosedTurn, OpenTask, Phase, Position, Role, Visit};

/// Part of a foreign `Resource` that is submitted first and answers when its job is done.
const RUN_A_JOB: &str = ".sync";

const UNKNOWN_OUTCOME: &str = "BTrust.UnknownOutcome";

/// How long an `ItemReader` or `ResultWriter` may take, in seconds.
const TRANSFER_SECONDS_MAX: i64 = 300;

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

/// What a task has to do, whatever it is for.
struct Work<'a> {
    resource: &'a str,
    outcomes: Option<&'a [String]>,
    timeout: Option<&'a Seconds>,
    timeout_seconds: Option<i64>,
    heartbeat: Option<&'a Seconds>,
    waits_for_token: bool,
}

impl<'a> Run<'a> {
    pub(super) fn enter_task(&mut self, thread: u32, visit: Visit) -> Result<(), Refusal> {
        let state = &visit.state;
        if self.definition.evidence.iter().any(|it| it.state == *state) {
            let retracted = self.thread_mut(thread)?.evidence.begin(state);
            for evidence in retracted {
                let name = state.clone();
                self.emit(thread, EventKind::EvidenceRetracted { evidence, name });
            }
        }
        self.begin_task(thread, visit, Role::Work)
    }

    /// Adds a task and schedules its first attempt.
    pub(super) fn begin_task(
        &mut self,
        thread: u32,
        visit: Visit,
        role: Role,
    ) -> Result<(), Refusal> {
        self.add_task(thread, visit, role, None)
    }

    fn add_task(
        &mut self,
        thread: u32,
        visit: Visit,
        role: Role,
        results: Option<Payload>,
    ) -> Result<(), Refusal> {
        self.state.n_tasks += 1;
        let task = OpenTask {
            task: self.state.n_tasks,
            role,
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
            token: None,
            signal: None,
            heartbeat_ms: None,
            child: None,
            results,
            n_lost: 0,
            is_stuck: false,
            phase: Phase::BackingOff {
                until_ms: self.now_ms(),
            },
        };
        self.thread_mut(thread)?.position = Position::Task(Box::new(task));
        self.begin_attempt(thread)
    }

    /// Hands the outputs of a `Map` to its writer.
    pub(super) fn begin_writer(
        &mut self,
        thread: u32,
        visit: Visit,
        results: Payload,
    ) -> Result<(), Refusal> {
        self.add_task(thread, visit, Role::Write, Some(results))
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
        let (visit, role) = (task.visit.clone(), task.role);
        let outcome = self.schedule(thread, role, &visit);
        self.settle(thread, outcome)
    }

    fn work(&self, thread: u32, role: Role, state: &str) -> Result<Work<'a>, Refusal> {
        let of_transfer = |it: &'a Transfer| Work {
            resource: &it.resource,
            outcomes: it.outcomes.as_deref(),
            timeout: None,
            timeout_seconds: Some(TRANSFER_SECONDS_MAX),
            heartbeat: None,
            waits_for_token: false,
        };
        if role == Role::Compensate {
            let it = self.compensation(state)?;
            return Ok(Work {
                resource: &it.resource,
                outcomes: it.outcomes.as_deref(),
                timeout: None,
                timeout_seconds: it.timeout_seconds,
                heartbeat: None,
                waits_for_token: false,
            });
        }
        match (&self.state_def(thread, state)?.kind, role) {
            (Kind::Task(it), Role::Work) => Some(Work {
                resource: &it.resource,
                outcomes: it.outcomes.as_deref(),
                timeout: it.timeout.as_ref(),
                timeout_seconds: None,
                heartbeat: it.heartbeat.as_ref(),
                waits_for_token: it.waits_for_token,
            }),
            (Kind::Map(map), Role::Read) => map.reader.as_ref().map(of_transfer),
            (Kind::Map(map), Role::Write) => map.writer.as_ref().map(of_transfer),
            _ => None,
        }
        .ok_or_else(|| mismatch(format!("`{state}` has no such task")))
    }

    fn schedule(&mut self, thread: u32, role: Role, visit: &Visit) -> Result<(), Trouble> {
        let work = self.work(thread, role, &visit.state)?;
        if work.waits_for_token {
            let number = self.task_mut(thread)?.task;
            let token = self.mint_token(number);
            self.task_mut(thread)?.token = Some(token);
        }
        let state_def = match role {
            Role::Compensate => self.definition.state_anywhere(&visit.state),
            _ => Some(self.state_def(thread, &visit.state)?),
        };
        let state_def =
            state_def.ok_or_else(|| mismatch(format!("there is no state `{}`", visit.state)))?;
        let arguments = self.task_arguments(thread, role, state_def, visit)?;
        if role == Role::Work {
            if self.keep(thread, state_def, visit, &arguments)? {
                return Ok(());
            }
            // Its latest run is this one from now on, however it ends.
            self.state.kept.remove(&visit.state);
            self.limit_compensations(state_def)?;
        }
        let input = self.effective_input(state_def, thread, visit)?;
        let seen = Seen::of(thread, visit).with_data(&input);
        let timeout_seconds = match work.timeout {
            Some(seconds) => Some(self.seconds(seconds, "TimeoutSeconds", 1, &seen)?),
            None => work.timeout_seconds,
        };
        let heartbeat_seconds = match work.heartbeat {
            Some(seconds) => Some(self.seconds(seconds, "HeartbeatSeconds", 1, &seen)?),
            None => None,
        };
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        work.resource.clone_into(&mut task.resource);
        task.arguments = arguments.clone();
        task.deadline_ms = timeout_seconds.map(|it| now_ms.saturating_add(it * 1000));
        task.heartbeat_seconds = heartbeat_seconds;
        let scheduled = EventKind::TaskScheduled {
            task: task.task,
            attempt: task.attempt,
            name: visit.state.clone(),
            resource: work.resource.to_owned(),
            arguments: arguments.clone(),
            timeout_seconds,
            heartbeat_seconds,
        };
        self.emit(thread, scheduled);
        if role == Role::Work && work.resource == SIGNAL {
            return self.await_signal(thread, visit, &arguments);
        }
        if self.task_mut(thread)?.is_child() {
            self.open_child(thread)?;
        } else {
            self.open_turn(thread, TurnReason::First)?;
        }
        Ok(())
    }

    /// Nothing is begun that could not be undone.
    fn limit_compensations(&self, state_def: &StateDef) -> Result<(), Failure> {
        let registered = self.state.threads.values().map(|it| it.compensations.len());
        match &state_def.kind {
            Kind::Task(task)
                if task.compensation.is_some() && COMPENSATIONS_MAX <= registered.sum() =>
            {
                let cause = format!("{COMPENSATIONS_MAX} tasks would have to be undone already.");
                Err(Failure::new(DATA_LIMIT_EXCEEDED, cause))
            }
            _ => Ok(()),
        }
    }

    fn task_arguments(
        &self,
        thread: u32,
        role: Role,
        state_def: &'a StateDef,
        visit: &Visit,
    ) -> Result<Payload, Trouble> {
        if role == Role::Compensate {
            return Ok(visit.input.clone());
        }
        let input = self.effective_input(state_def, thread, visit)?;
        let seen = Seen::of(thread, visit).with_data(&input);
        let transfer = match &state_def.kind {
            Kind::Task(it)
                if it.arguments.is_none() && it.resource.starts_with(RESOURCE_SCHEME) =>
            {
                return Ok(no_arguments());
            }
            Kind::Task(it) => return self.arguments(it.arguments.as_ref(), &seen),
            Kind::Map(map) if role == Role::Read => map.reader.as_ref(),
            Kind::Map(map) => map.writer.as_ref(),
            _ => None,
        };
        let Some(transfer) = transfer else {
            return Ok(no_arguments());
        };
        let mut arguments = self.transfer_arguments(transfer.arguments.as_ref(), &seen)?;
        arguments.insert("config".to_owned(), transfer.config.to_value());
        if let Position::Task(task) = &self.thread(thread)?.position
            && let Some(results) = &task.results
        {
            arguments.insert("results".to_owned(), results.to_value());
        }
        let arguments: Payload = Value::Object(arguments).into();
        super::evaluate::limit_size(&arguments, "the value of Arguments", visit)?;
        Ok(arguments)
    }

    fn transfer_arguments(
        &self,
        template: Option<&Template>,
        seen: &Seen<'_>,
    ) -> Result<Map<String, Value>, Trouble> {
        let Some(template) = template else {
            return Ok(Map::new());
        };
        match self.template(template, "Arguments", seen)?.to_value() {
            Value::Object(fields) => Ok(fields),
            other => Err(super::evaluate::cannot_run(
                seen,
                &format!("Arguments must be an object, but was: {other}"),
            )),
        }
    }

    /// Opens the next turn of the attempt and hands it to a worker.
    pub(super) fn open_turn(&mut self, thread: u32, reason: TurnReason) -> Result<(), Refusal> {
        let scheduled_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        task.turn += 1;
        task.n_lost = 0;
        task.is_stuck = false;
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
            TurnResult::Complete { output, .. } | TurnResult::Output { output }
                if self.task_mut(thread)?.token.is_some() =>
            {
                self.submitted(thread, output)
            }
            TurnResult::Complete { .. } | TurnResult::Output { .. } => {
                self.conclude(thread, result)
            }
            TurnResult::Ask {
                audience,
                kind,
                body,
                state,
                expires_in_ms,
                wake_in_ms,
            } => {
                if let Some(excess) = body.excess().or_else(|| state.excess()) {
                    return self.fail_attempt(thread, too_large("A question", excess));
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
        if let Some(excess) = state.excess() {
            return Err(excess.into());
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
        let submitted = EventKind::TaskSubmitted {
            task: task.task,
            attempt: task.attempt,
            name: task.visit.state.clone(),
            resource: task.resource.clone(),
            output: Value::Null.into(),
        };
        let is_job = task.resource.contains(RUN_A_JOB);
        self.emit(thread, started);
        if is_job {
            self.emit(thread, submitted);
        }
        Ok(())
    }

    /// The attempt has a result: `{outcome, output}` of a step, or anything else of what is none.
    pub(super) fn conclude(&mut self, thread: u32, result: &TurnResult) -> Result<(), Refusal> {
        let task = self.task_mut(thread)?;
        task.phase = Phase::Parked;
        let (role, visit, is_step) = (task.role, task.visit.clone(), task.is_step());
        let (outcome, output) = match result {
            TurnResult::Complete { outcome, output } => (Some(outcome), output),
            TurnResult::Output { output } => (None, output),
            _ => return Ok(()),
        };
        let work = self.work(thread, role, &visit.state)?;
        let is_known = match (outcome, work.outcomes) {
            (Some(outcome), Some(known)) => known.contains(outcome),
            (Some(_), None) => true,
            (None, _) => !is_step,
        };
        if !is_known {
            let cause = format!(
                "`{}` does not publish the outcome `{}`.",
                work.resource,
                outcome.map_or("", String::as_str)
            );
            return self.fail_attempt(thread, Failure::new(UNKNOWN_OUTCOME, cause));
        }
        if let Some(excess) = output.excess() {
            return self.fail_attempt(thread, too_large("A result", excess));
        }
        self.close_prompt(thread, CloseReason::Completed)?;
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        let arguments = task.arguments.clone();
        let succeeded = EventKind::TaskSucceeded {
            task: task.task,
            attempt: task.attempt,
            turn: task.turn,
            name: visit.state.clone(),
            resource: task.resource.clone(),
            outcome: outcome.cloned(),
            output: output.clone(),
            duration_ms: now_ms - task.scheduled_ms,
        };
        self.emit(thread, succeeded);
        match role {
            Role::Work => self.leave_task(thread, &visit, &arguments, outcome, output),
            Role::Read => self.read_items(thread, output),
            Role::Write => {
                let state_def = self.state_def(thread, &visit.state)?;
                self.leave_map(thread, state_def, &visit, output)
            }
            Role::Compensate => self.finish_compensation(thread),
        }
    }

    /// Exits a `Task` state with its result.
    fn leave_task(
        &mut self,
        thread: u32,
        visit: &Visit,
        arguments: &Payload,
        outcome: Option<&String>,
        output: &Payload,
    ) -> Result<(), Refusal> {
        let state_def = self.state_def(thread, &visit.state)?;
        let Kind::Task(task_def) = &state_def.kind else {
            return Err(mismatch(format!("`{}` is not a task state", visit.state)));
        };
        let result = match outcome {
            None => output.clone(),
            Some(outcome) => {
                let known = &mut self.state.outcomes;
                known.insert(visit.state.clone(), outcome.clone());
                self.remember(task_def, visit, arguments, outcome, output);
                json!({"outcome": outcome, "output": output}).into()
            }
        };
        let seen = Seen::of(thread, visit).with_result(&result);
        let left = match self.register_compensation(task_def, &seen) {
            Ok(()) => self.leave(state_def.exit(), &seen, &result),
            Err(trouble) => Err(trouble),
        };
        self.settle(thread, left)
    }

    /// The open turn says, or shows, that the attempt has failed.
    pub(super) fn fail_attempt(&mut self, thread: u32, failure: Failure) -> Result<(), Refusal> {
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
        let role = task.role;
        self.emit(thread, failed);
        self.fail_state(thread, transfer_failure(role, failure))
    }

    /// The time of the attempt is over, whatever the task was waiting for.
    pub(super) fn time_out(&mut self, thread: u32, error: &str) -> Result<(), Refusal> {
        self.withdraw_turn(thread)?;
        self.close_prompt(thread, CloseReason::TimedOut)?;
        if self.definition.is_bare {
            // AWS starts what it has scheduled; our workers say so themselves.
            self.note_start(thread)?;
        }
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        let timed_out = EventKind::TaskTimedOut {
            task: task.task,
            attempt: task.attempt,
            turn: task.turn,
            name: task.visit.state.clone(),
            resource: task.resource.clone(),
            error: error.to_owned(),
            duration_ms: now_ms - task.scheduled_ms,
        };
        self.emit(thread, timed_out);
        self.fail_state(thread, Failure::new(error, ""))
    }

    /// Takes an open turn back from the workers, and lets a child go.
    pub(super) fn withdraw_turn(&mut self, thread: u32) -> Result<(), Refusal> {
        self.let_go(thread)?;
        let task = self.task_mut(thread)?;
        if matches!(task.phase, Phase::Open { .. }) {
            // What stands still has been taken back already.
            let (number, is_out) = (task.task, !task.is_stuck());
            task.phase = Phase::Parked;
            if is_out {
                self.effects.push(Effect::Withdraw { task: number });
            }
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

fn too_large(what: &str, excess: Excess) -> Failure {
    Failure::new(DATA_LIMIT_EXCEEDED, format!("{what} {excess}."))
}

/// The error of a `Map` whose items could not be read or whose results could not be written.
fn transfer_failure(role: Role, failure: Failure) -> Failure {
    let error = match role {
        Role::Read => ITEM_READER_FAILED,
        Role::Write => RESULT_WRITER_FAILED,
        Role::Work | Role::Compensate => return failure,
    };
    Failure::new(error, format!("{}: {}", failure.error, failure.cause))
}
