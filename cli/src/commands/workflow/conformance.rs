//! `btrust workflow conformance`: recorded executions of other machines, run on this one.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use btrust_machine::conformance::{Case, Exclusions, Summary};
use clap::Args;

use super::read_json;

/// Cases that differ on purpose, with the reason.
const EXCLUSIONS: &str =
    include_str!("../../../../engine/machine/tests/conformance-exclusions.json");

#[derive(Args)]
pub struct Conformance {
    /// Folder of JSON files, each a list of cases
    folder: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Conformance {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let exclusions: Exclusions =
            serde_json::from_str(EXCLUSIONS).context("the exclusions cannot be read")?;
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.folder)
            .with_context(|| format!("cannot read {}", self.folder.display()))?
            .map(|entry| entry.map(|it| it.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|it| it.extension().is_some_and(|it| it == "json"));
        files.sort();
        let mut summary = Summary::default();
        for file in &files {
            let cases: Vec<Case> = serde_json::from_value(read_json(file)?)
                .with_context(|| format!("{} is not a list of cases", file.display()))?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            summary.add(&name, &cases, &exclusions);
        }
        ensure!(
            0 < summary.total,
            "there is no case in {}",
            self.folder.display()
        );
        if self.json {
            say!("{:#}", serde_json::to_value(&summary)?);
        } else {
            print(&summary);
        }
        Ok(if summary.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn print(summary: &Summary) {
    for failure in &summary.failures {
        let mismatch = &failure.mismatch;
        say!(
            "FAIL  {} ({})\n    {}\n    expected {}\n    actual   {}",
            failure.name,
            failure.file,
            mismatch.what,
            mismatch.expected,
            mismatch.actual
        );
    }
    say!(
        "{} cases: {} passed, {} failed, {} excluded",
        summary.total,
        summary.passed,
        summary.failed,
        summary.excluded
    );
}
