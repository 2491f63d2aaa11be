//! The loop that gives the machine its commands, in the order of virtual time.

use std::collections::BTreeMap;

use super::{Options, SentSignal, SimulateError, Simulation};
use crate::Env;
use crate::command::{Command, TurnResult};
use crate::definition::Definition;
use crate::effect::{Effect, OpenTurn};
use crate::event::Event;
use crate::message::{ChildEnd, Message, Owed};
use crate::payload::Payload;
use crate::run::{Applied, apply};
use crate::state::{State, Status};

/// What comes of a turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Since the turn was opened.
    pub delay_ms: i64,
    /// Nothing, ever, when there is none: a deadline has to end the attempt.
    pub result: Option<TurnResult>,
    /// Of a task that waits for its token: the work was not even handed on.
    pub is_refused: bool,
}

/// A command that is on its way.
struct Pending {
    /// 0 for what is not of a task.
    task: u32,
    command: Command,
}

/// What decides about a turn, and sees where the workflow stands.
pub(crate) type Answers<'a> = &'a mut dyn FnMut(&OpenTurn, &State) -> Result<Answer, SimulateError>;

struct Drive<'a> {
    definition: &'a Definition,
    options: &'a Options,
    answer: Answers<'a>,
    /// By the time when they arrive, then by the order in which they were sent.
    pending: BTreeMap<(i64, u64), Pending>,
    n_sent: u64,
    n_commands: usize,
    now_ms: i64,
    events: Vec<Event>,
}

/// Runs a workflow to its end; `answer` says what comes of each turn.
pub(crate) fn drive(
    definition: &Definition,
    input: Payload,
    options: &Options,
    signals: &[SentSignal],
    answer: Answers<'_>,
) -> Result<Simulation, SimulateError> {
    let mut drive = Drive {
        definition,
        options,
        answer,
        pending: BTreeMap::new(),
        n_sent: 0,
        n_commands: 0,
        now_ms: options.start_ms,
        events: Vec::new(),
    };
    for signal in signals {
        drive.send_signal(signal);
    }
    let start = Command::Start {
        workflow: options.workflow.clone(),
        definition: definition.name().to_owned(),
        version: options.version,
        input,
        origin: crate::Origin::default(),
    };
    let mut state = drive.give(None, &start)?;
    while !state.status().is_closed() {
        state = drive.go_on(state)?;
    }
    Ok(Simulation {
        state,
        events: drive.events,
    })
}

impl Drive<'_> {
    /// Jumps to whatever happens next; at a deadline the deadline comes first.
    fn go_on(&mut self, state: State) -> Result<State, SimulateError> {
        // A token that nobody waits for any more is not sent back.
        self.pending.retain(|_, it| match &it.command {
            Command::TokenSuccess { token, .. } | Command::TokenFailure { token, .. } => {
                state.thread_of_token(token).is_some()
            }
            _ => true,
        });
        let arrival = self.pending.keys().next().copied();
        let command = match (state.wake_at(), arrival) {
            (None, None) => {
                let states = state.positions().into_iter().map(str::to_owned).collect();
                return Err(SimulateError::Stuck { states });
            }
            (Some(wake_ms), Some((at_ms, _))) if at_ms < wake_ms => self.deliver(),
            (None, Some(_)) => self.deliver(),
            (Some(wake_ms), _) => {
                self.now_ms = self.now_ms.max(wake_ms);
                Command::Tick
            }
        };
        self.give(Some(state), &command)
    }

    /// The answer that arrives next, as a command.
    fn deliver(&mut self) -> Command {
        let ((at_ms, _), Pending { command, .. }) = self
            .pending
            .pop_first()
            .expect("only called when an answer is on its way");
        self.now_ms = self.now_ms.max(at_ms);
        command
    }

    fn give(&mut self, state: Option<State>, command: &Command) -> Result<State, SimulateError> {
        if self.n_commands == self.options.commands_max {
            return Err(SimulateError::Endless {
                commands_max: self.options.commands_max,
            });
        }
        self.n_commands += 1;
        let env = Env {
            now_ms: self.now_ms,
            seed: self.options.seed.wrapping_add(self.n_commands as u64),
        };
        let Applied {
            state,
            events,
            effects,
            ..
        } = apply(self.definition, state, command, &env)?;
        self.events.extend(events);
        for effect in effects {
            match effect {
                Effect::Dispatch(turn) => self.dispatch(&turn, &state)?,
                Effect::Withdraw { task } => self.forget(task),
                Effect::Deliver(owed) => self.deliver_owed(&owed, &state)?,
                _ => {}
            }
        }
        Ok(state)
    }

    fn dispatch(&mut self, turn: &OpenTurn, state: &State) -> Result<(), SimulateError> {
        self.forget(turn.task);
        let open = state.tasks().find(|it| it.task == turn.task);
        let token = open.and_then(|it| it.token.clone());
        let Answer {
            delay_ms,
            result,
            is_refused,
        } = (self.answer)(turn, state)?;
        let token = token.filter(|_| !is_refused);
        if token.is_some() {
            let handed_on = TurnResult::Output {
                output: serde_json::json!({}).into(),
            };
            self.send(0, turn, |digest| turn_result(turn, digest, handed_on));
        }
        let Some(result) = result else {
            let has_heartbeat = token.is_some() && turn.heartbeat_seconds.is_some();
            if turn.deadline_ms.is_none() && !has_heartbeat {
                return Err(SimulateError::MockUnfit {
                    state: turn.state_name.clone(),
                    detail: "`Timeout` needs a task with `TimeoutSeconds`".to_owned(),
                });
            }
            return Ok(());
        };
        self.send(delay_ms, turn, |digest| match token {
            Some(token) => token_result(token, result),
            None => turn_result(turn, digest, result),
        });
        Ok(())
    }

    fn send(&mut self, delay_ms: i64, turn: &OpenTurn, command: impl FnOnce(String) -> Command) {
        self.n_sent += 1;
        let at_ms = self.now_ms.saturating_add(delay_ms);
        let pending = Pending {
            task: turn.task,
            command: command(format!("{:064x}", self.n_sent)),
        };
        self.pending.insert((at_ms, self.n_sent), pending);
    }

    /// A child answers as its task is mocked; what else a workflow says to others is heard by nobody.
    fn deliver_owed(&mut self, owed: &Owed, state: &State) -> Result<(), SimulateError> {
        let Message::Start { origin, .. } = &owed.message else {
            return Ok(());
        };
        let parent = origin.parent.as_ref();
        let Some(parent) = parent.filter(|_| origin.continued_from.is_none()) else {
            return Ok(());
        };
        let Some(open) = state.tasks().find(|it| it.task == parent.task) else {
            return Ok(());
        };
        let turn = open.as_turn();
        let Answer {
            delay_ms, result, ..
        } = (self.answer)(&turn, state)?;
        let number = owed.number;
        if let Some(TurnResult::Fail { error, cause }) = result {
            self.send(delay_ms, &turn, |_| Command::NotStarted {
                number,
                error,
                cause,
            });
            return Ok(());
        }
        self.send(0, &turn, |_| Command::Delivered { number });
        if let Some(result) = result {
            let end = child_end(owed, &turn, result)?;
            self.send(delay_ms, &turn, |_| Command::ChildEnded {
                task: turn.task,
                attempt: turn.attempt,
                end,
            });
        }
        Ok(())
    }

    fn send_signal(&mut self, signal: &SentSignal) {
        self.n_sent += 1;
        let digest = format!("{:064x}", self.n_sent);
        let command = Command::Signal {
            name: signal.name.clone(),
            payload: signal.payload.clone(),
            key: digest.clone(),
            digest,
            by: None,
        };
        let at_ms = self.options.start_ms.saturating_add(signal.after_ms);
        self.pending
            .insert((at_ms, self.n_sent), Pending { task: 0, command });
    }

    fn forget(&mut self, task: u32) {
        self.pending.retain(|_, it| it.task != task);
    }
}

/// What a `Return` of a child means: how it has decided, and its output.
fn child_end(owed: &Owed, turn: &OpenTurn, result: TurnResult) -> Result<ChildEnd, SimulateError> {
    let unfit = || SimulateError::MockUnfit {
        state: turn.state_name.clone(),
        detail: "`Return` of a child workflow is `{\"decision\", \"output\"}`".to_owned(),
    };
    let TurnResult::Output { output: returned } = result else {
        return Err(unfit());
    };
    let fields = returned.as_object().ok_or_else(unfit)?;
    if fields.keys().any(|it| it != "decision" && it != "output") {
        return Err(unfit());
    }
    let decision = fields.get("decision").and_then(serde_json::Value::as_str);
    Ok(ChildEnd {
        workflow: owed.to.clone(),
        status: Status::Succeeded,
        decision: decision.map(str::to_owned),
        output: fields.get("output").cloned().map(Payload::from),
        error: None,
        cause: None,
    })
}

fn turn_result(turn: &OpenTurn, digest: String, result: TurnResult) -> Command {
    Command::TurnResult {
        task: turn.task,
        attempt: turn.attempt,
        turn: turn.turn,
        digest,
        result,
    }
}

fn token_result(token: String, result: TurnResult) -> Command {
    match result {
        TurnResult::Fail { error, cause } => Command::TokenFailure {
            token,
            error,
            cause,
        },
        TurnResult::Output { output } => Command::TokenSuccess {
            token,
            result: output,
        },
        TurnResult::Complete { outcome, output } => Command::TokenSuccess {
            token,
            result: serde_json::json!({"outcome": outcome, "output": output}).into(),
        },
        // Whoever holds a token cannot ask.
        TurnResult::Ask { state, .. } => Command::TokenSuccess {
            token,
            result: state,
        },
    }
}
