//! `btrust schemas`: the generated files that are committed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

#[derive(Args)]
pub struct Schemas {
    /// Write into this folder (`schemas` in the source tree)
    #[arg(long, value_name = "DIR")]
    write: PathBuf,
}

impl Schemas {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let put = |path: &Path, content: &str| {
            std::fs::write(path, content)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        let json = self.write.join("json");
        std::fs::create_dir_all(&json)?;
        for (name, content) in btrust_schemas::step::json_files() {
            put(&json.join(name), &content)?;
        }
        put(
            &self.write.join("EVENTS.md"),
            &btrust_schemas::events::table_markdown(),
        )?;
        put(
            &self.write.join("openapi.json"),
            &btrust_api::gateway::openapi_json(),
        )?;
        put(
            &self.write.join("openapi-auth.json"),
            &btrust_api::auth::openapi_json(),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}
