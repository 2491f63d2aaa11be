//! The pure state machine of `BTrust`: definitions, expressions, transitions, gates and proof.
//!
//! **Architecture invariant:** this crate performs no I/O, reads no clock and draws no randomness.
//! [`apply`] maps (definition, state, command, [`Env`]) to the next state, the events that have
//! happened and the effects that the engine must carry out; the same inputs always give the same
//! outputs, which is what makes recovery, simulation and proof one and the same program.

mod catalogue;
mod check;
mod command;
pub mod conformance;
mod definition;
mod diff;
mod effect;
mod error_name;
mod event;
mod evidence;
mod expression;
mod finding;
mod jsonpath;
pub mod limits;
mod message;
mod migrate;
mod origin;
mod payload;
mod render;
mod run;
pub mod simulate;
mod state;

pub use catalogue::{Catalogue, Contract};
pub use check::{Counterexample, PathStep, Proof, Report, check};
pub use command::{Annotation, Command, IncidentAction, Refusal, Reply, Submitter, TurnResult};
pub use definition::{Decision, Definition, EvidenceRule, SearchAttribute, SearchKind, TaskLabels};
pub use diff::{DiffOp, Difference, diff};
pub use effect::{CloseReason, Effect, OpenPrompt, OpenTurn, TurnReason};
pub use event::{Event, EventKind, StateType};
pub use finding::{Finding, Gate, Severity};
pub use message::{ChildEnd, Message, Owed};
pub use migrate::migrate;
pub use origin::{OnParentClose, Origin, Parent};
pub use payload::Payload;
pub use render::render;
pub use run::{Applied, TURN_POISONED, apply};
pub use state::{PRIORITY_DEFAULT, PRIORITY_MAX, State, Status, StuckTask};

/// The only time and the only randomness that a transition may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// Milliseconds since the epoch; an earlier value than the state has already seen is raised to that one.
    pub now_ms: i64,
    /// Seeds jitter, `$random`, `$uuid` and `$shuffle`; a fresh value for every command.
    pub seed: u64,
}
