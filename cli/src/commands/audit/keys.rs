//! `btrust audit keys`: the keys that sign checkpoints.

use std::process::ExitCode;
use std::sync::Arc;

use btrust_engine::sequencer::rotate;
use btrust_integrity::keys::rotation_line;
use btrust_platform::clock::SystemClock;
use btrust_platform::random::SystemRandom;
use clap::{Args, Subcommand};

use crate::Folders;

#[derive(Subcommand)]
pub enum Keys {
    /// Print the public keys, the one that signs now last: what `btrust audit verify --keys` reads
    ///
    /// A key that has ended comes with the statement in which it names its successor, as a line
    /// `rotation ..`. Keep these lines beside the keys: without its statement an ended key is trusted for
    /// ever, whoever holds it by then.
    Show(Show),
    /// Make a new key the one that signs; the one before introduces it and is destroyed
    Rotate,
}

#[derive(Args)]
pub struct Show {
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        super::super::runtime()?.block_on(self.act(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn act(self, folders: &Folders) -> anyhow::Result<()> {
        let (stores, reader) = super::open(folders).await?;
        match self {
            Self::Show(show) => {
                let view = reader.keys().await?;
                anyhow::ensure!(
                    !view.keys.is_empty(),
                    "core has not signed anything yet: start it first"
                );
                if show.json {
                    say!("{}", serde_json::to_string(&view)?);
                    return Ok(());
                }
                for key in &view.keys {
                    match &key.until {
                        Some(until) => say!("# from {} to {until}", key.since),
                        None => say!("# signs since {}", key.since),
                    }
                    say!("{}", key.key);
                }
                for statement in &view.rotations {
                    say!("{}", rotation_line(statement));
                }
            }
            Self::Rotate => {
                let keys = super::keyring(folders)?;
                let log = Arc::clone(&stores.audit_log);
                let key = rotate(&*log, &keys, &SystemRandom::shared(), &SystemClock).await?;
                say!("{key}");
            }
        }
        Ok(())
    }
}
