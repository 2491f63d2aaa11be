//! `btrust engine`: what an operator asks of the engine's store.

use std::process::ExitCode;

use btrust_engine::check::check;
use btrust_engine::store::{Stores, location};
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::database_url::DatabaseUrl;
use clap::Subcommand;
use serde_json::json;

use crate::Folders;

#[derive(Subcommand)]
pub enum Engine {
    /// Prove that every open workflow waits for something; exits with 1 and lists those that do not
    Check {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

impl Engine {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let Self::Check { json } = self;
        let location = location(&Settings::from_env(), &DataDir::new(&folders.data))?;
        if let DatabaseUrl::Sqlite(path) = &location {
            anyhow::ensure!(
                path.exists(),
                "{} is not there; say --data DIR or DATABASE_URL",
                path.display()
            );
        }
        let checked = super::runtime()?.block_on(async {
            let stores = Stores::open(&location).await?;
            anyhow::Ok(check(&*stores.store).await?)
        })?;
        let offenders: Vec<String> = checked.offenders.iter().map(ToString::to_string).collect();
        if json {
            say!(
                "{}",
                json!({"open": checked.n_open, "incidents": checked.n_incidents, "offenders": offenders})
            );
        } else {
            say!(
                "{} open, {} stopped by an incident, {} that wait for nothing",
                checked.n_open,
                checked.n_incidents,
                offenders.len()
            );
            for workflow in &offenders {
                say!("  {workflow}");
            }
        }
        Ok(if offenders.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
