//! `btrust workflow render`: the graph of a definition as SVG.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::read_definition;

#[derive(Args)]
pub struct Render {
    file: PathBuf,
    /// Where to write the picture [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Render {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let svg = btrust_machine::render(&read_definition(&self.file)?);
        match self.output {
            Some(file) => std::fs::write(&file, svg)
                .with_context(|| format!("cannot write {}", file.display()))?,
            None => print!("{svg}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
