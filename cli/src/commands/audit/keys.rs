//! `btrust audit keys`: the keys that sign checkpoints.

use std::process::ExitCode;
use std::sync::Arc;

use btrust_engine::sequencer::rotate;
use btrust_platform::clock::SystemClock;
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::keys::LocalKeyring;
use btrust_platform::random::SystemRandom;
use clap::Subcommand;

use crate::Folders;

#[derive(Subcommand)]
pub enum Keys {
    /// Print the public keys, the one that signs now last: what `btrust audit verify --keys` reads
    Show,
    /// Make a new key the one that signs; the one before introduces it and is destroyed
    Rotate,
}

impl Keys {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        super::super::runtime()?.block_on(self.act(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn act(self, folders: &Folders) -> anyhow::Result<()> {
        let (stores, reader) = super::open(folders).await?;
        match self {
            Self::Show => {
                let keys = reader.keys().await?.keys;
                anyhow::ensure!(
                    !keys.is_empty(),
                    "core has not signed anything yet: start it first"
                );
                for key in keys {
                    say!("{}", key.key);
                }
            }
            Self::Rotate => {
                let keyring = Settings::from_env().get("KEYRING");
                let keyring =
                    keyring.map_or_else(|| DataDir::new(&folders.data).keyring(), Into::into);
                let keys = LocalKeyring::open(&keyring)?;
                let log = Arc::clone(&stores.audit_log);
                let key = rotate(&*log, &keys, &SystemRandom::shared(), &SystemClock).await?;
                say!("{key}");
            }
        }
        Ok(())
    }
}
