//! The transition: one command applied to one workflow.

mod annotate;
mod cancel;
mod child;
mod close;
mod compensate;
mod continuation;
mod dataflow;
mod deadline;
mod evaluate;
mod failure;
mod flow;
mod incident;
mod map;
mod message;
mod parallel;
mod pause;
mod prompt;
mod redrive;
mod rework;
mod signal;
mod start;
mod task;
mod token;

pub use incident::TURN_POISONED;

use std::collections::VecDeque;
use std::rc::Rc;

use evaluate::Seen;

use crate::Env;
use crate::command::{Command, Refusal, Reply};
use crate::definition::{Definition, StateDef};
use crate::effect::Effect;
use crate::event::{Event, EventKind};
use crate::expression::Random;
use crate::limits::{CAUSE_BYTES_MAX, DIGEST_DIGITS, ERROR_BYTES_MAX};
use crate::payload::Payload;
use crate::state::{State, Thread};

/// What a command has led to; the caller commits it as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub state: State,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    pub reply: Reply,
}

/// Applies one command to a workflow; `None` is a workflow that does not exist yet.
///
/// Every deadline that is due at `env.now_ms` is judged before the command, so that at the deadline,
/// expiry wins.
///
/// # Errors
///
/// A [`Refusal`]; nothing has changed, and the caller keeps the state that it had. When a deadline
/// was due as well, it is judged by the next command; [`State::wake_at`] still names it.
pub fn apply(
    definition: &Definition,
    state: Option<State>,
    command: &Command,
    env: &Env,
) -> Result<Applied, Refusal> {
    let state = match (state, command) {
        (None, Command::Start { .. }) => return start::start(definition, command, env),
        (None, _) => return Err(Refusal::WorkflowUnknown),
        (Some(_), Command::Start { .. }) => return Err(Refusal::WorkflowStarted),
        (Some(state), _) => state,
    };
    if let Command::Annotate { annotation, by } = command {
        return Run::new(definition, state, env).annotate(annotation, by);
    }
    if is_repeated(&state, command)? {
        return Ok(unchanged(state, Reply::Duplicate));
    }
    if state.status.is_closed() && !command.is_message() {
        return match command {
            Command::Tick => Ok(unchanged(state, Reply::Done)),
            Command::Redrive { .. } | Command::NoteRestart { .. } => {
                let mut run = Run::new(definition, state, env);
                run.obey(command)?;
                run.finish()
            }
            _ => Err(Refusal::WorkflowClosed),
        };
    }
    let ends = matches!(command, Command::Cancel { .. } | Command::Terminate { .. });
    let unjudged = ends.then(|| state.clone());
    let mut run = Run::new(definition, state, env);
    if let Command::TurnResult {
        task,
        attempt,
        turn,
        ..
    }
    | Command::Checkpoint {
        task,
        attempt,
        turn,
        ..
    }
    | Command::HeartbeatMissed {
        task,
        attempt,
        turn,
    }
    | Command::LeaseLost {
        task,
        attempt,
        turn,
    } = command
    {
        // A turn that a deadline opens just now has not been given to anybody.
        run.find_turn(task::TurnId {
            task: *task,
            attempt: *attempt,
            turn: *turn,
        })?;
    }
    match (run.judge_deadlines(), unjudged) {
        (Ok(()), _) => {}
        // What cannot go on can still be ended.
        (Err(_), Some(state)) => run = Run::new(definition, state, env),
        (Err(refusal), None) => return Err(refusal),
    }
    if run.state.status.is_closed() && *command != Command::Tick && !command.is_message() {
        return Err(Refusal::WorkflowClosed);
    }
    run.obey(command)?;
    run.finish()
}

/// Whether the very same result or submission has been accepted before; another one in its place is refused.
fn is_repeated(state: &State, command: &Command) -> Result<bool, Refusal> {
    match command {
        Command::TurnResult {
            task,
            attempt,
            turn,
            digest,
            ..
        } => {
            let closed = state
                .closed_turns
                .iter()
                .find(|it| (it.task, it.attempt, it.turn) == (*task, *attempt, *turn));
            match closed {
                None => Ok(false),
                Some(it) if it.digest == remembered(digest) => Ok(true),
                Some(_) => Err(Refusal::TurnClosed {
                    task: *task,
                    attempt: *attempt,
                    turn: *turn,
                }),
            }
        }
        Command::Submit { prompt, digest, .. } => {
            match state.closed_prompts.iter().find(|it| it.prompt == *prompt) {
                None => Ok(false),
                Some(it) if it.digest == remembered(digest) => Ok(true),
                Some(_) => Err(Refusal::PromptClosed { prompt: *prompt }),
            }
        }
        Command::Signal { key, digest, .. } => signal::is_repeated(state, key, digest),
        Command::Redrive { key, .. } => Ok(redrive::is_repeated(state, key)),
        Command::NoteRestart { workflow, .. } => Ok(state.restarted_as.as_ref() == Some(workflow)),
        Command::Pause { .. } => Ok(state.paused),
        Command::Resume { .. } => Ok(!state.paused && !state.status.is_closed()),
        Command::Cancel { grace_seconds, .. } => Ok(0 < *grace_seconds && state.is_cancelling()),
        _ => Ok(command.is_known_message(state)),
    }
}

/// The part of a digest that the state keeps.
fn remembered(digest: &str) -> &str {
    digest.get(..DIGEST_DIGITS).unwrap_or(digest)
}

fn unchanged(state: State, reply: Reply) -> Applied {
    Applied {
        state,
        events: Vec::new(),
        effects: Vec::new(),
        reply,
    }
}

/// Why a state did not go on.
enum Trouble {
    /// The workflow has to deal with it.
    Failure(Failure),
    /// The command has to be abandoned.
    Stop(Refusal),
}

/// An error as `Retry` and `Catch` see it.
#[derive(Clone)]
struct Failure {
    error: String,
    cause: String,
    /// The field whose expression failed.
    location: Option<String>,
}

impl Failure {
    fn new(error: &str, cause: impl Into<String>) -> Self {
        let mut cause = cause.into();
        cut(&mut cause, CAUSE_BYTES_MAX);
        let mut error = error.to_owned();
        cut(&mut error, ERROR_BYTES_MAX);
        Self {
            error,
            cause,
            location: None,
        }
    }
}

/// Cuts a text, at a character.
fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Stop(refusal)
    }
}

/// A state about to be entered.
struct Move<'a> {
    thread: u32,
    to: &'a str,
    input: Payload,
}

/// One command at work.
struct Run<'a> {
    definition: &'a Definition,
    state: State,
    env: Env,
    random: Rc<Random>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    moves: VecDeque<Move<'a>>,
    wake_at_before: Option<i64>,
}

impl<'a> Run<'a> {
    fn new(definition: &'a Definition, mut state: State, env: &Env) -> Self {
        state.now_ms = state.now_ms.max(env.now_ms);
        let wake_at_before = state.wake_at();
        Self {
            definition,
            env: Env {
                now_ms: state.now_ms,
                seed: env.seed,
            },
            random: Rc::new(Random::new(env.seed)),
            state,
            events: Vec::new(),
            effects: Vec::new(),
            moves: VecDeque::new(),
            wake_at_before,
        }
    }

    fn obey(&mut self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::TurnResult {
                task,
                attempt,
                turn,
                digest,
                result,
            } => {
                let turn = task::TurnId {
                    task: *task,
                    attempt: *attempt,
                    turn: *turn,
                };
                self.turn_result(turn, digest, result)
            }
            Command::Checkpoint {
                task,
                attempt,
                turn,
                state,
            } => {
                let turn = task::TurnId {
                    task: *task,
                    attempt: *attempt,
                    turn: *turn,
                };
                self.checkpoint(turn, state)
            }
            Command::HeartbeatMissed {
                task,
                attempt,
                turn,
            } => {
                let turn = task::TurnId {
                    task: *task,
                    attempt: *attempt,
                    turn: *turn,
                };
                let thread = self.find_turn(turn)?;
                self.time_out(thread, crate::error_name::HEARTBEAT_TIMEOUT)
            }
            Command::LeaseLost {
                task,
                attempt,
                turn,
            } => self.lease_lost(task::TurnId {
                task: *task,
                attempt: *attempt,
                turn: *turn,
            }),
            Command::ResolveIncident { task, action, by } => {
                self.resolve_incident(*task, action, by)
            }
            Command::Submit {
                prompt,
                digest,
                body,
                submitter,
            } => self.submit(*prompt, digest, body, submitter),
            Command::TokenSuccess { token, result } => self.token_success(token, result),
            Command::TokenFailure {
                token,
                error,
                cause,
            } => self.token_failure(token, error, cause),
            Command::TokenHeartbeat { token } => self.token_heartbeat(token),
            Command::Cancel {
                reason,
                grace_seconds,
                by,
            } => self.cancel(reason.clone(), *grace_seconds, by.clone()),
            Command::TurnsUnheld { turns } => self.turns_unheld(turns),
            Command::Terminate { reason, by } => {
                self.close_terminated(reason.clone(), by.clone());
                Ok(())
            }
            Command::Delivered { .. }
            | Command::NotStarted { .. }
            | Command::ChildEnded { .. }
            | Command::ChildContinued { .. } => self.hear(command),
            Command::Pause { reason, by } => self.pause(reason.clone(), by.clone()),
            Command::Resume { by } => self.end_pause(by.clone()),
            Command::Signal {
                name,
                payload,
                key,
                digest,
                by,
            } => self.signal(&signal::Signal {
                name,
                payload,
                key,
                digest,
                by: by.as_deref(),
            }),
            Command::NoteRestart { workflow, by } => self.note_restart(workflow, by.clone()),
            Command::Redrive { key, reason, by } => self.redrive(key, reason.clone(), by.clone()),
            Command::Tick | Command::Start { .. } | Command::Annotate { .. } => Ok(()),
        }
    }

    /// Makes every move that is possible now, and hands over what has come of it.
    fn finish(mut self) -> Result<Applied, Refusal> {
        self.make_moves()?;
        self.look_at_grace()?;
        let wake_at = self.state.wake_at();
        if wake_at != self.wake_at_before {
            self.effects.push(Effect::WakeAt { at_ms: wake_at });
        }
        Ok(Applied {
            state: self.state,
            events: self.events,
            effects: self.effects,
            reply: Reply::Done,
        })
    }

    fn now_ms(&self) -> i64 {
        self.env.now_ms
    }

    fn thread(&self, id: u32) -> Result<&Thread, Refusal> {
        self.state
            .threads
            .get(&id)
            .ok_or_else(|| mismatch(format!("there is no branch {id}")))
    }

    fn thread_mut(&mut self, id: u32) -> Result<&mut Thread, Refusal> {
        self.state
            .threads
            .get_mut(&id)
            .ok_or_else(|| mismatch(format!("there is no branch {id}")))
    }

    /// The definition of a state at the level where a branch moves.
    fn state_def(&self, thread: u32, name: &str) -> Result<&'a StateDef, Refusal> {
        let machine = self.definition.machine_at(&self.thread(thread)?.path);
        machine
            .and_then(|it| it.state(name))
            .ok_or_else(|| mismatch(format!("there is no state `{name}`")))
    }

    /// Writes an event of a branch and returns its id.
    fn emit(&mut self, thread: u32, kind: EventKind) -> u64 {
        let id = self.emit_aside(thread, kind);
        if let Some(thread) = self.state.threads.get_mut(&thread) {
            thread.previous = id;
        }
        id
    }

    /// Writes an event of a branch that no later event of it follows.
    fn emit_aside(&mut self, thread: u32, kind: EventKind) -> u64 {
        let branch = self.state.threads.get(&thread);
        let previous = branch.map_or(0, |it| it.previous);
        let child = branch.and_then(|it| it.child.clone());
        let id = self.emit_after(previous, kind);
        if let Some(event) = self.events.last_mut() {
            event.child = child;
        }
        id
    }

    fn emit_after(&mut self, previous: u64, kind: EventKind) -> u64 {
        self.state.n_events += 1;
        let id = self.state.n_events;
        self.events.push(Event {
            id,
            previous,
            at_ms: self.env.now_ms,
            child: None,
            kind,
        });
        id
    }
}

fn mismatch(detail: String) -> Refusal {
    Refusal::StateMismatch { detail }
}
