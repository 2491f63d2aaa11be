//! The transition.

use crate::Env;
use crate::command::{Command, Refusal, Reply};
use crate::definition::Definition;
use crate::effect::Effect;
use crate::event::Event;
use crate::state::State;

/// What a command has led to; the caller commits it as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub state: State,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    pub reply: Reply,
}

/// Applies one command.
pub fn apply(
    _definition: &Definition,
    _state: Option<State>,
    _command: &Command,
    _env: &Env,
) -> Result<Applied, Refusal> {
    Err(Refusal::WorkflowUnknown)
}
