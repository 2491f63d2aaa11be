//! One file a command.

pub mod audit;
pub mod bench;
pub mod client;
pub mod engine;
pub mod models;
pub mod otp;
pub mod schemas;
pub mod serve;
pub mod up;
pub mod workflow;

/// The one runtime of a command that serves.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}
