//! The step workers: a runtime that trades results for tasks with core, and the steps it runs.
//!
//! A new step is one folder under [`steps`] and one line in [`catalogue`]. A
//! worker knows the engine only by HTTP (`btrust_schemas::exchange`).

pub mod catalogue;
pub mod runtime;
mod service;
pub mod steps;
#[cfg(test)]
mod testing;

pub use catalogue::Service;
pub use service::{Config, OpenError, Ports, serve};
