//! `btrust audit export`: a tenant's log as an archive.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use btrust_consumers::archive::{Sealer, Segment};
use btrust_engine::sequencer::AuditReader;
use clap::Args;

use crate::Folders;
use crate::output;

/// What an export was told to be.
#[derive(Args)]
#[command(after_help = "\
Keep what is printed, and a checkpoint of it elsewhere; `btrust audit verify` reads both.
Only what a checkpoint covers is printed; the next one comes within AUDIT_CHECKPOINT_SECONDS (60).")]
pub struct Export {
    /// Whose log
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Take what is sealed from the object store, and only the rest from the database, which no longer has
    /// the records of deleted workflows
    #[arg(long)]
    from_archive: bool,
    /// Write each sealed segment as a file into this folder, and print their names
    #[arg(long, value_name = "DIR", requires = "from_archive")]
    out: Option<PathBuf>,
}

impl Export {
    pub fn run(self, folders: &Folders) -> anyhow::Result<ExitCode> {
        super::super::runtime()?.block_on(self.export(folders))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn export(self, folders: &Folders) -> anyhow::Result<()> {
        let tenant = &self.tenant;
        let mut archive = None;
        if self.from_archive {
            let sealer = super::archive::open(folders).await?;
            let segments = sealer.segments(tenant).await?;
            if let Some(dir) = &self.out {
                return self.write(&sealer, &segments, dir).await;
            }
            archive = Some((sealer, segments));
        }
        let (_stores, reader) = super::open(folders).await?;
        let mut logs: BTreeSet<i64> = reader.incarnations(tenant).await?.into_iter().collect();
        if let Some((_, segments)) = &archive {
            logs.extend(segments.iter().map(|it| it.incarnation));
        }
        anyhow::ensure!(
            !logs.is_empty(),
            "no record of the tenant {tenant} is covered by a checkpoint yet; is it the right id? \
             The first checkpoint comes within AUDIT_CHECKPOINT_SECONDS (60) of the first record"
        );
        for incarnation in logs {
            let mut after = 0;
            if let Some((sealer, segments)) = &archive {
                for segment in segments.iter().filter(|it| it.incarnation == incarnation) {
                    let until = segment.first_number - 1;
                    self.print(&reader, incarnation, after, until).await?;
                    output::bytes(&sealer.read(tenant, segment).await?);
                    after = segment.last_number;
                }
            }
            self.print(&reader, incarnation, after, i64::MAX).await?;
        }
        Ok(())
    }

    /// Prints what the database has of a log after one checkpoint up to another.
    async fn print(
        &self,
        reader: &AuditReader,
        incarnation: i64,
        mut after: i64,
        until: i64,
    ) -> anyhow::Result<()> {
        let tenant = &self.tenant;
        while after < until {
            // A log that only the archive has is not in the database.
            if !reader.incarnations(tenant).await?.contains(&incarnation) {
                break;
            }
            let page = reader.checkpoints(tenant, Some(incarnation), after).await?;
            let numbers = page.checkpoints.iter().map(|it| it.number);
            for number in numbers.filter(|it| *it <= until) {
                let lines = reader.archive(tenant, incarnation, number).await;
                for line in
                    lines.with_context(|| format!("cannot read up to checkpoint {number}"))?
                {
                    say!("{line}");
                }
            }
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Writes segments under names whose order is that of the log.
    async fn write(&self, sealer: &Sealer, segments: &[Segment], dir: &Path) -> anyhow::Result<()> {
        anyhow::ensure!(
            !segments.is_empty(),
            "the archive has no segment of the tenant {} yet; is it the right id? \
             Segments are sealed every ARCHIVE_SEGMENT_SECONDS (3600)",
            self.tenant
        );
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for segment in segments {
            let name = format!(
                "log-{:06}-checkpoint-{:012}.jsonl",
                segment.incarnation, segment.last_number
            );
            let path = dir.join(name);
            let bytes = sealer.read(&self.tenant, segment).await?;
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            say!("{}", path.display());
        }
        Ok(())
    }
}
