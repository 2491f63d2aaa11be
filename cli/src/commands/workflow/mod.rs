//! `btrust workflow`: what an author of definitions does with a file, without a running platform.

mod check;
mod conformance;
mod diff;
mod render;
mod test;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use btrust_machine::{Definition, Finding};
use clap::Subcommand;
use serde_json::Value;

/// How the command ends when it was asked for something that it cannot do.
const BAD_USAGE: u8 = 2;

#[derive(Subcommand)]
pub enum Workflow {
    /// Check that a definition is valid, sound and proven; exits with 1 when it is not
    Check(check::Check),
    /// Run a definition in virtual time with mocked tasks; exits with 1 when it fails or an expectation is not met
    Test(test::Test),
    /// Draw the graph of a definition as SVG
    Render(render::Render),
    /// Compare two definitions: states, evidence, decisions and schema
    Diff(diff::Diff),
    /// Compare this machine with recorded executions of AWS Step Functions; exits with 1 when one differs
    Conformance(conformance::Conformance),
}

impl Workflow {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(it) => it.run(),
            Self::Test(it) => Ok(or_bad_usage(it.run())),
            Self::Render(it) => Ok(or_bad_usage(it.run())),
            Self::Diff(it) => Ok(or_bad_usage(it.run())),
            Self::Conformance(it) => Ok(or_bad_usage(it.run())),
        }
    }
}

/// Says what was wrong with the request, apart from what may be wrong with the workflow.
fn or_bad_usage(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("btrust: {error:#}");
        ExitCode::from(BAD_USAGE)
    })
}

fn read_json(file: &Path) -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))
}

/// Reads a definition, or a bare state machine without an envelope.
///
/// The steps of a definition are those of this program's catalogue.
fn read_definition(file: &Path) -> anyhow::Result<Definition> {
    let document = read_json(file)?;
    let parsed = if document.get("StartAt").is_some() {
        Definition::parse_states(&document)
    } else {
        Definition::parse(&document)
            .and_then(|it| it.with_catalogue(&btrust_api::gateway::catalogue()))
    };
    parsed.map_err(|findings| {
        let shown: Vec<String> = findings.iter().map(show).collect();
        anyhow::anyhow!("{} is not valid:\n{}", file.display(), shown.join("\n"))
    })
}

fn show(finding: &Finding) -> String {
    format!(
        "  {} at {}: {}",
        finding.code, finding.pointer, finding.message
    )
}
