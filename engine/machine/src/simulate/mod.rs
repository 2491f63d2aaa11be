//! The simulator: a workflow from its start to its end, in virtual time, with mocked tasks.
//!
//! It drives the machine through [`apply`](crate::apply) only, as the engine does; so what it shows is what would happen.

mod drive;
mod expect;
mod mocks;
mod timeline;

use crate::command::Refusal;
use crate::definition::Definition;
use crate::event::Event;
use crate::payload::Payload;
use crate::state::State;

pub(crate) use drive::{Answer, drive};
pub use expect::{Expectation, status_word};
pub use mocks::{Mock, MockError, MockFile, Mocks, SentSignal, TestCase};
pub use timeline::{span, timeline};

/// What a simulation starts from, besides definition, input and mocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The time of the start, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Seeds jitter, `$random`, `$uuid` and `$shuffle`.
    pub seed: u64,
    /// Most commands that may be given before the simulation is abandoned.
    pub commands_max: usize,
    pub workflow: String,
    /// Published version of the definition.
    pub version: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // 2026-01-01T00:00:00Z.
            start_ms: 1_767_225_600_000,
            seed: 1,
            commands_max: crate::limits::SIMULATION_COMMANDS_MAX,
            workflow: format!("wf_{:032x}", 1),
            version: 1,
        }
    }
}

/// A workflow that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    pub state: State,
    pub events: Vec<Event>,
}

/// Why a simulation did not come to an end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    #[error("no mock for attempt {attempt} of run {run} of state `{state}`: {detail}")]
    MockMissing {
        state: String,
        /// Counts how often the state was entered, from 1.
        run: u32,
        attempt: u32,
        detail: String,
    },
    #[error("the mock of state `{state}` does not fit its task: {detail}")]
    MockUnfit { state: String, detail: String },
    #[error("the machine has refused a command: {0}")]
    Refused(#[from] Refusal),
    #[error("the workflow has not ended after {commands_max} commands")]
    Endless { commands_max: usize },
    #[error("the workflow waits for nothing, in {states:?}")]
    Stuck { states: Vec<String> },
}

/// Runs a workflow to its end; its tasks answer as `mocks` say.
///
/// # Errors
///
/// A [`SimulateError`]; a workflow that fails or times out is no error.
pub fn run(
    definition: &Definition,
    input: Payload,
    mocks: &Mocks,
    options: &Options,
) -> Result<Simulation, SimulateError> {
    let mut player = mocks.player();
    drive(
        definition,
        input,
        options,
        mocks.signals(),
        &mut |turn, _| player.answer(turn),
    )
}

#[cfg(test)]
mod tests;
