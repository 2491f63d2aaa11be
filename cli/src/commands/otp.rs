//! `btrust otp`: what the embedded outbox holds.

use std::process::ExitCode;

use anyhow::Context;
use btrust_platform::data_dir::DataDir;
use btrust_platform::messages::read_outbox;
use clap::Subcommand;

use crate::Folders;

#[derive(Subcommand)]
pub enum Otp {
    /// Print the messages that would have been sent, oldest first
    Outbox {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

impl Otp {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let Self::Outbox { json } = self;
        let path = DataDir::new(&folders.data).outbox();
        for entry in
            read_outbox(&path).with_context(|| format!("cannot read {}", path.display()))?
        {
            if json {
                say!("{}", serde_json::to_string(&entry)?);
            } else {
                say!(
                    "{}  {:?} to {}\n    {}",
                    entry.sent_at,
                    entry.channel,
                    entry.to,
                    entry.text
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
