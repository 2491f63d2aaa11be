//! `btrust audit verify`: whether an archive, a stream or an evidence pack is what was signed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use btrust_integrity::archive::{Archive, Options, Withheld};
use btrust_integrity::chain::Beginning;
use btrust_integrity::checkpoint::Checkpoint;
use btrust_integrity::finding::Report;
use btrust_integrity::keys::KeyRing;
use btrust_integrity::{pack, stream};
use btrust_platform::clock::rfc3339;
use btrust_platform::data_dir::DataDir;
use clap::Args;
use serde_json::{Value, json};

use crate::Folders;

/// Longest line that is read, in bytes: a checkpoint with the leaves of the largest round is far below.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Exit code when something is wrong with what was read.
const WRONG: u8 = 1;
/// Exit code when nothing could be said.
const UNREADABLE: u8 = 2;

#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct Verify {
    /// An archive, a folder of its segments, or an evidence pack; with --stream a folder of the stream
    /// [default: the embedded stream]
    #[arg(value_name = "FILE|DIR", required_unless_present = "stream")]
    path: Option<PathBuf>,
    /// Read the raw audit stream: records of all tenants, some of them twice
    #[arg(long)]
    stream: bool,
    /// The public keys that are trusted, one a line, as `btrust audit keys show` prints them
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// A checkpoint that was kept elsewhere: what it covers must be there; may be repeated
    #[arg(long = "trusted-checkpoint", value_name = "FILE")]
    trusted: Vec<PathBuf>,
    /// Whose log it has to be
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// A part of a log is enough: what came before it is elsewhere
    #[arg(long)]
    part: bool,
    /// Accept the hashes of records whose workflows were deleted in the place of the records
    #[arg(long)]
    allow_withheld: bool,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Exits with 0, 1 or 2: good, wrong, unreadable.
    pub fn run(self, folders: &Folders) -> ExitCode {
        match self.verify(folders) {
            Ok(report) => {
                self.show(&report);
                if report.is_good() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(WRONG)
                }
            }
            Err(error) => {
                eprintln!("btrust: {error:#}");
                ExitCode::from(UNREADABLE)
            }
        }
    }

    fn verify(&self, folders: &Folders) -> anyhow::Result<Report> {
        let keys = read_text(&self.keys)?;
        let ring = KeyRing::parse(&keys).with_context(|| format!("in {}", self.keys.display()))?;
        let mut options = Options::of(ring);
        options.tenant.clone_from(&self.tenant);
        if self.part {
            options.beginning = Beginning::Anywhere;
        }
        if self.allow_withheld {
            options.withheld = Withheld::Accepted;
        }
        for path in &self.trusted {
            options.trusted.push(trusted(path)?);
        }
        let path = match &self.path {
            Some(path) => path.clone(),
            None => DataDir::new(&folders.data).streams(),
        };
        if self.stream {
            let mut verifier = stream::Stream::new(options);
            // A line without its end is being written.
            each_line(&segments(&path, "audit-")?, &mut |line, is_whole| {
                if is_whole {
                    verifier.line(line);
                }
            })?;
            return Ok(verifier.finish());
        }
        if path.is_file() && is_pack(&path)? {
            return Ok(pack::verify(&read_text(&path)?, options));
        }
        let mut verifier = Archive::new(options);
        let mut is_cut = false;
        each_line(&segments(&path, "")?, &mut |line, is_whole| {
            if is_whole {
                verifier.line(line);
            }
            is_cut = !is_whole;
        })?;
        Ok(verifier.finish(is_cut))
    }

    fn show(&self, report: &Report) {
        if self.json {
            let mut shown = serde_json::to_value(report).unwrap_or_default();
            shown["verdict"] = json!(verdict(report));
            say!("{shown}");
            return;
        }
        for it in &report.covered {
            let complete = if it.is_trusted {
                "complete"
            } else {
                "complete only"
            };
            say!(
                "{}: {complete} to {} at {} (log {}, checkpoint {}, signed by {})",
                it.tenant,
                it.size,
                rfc3339(it.at_ms),
                it.incarnation,
                it.number,
                it.key
            );
        }
        let Report {
            n_records,
            n_workflows,
            n_checkpoints,
            n_repeated,
            n_uncovered,
            n_withheld,
            ..
        } = report;
        say!("{n_records} records of {n_workflows} workflows, {n_checkpoints} checkpoints");
        for (n, what) in [
            (n_repeated, "came again with the same bytes"),
            (n_uncovered, "are covered by no checkpoint yet"),
            (
                n_withheld,
                "are there as hashes only: their workflows were deleted",
            ),
        ] {
            if 0 < *n {
                say!("{n} {what}");
            }
        }
        match &report.finding {
            Some(finding) => say!("WRONG: {finding}"),
            None => say!("nothing is wrong"),
        }
    }
}

fn verdict(report: &Report) -> &'static str {
    if !report.is_good() {
        return "wrong";
    }
    let is_complete = !report.covered.is_empty() && report.covered.iter().all(|it| it.is_trusted);
    if is_complete {
        "complete"
    } else {
        "complete_only_to"
    }
}

/// A note, or an answer of the API that carries one.
fn trusted(path: &Path) -> anyhow::Result<Checkpoint> {
    let text = read_text(path)?;
    let answer: Option<Value> = serde_json::from_str(&text).ok();
    let note = answer.as_ref().and_then(|it| {
        let of_line = it.get("checkpoint");
        let note = it.get("note").or_else(|| of_line?.get("note")).or(of_line);
        note?.as_str()
    });
    let (checkpoint, _) = Checkpoint::parse_unverified(note.unwrap_or(&text))
        .with_context(|| format!("{} is no checkpoint", path.display()))?;
    Ok(checkpoint)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn is_pack(path: &Path) -> anyhow::Result<bool> {
    let mut begin = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.take(128).read_to_end(&mut begin)?;
    Ok(pack::is_pack(&String::from_utf8_lossy(&begin)))
}

/// The file, or the segments of a folder in the order of their names.
fn segments(path: &Path, begin: &str) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(begin) && name.ends_with(".jsonl") {
            segments.push(path);
        }
    }
    segments.sort();
    anyhow::ensure!(
        !segments.is_empty(),
        "{} has no segments `{begin}*.jsonl`",
        path.display()
    );
    Ok(segments)
}

/// Reads line by line, so that an archive of any size needs the memory of its longest line.
fn each_line(files: &[PathBuf], take: &mut dyn FnMut(&[u8], bool)) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for path in files {
        let read = || format!("cannot read {}", path.display());
        let mut file = BufReader::new(File::open(path).with_context(read)?);
        loop {
            line.clear();
            let mut limited = file.by_ref().take(LINE_BYTES_MAX);
            let n_bytes = limited.read_until(b'\n', &mut line).with_context(read)?;
            if n_bytes == 0 {
                break;
            }
            let is_whole = line.pop_if(|it| *it == b'\n').is_some();
            anyhow::ensure!(
                is_whole || (n_bytes as u64) < LINE_BYTES_MAX,
                "{} has a line of more than {LINE_BYTES_MAX} bytes",
                path.display()
            );
            take(&line, is_whole);
        }
    }
    Ok(())
}
