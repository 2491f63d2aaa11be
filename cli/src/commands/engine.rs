//! `btrust engine`: what an operator asks of the engine's store.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use btrust_engine::check::{Checked, check};
use btrust_engine::check_lists::{ListsChecked, check_lists};
use btrust_engine::restore::{begin_incarnation, restore_sqlite};
use btrust_engine::store::{Stores, location};
use btrust_platform::config::Settings;
use btrust_platform::data_dir::DataDir;
use btrust_platform::database_url::{self, DATABASE, DatabaseUrl};
use clap::Subcommand;
use serde_json::json;

use crate::Folders;

#[derive(Subcommand)]
pub enum Engine {
    /// Prove that every open workflow waits for something, and that counters and search attributes say
    /// what the workflows say; exits with 1 and lists what does not. Counters are exact while nobody writes
    Check {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
        /// The state's database, in place of `DATABASE_URL`
        #[arg(long)]
        database_url: Option<String>,
    },
    /// Put a backup in the place of the embedded state, as a new incarnation; core must not be running
    Restore {
        /// A copy of state.sqlite, as `VACUUM INTO` or `.backup` make it
        #[arg(long)]
        from: PathBuf,
    },
    /// Begin a new incarnation of a database that was restored by other means; before core is started
    NewIncarnation {
        /// The state's database, in place of `DATABASE_URL`
        #[arg(long)]
        database_url: Option<String>,
    },
}

impl Engine {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let data_dir = DataDir::new(&folders.data);
        let runtime = super::runtime()?;
        match self {
            Self::Check { json, database_url } => {
                let location = existing(&data_dir, database_url)?;
                let (checked, lists) = runtime.block_on(async {
                    let stores = Stores::open(&location).await?;
                    let checked = check(&*stores.store).await?;
                    anyhow::Ok((checked, check_lists(&*stores.lists).await?))
                })?;
                Ok(report(&checked, &lists, json))
            }
            Self::Restore { from } => {
                let DatabaseUrl::Sqlite(to) = location(&Settings::from_env(), &data_dir)? else {
                    anyhow::bail!(
                        "this restores an SQLite file; restore MySQL by its own means and run \
                         `btrust engine new-incarnation`"
                    );
                };
                let incarnation = runtime
                    .block_on(restore_sqlite(&from, &to))
                    .with_context(|| format!("cannot restore {}", from.display()))?;
                say!("{} is restored, as incarnation {incarnation}", to.display());
                Ok(ExitCode::SUCCESS)
            }
            Self::NewIncarnation { database_url } => {
                let location = existing(&data_dir, database_url)?;
                let incarnation = runtime.block_on(async {
                    let stores = Stores::open(&location).await?;
                    anyhow::Ok(begin_incarnation(&*stores.restore, data_dir.root()).await?)
                })?;
                say!("incarnation {incarnation} has begun");
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// The database that is meant; a file has to be there, so that a mistyped folder is not taken for an empty store.
fn existing(data_dir: &DataDir, database_url: Option<String>) -> anyhow::Result<DatabaseUrl> {
    let location = match database_url {
        Some(url) => {
            let settings = Settings::from_table([("DATABASE_URL", url.as_str())]);
            database_url::read(&settings, DATABASE)?.context("the URL is empty")?
        }
        None => location(&Settings::from_env(), data_dir)?,
    };
    if let DatabaseUrl::Sqlite(path) = &location {
        anyhow::ensure!(
            path.exists(),
            "{} is not there; say --data DIR or DATABASE_URL",
            path.display()
        );
    }
    Ok(location)
}

fn report(checked: &Checked, lists: &ListsChecked, json: bool) -> ExitCode {
    let text = |ids: &[btrust_schemas::ids::WorkflowId]| -> Vec<String> {
        ids.iter().map(ToString::to_string).collect()
    };
    let (offenders, attributes) = (text(&checked.offenders), text(&lists.attributes));
    if json {
        say!(
            "{}",
            json!({
                "open": checked.n_open, "incidents": checked.n_incidents, "offenders": offenders,
                "workflows": lists.n_workflows, "countersCompared": lists.is_recounted,
                "counters": lists.counters, "staleAttributes": attributes,
            })
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
        let compared = if lists.is_recounted {
            "compared"
        } else {
            "too many to compare"
        };
        say!(
            "{} workflows, counters {compared}: {} are wrong; {} found by attributes that are not theirs",
            lists.n_workflows,
            lists.counters.len(),
            attributes.len()
        );
        for line in lists.counters.iter().chain(&attributes) {
            say!("  {line}");
        }
    }
    if offenders.is_empty() && lists.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
