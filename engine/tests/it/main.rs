//! The engine on real embedded stores, from the outside.

mod exchange;
mod faults;
mod http;
mod prompts;
mod recovery;
mod starts;
mod streams;
mod timers;
mod world;
