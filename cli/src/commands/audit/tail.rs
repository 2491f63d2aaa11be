//! `btrust audit tail`: the latest records of the embedded stream.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use btrust_platform::data_dir::DataDir;
use btrust_platform::streams::{Stream, read_jsonl};
use clap::Args;

use crate::Folders;

/// How often the folder is looked at again.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct Tail {
    /// Records to begin with
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Only those of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
}

impl Tail {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        let dir = DataDir::new(&folders.data).streams();
        let mark = self
            .tenant
            .as_ref()
            .map(|it| format!("\"source\":\"/tenants/{it}\""));
        let read = || -> anyhow::Result<Vec<String>> {
            let records = read_jsonl(&dir, Stream::Audit)
                .with_context(|| format!("cannot read {}", dir.display()))?;
            let text = records
                .iter()
                .map(|it| String::from_utf8_lossy(it).into_owned());
            let is_asked = |it: &String| mark.as_ref().is_none_or(|mark| it.contains(mark));
            Ok(text.filter(is_asked).collect())
        };
        let mut records = read()?;
        let mut shown = records.len().saturating_sub(self.lines);
        loop {
            for record in records.get(shown..).unwrap_or_default() {
                say!("{record}");
            }
            shown = records.len();
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(LOOK);
            records = read()?;
            // Retention has taken old segments away: what is left was shown.
            shown = shown.min(records.len());
        }
    }
}
