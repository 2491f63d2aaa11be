//! The words that cross a process boundary: ids, step contracts, turns, prompts, problems and events.
//!
//! **Architecture invariant:** plain serde types only. Nothing here reads a clock, draws randomness or
//! performs I/O, so that every other crate may depend on it.

pub mod analytics;
pub mod audit;
pub mod children;
pub mod commands;
pub mod core;
pub mod definition;
pub mod events;
pub mod exchange;
pub mod ids;
pub mod incidents;
pub mod nodes;
pub mod object;
pub mod problem;
pub mod prompt;
pub mod queues;
pub mod schedules;
pub mod search;
pub mod step;
pub mod task_limits;
pub mod turn;
pub mod webhooks;
