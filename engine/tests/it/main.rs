//! The engine on real embedded stores, from the outside.

#![expect(clippy::unwrap_used, reason = "what does not answer ends the test")]

mod acts;
mod children;
mod distribution;
mod event_schemas;
mod exchange;
mod faults;
mod forwarding;
mod http;
mod identical_starts;
mod keeping;
mod lanes;
mod lifecycle;
mod lost_answers;
mod migrations;
mod mysql;
mod nodes;
mod on_mariadb;
mod operations;
mod parcels;
mod prompts;
mod recovery;
mod schedules;
mod start_modes;
mod starts;
mod store_faults;
mod streams;
mod task_tokens;
mod timers;
mod world;
