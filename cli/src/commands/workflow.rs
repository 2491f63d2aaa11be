//! `btrust workflow`: the gates that publishing runs, on a file; and what differs between two.

mod diff;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use btrust_machine::{Report, Severity};
use clap::Subcommand;
use serde_json::Value;

#[derive(Subcommand)]
pub enum Workflow {
    /// Check that a definition is valid, sound and proven; exits with 1 when it is not
    Check {
        file: PathBuf,
        /// Print the whole report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare two definitions: states, evidence, decisions and schema
    Diff(diff::Diff),
}

impl Workflow {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (file, json) = match self {
            Self::Check { file, json } => (file, json),
            Self::Diff(it) => return it.run(),
        };
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let envelope: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        let report = btrust_machine::check(&envelope, &btrust_api::gateway::catalogue());
        if json {
            println!("{:#}", serde_json::to_value(&report)?);
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
        println!(
            "{severity} {} at {}\n    {}\n    fix: {}",
            finding.code, finding.pointer, finding.message, finding.fix
        );
    }
    match &report.proof {
        Some(proof) => println!("proof: {} states explored", proof.states_explored),
        None => println!("proof: not attempted before the errors above are mended"),
    }
    println!(
        "{}",
        if report.is_publishable() {
            "publishable"
        } else {
            "refused"
        }
    );
}
