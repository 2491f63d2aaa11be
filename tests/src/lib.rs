//! Starts the real platform for a test and speaks its public API.

mod client;
mod world;

pub use client::{Answer, Client};
pub use world::{World, binary, models_dir};
