//! The state machine made durable: partitions, stores, timers, dispatch, relay, and core's server.
//!
//! **Architecture invariant:** every decision about a workflow is `btrust_machine::apply`; this crate
//! stores what it decided, then makes it happen. Nobody is answered and no turn is handed out before
//! the commit that it follows from.

mod acknowledgements;
pub mod act_log;
mod admission;
mod annotations;
mod cache;
mod calendar;
pub mod check;
pub mod check_lists;
mod committer;
pub mod core;
mod courier;
mod definitions;
mod deletion;
mod dispatch;
pub mod engine;
mod error;
mod exchange;
mod halving;
mod incidents;
mod lists;
mod losses;
mod mailbox;
mod metrics;
mod migration;
mod nodes;
mod operations;
mod parcel;
mod partition;
mod planted;
mod post;
mod queues;
mod recovery;
mod relay;
pub mod restore;
pub mod retention;
mod room;
mod round;
mod row_acts;
mod schedules;
mod seal;
pub mod search;
pub mod sequencer;
mod shared;
#[cfg(test)]
mod simulation;
mod start_policy;
mod storage;
pub mod store;
mod stream_events;
mod subjects;
mod task_limits;
mod task_tokens;
mod timers;
mod unknown_commit;
mod watchers;
mod workflow;

pub use crate::core::{CoreConfig, serve};
pub use crate::definitions::SecondPerson;
pub use crate::engine::{Engine, Ports};
pub use crate::error::EngineError;
pub use crate::nodes::{LEASE_MS, Membership};
pub use crate::queues::Queues;
pub use crate::retention::RetentionPolicies;
pub use crate::schedules::Schedules;
