//! `btrust`: the one product binary.

#[macro_use]
mod output;

mod commands;
mod development;
mod services;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// A step makes a few hundred small allocations; with the system's allocator they were a fifth of its cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Verifies people's identities for banks, on the bank's own machines.
#[derive(Parser)]
#[command(name = "btrust", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    folders: Folders,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
struct Folders {
    /// Folder of the embedded stores
    #[arg(long, value_name = "DIR", default_value = "var", global = true)]
    data: PathBuf,
    /// Folder of the fetched models [default: `BTRUST_MODELS`, else `models` in the data folder]
    #[arg(long, value_name = "DIR", global = true)]
    models: Option<PathBuf>,
}

impl Folders {
    fn models(&self) -> PathBuf {
        self.models
            .clone()
            .or_else(|| std::env::var_os("BTRUST_MODELS").map(PathBuf::from))
            .unwrap_or_else(|| self.data.join("models"))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Start the whole platform in this process, on embedded stores
    Up(commands::up::Up),
    /// Start one service, configured by environment variables
    Serve(commands::serve::Serve),
    /// Make the clients that services and banks sign in with
    #[command(subcommand)]
    Client(commands::client::Client),
    /// Fetch and verify the models
    #[command(subcommand)]
    Models(commands::models::Models),
    /// Look at workflow definitions
    #[command(subcommand)]
    Workflow(commands::workflow::Workflow),
    /// Measure the product on this machine
    #[command(subcommand)]
    Bench(commands::bench::Bench),
    /// Look after the engine
    #[command(subcommand)]
    Engine(commands::engine::Engine),
    /// Look at the audit log, export it and prove that nobody has changed it
    #[command(subcommand)]
    Audit(commands::audit::Audit),
    /// Look into the embedded outbox of one-time codes
    #[command(subcommand)]
    Otp(commands::otp::Otp),
    /// Write or check the generated JSON Schemas and `OpenAPI` documents
    Schemas(commands::schemas::Schemas),
}

fn main() -> ExitCode {
    let Cli { folders, command } = Cli::parse();
    let done = match command {
        Command::Up(it) => it.run(&folders),
        Command::Serve(it) => it.run(&folders),
        Command::Client(it) => it.run(&folders),
        Command::Models(it) => it.run(&folders),
        Command::Workflow(it) => it.run(),
        Command::Bench(it) => it.run(&folders),
        Command::Engine(it) => it.run(&folders),
        Command::Audit(it) => it.run(&folders),
        Command::Otp(it) => it.run(&folders),
        Command::Schemas(it) => it.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("btrust: {error:#}");
            ExitCode::FAILURE
        }
    }
}
