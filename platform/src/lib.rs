//! The outside world behind small traits, and what every BTrust service shares.
//!
//! Each need (time, configuration, keys, objects, documents, streams, messages)
//! is one module with one `dyn` trait and its embedded adapter. An adapter for
//! another environment passes the same conformance function and changes no
//! caller.

pub mod clock;
pub mod config;
pub mod data_dir;
pub mod health;
pub mod http;
pub mod problem;
pub mod sqlite;
pub mod telemetry;
pub mod token;
