//! What a bank and its applicants talk to: the gateway (5008) and auth (5800).
//!
//! One file an endpoint. The gateway keeps no state of workflows: it checks who
//! asks, what they send and how much of it, and calls core.

pub mod access;
pub mod auth;
pub mod gateway;
pub mod openapi;
pub mod refusal;

mod acts;
mod address;
mod brake;
mod idempotency;
