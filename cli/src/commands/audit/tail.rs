//! `btrust audit tail`: the latest records of the embedded stream.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use btrust_platform::clock::SystemClock;
use btrust_platform::data_dir::DataDir;
use btrust_platform::streams::{JsonlReader, Page, Stream, StreamReader as _};
use clap::Args;

use crate::Folders;
use crate::output;

/// Records of a page.
const PAGE: usize = 1_000;

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

/// How far the stream was read.
struct Place {
    reader: JsonlReader,
    shard: String,
    after: Option<String>,
    /// What a record of the tenant has in it.
    mark: Option<String>,
}

impl Tail {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        super::super::runtime()?.block_on(self.tail(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn tail(self, folders: &Folders) -> anyhow::Result<()> {
        let dir = DataDir::new(&folders.data).streams();
        anyhow::ensure!(
            dir.is_dir(),
            "{} is not there; say --data DIR (only the embedded stream has a tail)",
            dir.display()
        );
        let reader = JsonlReader::new(dir, Arc::new(SystemClock));
        let shards = reader.shards(Stream::Audit).await?;
        let shard = shards
            .into_iter()
            .next()
            .context("the stream has no shard")?;
        let mark = self.tenant.as_ref();
        let mut place = Place {
            reader,
            shard: shard.id,
            after: None,
            mark: mark.map(|it| format!("\"source\":\"/tenants/{it}\"")),
        };
        let mut latest = VecDeque::new();
        while let Some(lines) = place.next().await? {
            latest.extend(lines);
            latest.drain(..latest.len().saturating_sub(self.lines));
        }
        print(latest);
        if !self.follow {
            return Ok(());
        }
        loop {
            match place.next().await? {
                Some(lines) => print(lines),
                None => tokio::time::sleep(place.reader.idle()).await,
            }
        }
    }
}

fn print(lines: impl IntoIterator<Item = Vec<u8>>) {
    for line in lines {
        output::bytes(&line);
    }
}

impl Place {
    /// The lines of the next page that are asked for; `None` at the end of the stream.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
        let after = self.after.as_deref();
        let page = self.reader.read(Stream::Audit, &self.shard, after, PAGE);
        let Page {
            records,
            troubles,
            reached,
            ..
        } = page.await?;
        for it in troubles {
            eprintln!("btrust: at {}: {}", it.position, it.what);
        }
        let has_moved = reached.is_some() && reached != self.after;
        if !has_moved {
            return Ok(None);
        }
        self.after = reached;
        let mark = self.mark.as_deref().unwrap_or_default().as_bytes();
        let is_asked = |it: &[u8]| mark.is_empty() || it.windows(mark.len()).any(|it| it == mark);
        let records = records.iter().map(|it| &it.bytes[..]);
        let line = |it: &[u8]| [it, b"\n"].concat();
        Ok(Some(records.filter(|it| is_asked(it)).map(line).collect()))
    }
}
