//! The engine on real embedded stores, from the outside.

#![expect(clippy::unwrap_used, reason = "what does not answer ends the test")]

mod exchange;
mod faults;
mod http;
mod lifecycle;
mod prompts;
mod recovery;
mod starts;
mod streams;
mod timers;
mod world;
