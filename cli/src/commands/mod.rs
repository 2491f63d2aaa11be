//! One file a command.

pub mod models;
pub mod otp;
pub mod schemas;
pub mod serve;
pub mod up;
pub mod workflow;
