//! `btrust audit`: what the audit stream says, and whether it is what was signed.

mod archive;
mod export;
mod keys;
mod pack;
mod tail;
mod verify;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use btrust_engine::sequencer::AuditReader;
use btrust_engine::store::{Stores, location};
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::database_url::DatabaseUrl;
use btrust_platform::keys::LocalKeyring;
use clap::Subcommand;

use crate::Folders;

#[derive(Subcommand)]
pub enum Audit {
    /// Print the log of a tenant as JSON Lines: its records in the order of the log, with the checkpoints
    Export(export::Export),
    /// Check an archive, a stream or an evidence pack offline, with nothing but public keys
    ///
    /// Names the first bad record and what is wrong with it.
    Verify(verify::Verify),
    /// Print the latest records of the embedded audit stream
    Tail(tail::Tail),
    /// Print everything about one workflow, with the proofs that it is in the log, as one sealed JSON file
    Pack(pack::Pack),
    /// Look after the keys that sign checkpoints
    #[command(subcommand)]
    Keys(keys::Keys),
}

impl Audit {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        match self {
            Self::Export(it) => it.run(folders),
            Self::Verify(it) => Ok(it.run(folders)),
            Self::Tail(it) => it.run(folders),
            Self::Pack(it) => it.run(folders),
            Self::Keys(it) => it.run(folders),
        }
    }
}

/// The database of an installation, and what reads its logs.
async fn open(folders: &Folders) -> anyhow::Result<(Stores, AuditReader)> {
    let location = location(&Settings::from_env(), &DataDir::new(&folders.data))?;
    if let DatabaseUrl::Sqlite(path) = &location {
        anyhow::ensure!(
            path.exists(),
            "{} is not there; say --data DIR or DATABASE_URL",
            path.display()
        );
    }
    let stores = Stores::open(&location)
        .await
        .context("cannot open the database")?;
    let reader = AuditReader::new(Arc::clone(&stores.store), Arc::clone(&stores.audit_log));
    Ok((stores, reader))
}

/// The keyring of an installation, which must be there: what an empty one would sign, nobody trusts.
fn keyring(folders: &Folders) -> anyhow::Result<LocalKeyring> {
    let path = Settings::from_env().get("KEYRING");
    let path = path.map_or_else(|| DataDir::new(&folders.data).keyring(), Into::into);
    anyhow::ensure!(
        path.exists(),
        "{} is not there; say --data DIR or KEYRING",
        path.display()
    );
    LocalKeyring::open(&path).with_context(|| format!("cannot open {}", path.display()))
}
