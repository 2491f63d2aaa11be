//! `btrust bench`: how fast the product is, measured on the machine in front of you.

mod definition;
mod engine;
mod gauge;
mod http;
mod load;
mod mariadb;
mod report;
mod stage;
mod worker;

use std::process::ExitCode;

use clap::Subcommand;

use crate::Folders;

#[derive(Subcommand)]
pub enum Bench {
    /// Measure the durable engine: real processes, every commit flushed, steps that do nothing
    Engine(engine::Engine),
    /// A worker whose steps do nothing; `bench engine` starts it
    #[command(hide = true)]
    Worker(worker::Worker),
}

impl Bench {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        match self {
            Self::Engine(it) => it.run(folders),
            Self::Worker(it) => it.run(),
        }
    }
}
