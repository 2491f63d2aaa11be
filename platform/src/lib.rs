//! The outside world behind small traits, and what every BTrust service shares.
//!
//! Each need (time, randomness, configuration, keys, objects, documents, streams, messages)
//! is one module with one `dyn` trait and its embedded adapter. An adapter for
//! another environment passes the same conformance function and changes no
//! caller.

pub mod clock;
pub mod config;
pub mod conformance;
pub mod consumers;
pub mod contacts;
pub mod data_dir;
pub mod database_url;
pub mod documents;
mod files;
pub mod flushes;
pub mod health;
pub mod http;
pub mod keys;
pub mod messages;
pub mod mysql;
pub mod objects;
pub mod problem;
pub mod random;
pub mod relational;
pub mod sealing;
pub mod sqlite;
pub mod streams;
pub mod telemetry;
pub mod testing;
pub mod token;
pub mod workflow_keys;
