//! Starts the real platform for a test and speaks its public API.
#![expect(
    clippy::missing_panics_doc,
    reason = "a harness fails its test by panicking"
)]

mod client;
pub mod disk;
pub mod effects;
mod effects_worker;
mod fleet;
mod world;

pub use client::{Answer, Client};
pub use effects_worker::{EffectsWorker, effects_of};
pub use fleet::{Fleet, Service};
pub use world::{Demo, World, binary, models_dir};
