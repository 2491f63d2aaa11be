//! The consumers of the two streams, as one service (port 5090): the analytics projector, and the queries
//! that the gateway asks of what it has counted.
//!
//! One module a consumer; a new one is a module, and a line in [`service`] that starts it.

pub mod analytics;
mod service;

pub use service::{Config, Outside, ServeError, serve};
