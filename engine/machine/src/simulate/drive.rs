//! The loop that gives the machine its commands, in the order of virtual time.

use std::collections::BTreeMap;

use super::{Options, SimulateError, Simulation};
use crate::Env;
use crate::command::{Command, TurnResult};
use crate::definition::Definition;
use crate::effect::{Effect, OpenTurn};
use crate::event::Event;
use crate::payload::Payload;
use crate::run::{Applied, apply};
use crate::state::State;

/// What comes of a turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The result, so many milliseconds after the turn was opened.
    After { delay_ms: i64, result: TurnResult },
    /// Nothing, ever: a deadline has to end the attempt.
    Silence,
}

/// An answer that is on its way.
struct Pending {
    turn: OpenTurn,
    result: TurnResult,
}

struct Drive<'a> {
    definition: &'a Definition,
    options: &'a Options,
    answer: &'a mut dyn FnMut(&OpenTurn) -> Result<Answer, SimulateError>,
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
    answer: &mut dyn FnMut(&OpenTurn) -> Result<Answer, SimulateError>,
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
    let start = Command::Start {
        workflow: options.workflow.clone(),
        definition: definition.name().to_owned(),
        version: options.version,
        input,
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
        let ((at_ms, number), Pending { turn, result }) = self
            .pending
            .pop_first()
            .expect("only called when an answer is on its way");
        self.now_ms = self.now_ms.max(at_ms);
        Command::TurnResult {
            task: turn.task,
            attempt: turn.attempt,
            turn: turn.turn,
            digest: format!("{number:064x}"),
            result,
        }
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
                Effect::Dispatch(turn) => self.dispatch(turn)?,
                Effect::Withdraw { task } => self.forget(task),
                _ => {}
            }
        }
        Ok(state)
    }

    fn dispatch(&mut self, turn: OpenTurn) -> Result<(), SimulateError> {
        self.forget(turn.task);
        match (self.answer)(&turn)? {
            Answer::After { delay_ms, result } => {
                self.n_sent += 1;
                let at_ms = self.now_ms.saturating_add(delay_ms);
                self.pending
                    .insert((at_ms, self.n_sent), Pending { turn, result });
            }
            Answer::Silence if turn.deadline_ms.is_none() && turn.heartbeat_seconds.is_none() => {
                return Err(SimulateError::MockUnfit {
                    state: turn.state_name,
                    detail: "`Timeout` needs a task with `TimeoutSeconds`".to_owned(),
                });
            }
            Answer::Silence => {}
        }
        Ok(())
    }

    fn forget(&mut self, task: u32) {
        self.pending.retain(|_, it| it.turn.task != task);
    }
}
