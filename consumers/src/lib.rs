//! The consumers of the two streams, as one service (port 5090): the analytics projector, the archiver of the
//! audit stream, webhooks, and the queries that the gateway asks of what was counted.
//!
//! One module a consumer; a new one is a module, and a line in [`service`] that starts it.

pub mod analytics;
pub mod archive;
mod service;
pub mod webhooks;

pub use service::{Config, Outside, ServeError, serve};
