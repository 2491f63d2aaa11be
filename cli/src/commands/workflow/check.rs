//! `btrust workflow check`: the gates that publishing runs, on a file.

use std::path::PathBuf;
use std::process::ExitCode;

use btrust_machine::{Report, Severity};
use clap::Args;

use super::read_json;

#[derive(Args)]
pub struct Check {
    file: PathBuf,
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let envelope = read_json(&self.file)?;
        let report = btrust_machine::check(&envelope, &btrust_api::gateway::catalogue());
        if self.json {
            say!("{:#}", serde_json::to_value(&report)?);
        } else {
            print(&report);
        }
        Ok(if report.is_publishable() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn print(report: &Report) {
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        say!(
            "{severity} {} at {}\n    {}\n    fix: {}",
            finding.code,
            finding.pointer,
            finding.message,
            finding.fix
        );
    }
    match &report.proof {
        Some(proof) => say!("proof: {} states explored", proof.states_explored),
        None => say!("proof: not attempted before the errors above are mended"),
    }
    say!(
        "{}",
        if report.is_publishable() {
            "publishable"
        } else {
            "refused"
        }
    );
}
