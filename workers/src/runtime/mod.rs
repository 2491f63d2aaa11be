//! What every step runs on: the exchange with core, checkpoints, evidence, cores, metrics.

pub mod cpu;
pub mod desk;
pub mod exchange;
pub mod links;
mod metrics;
mod pace;
pub mod step;

pub use step::{Context, Fault, Step, arguments, ask, complete, parked};
