//! `btrust audit verify`: whether an archive, a stream or an evidence pack is what was signed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use btrust_integrity::archive::{Archive, Options, Withheld};
use btrust_integrity::chain::Beginning;
use btrust_integrity::checkpoint::Checkpoint;
use btrust_integrity::finding::{Finding, Report, Wrong};
use btrust_integrity::keys::KeyRing;
use btrust_integrity::{events, pack, stream};
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

/// What `--help` says at its end.
const AFTER_HELP: &str = "\
Exit codes:
  0  nothing is wrong
  1  something is wrong: the first bad record is named, with its file and line, workflow and sequence
  2  it could not be read, or the keys could not

Without --trusted-checkpoint nobody can know whether the end is missing, so the report says \"complete only to
N at T\". Keep a checkpoint elsewhere now and then: the last line of an export, or an answer of
GET /v1/audit/checkpoints/latest.

Examples:
  btrust audit keys show > keys.txt
  btrust audit export --tenant acme > acme.jsonl
  btrust audit verify --keys keys.txt acme.jsonl
  btrust audit verify --keys keys.txt --trusted-checkpoint kept.json acme.jsonl
  btrust audit verify --keys keys.txt --stream var/streams";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
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
    /// The public keys that are trusted, as `btrust audit keys show` prints them
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// A checkpoint that was kept elsewhere (a note, a line of an export or an answer of the API): what it
    /// covers must be there; may be repeated
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
            Ok((report, lines)) => {
                self.show(&report, &lines);
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

    fn verify(&self, folders: &Folders) -> anyhow::Result<(Report, Lines)> {
        let keys = read_text(&self.keys)?;
        let ring = KeyRing::parse(&keys).with_context(|| {
            let path = self.keys.display();
            format!("{path} is not what `btrust audit keys show` prints")
        })?;
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
        let mut lines = Lines::default();
        if self.stream {
            let mut verifier = stream::Stream::new(options);
            let files = segments(&path, "audit-")?;
            // A line without its end is being written.
            lines.read(&files, &mut |line| verifier.line(line))?;
            return Ok((verifier.finish(), lines));
        }
        if path.is_file() && is_pack(&path)? {
            return Ok((pack::verify(&read_text(&path)?, options), lines));
        }
        let mut verifier = Archive::new(options);
        let files = segments(&path, "")?;
        let mut is_stream = false;
        let is_cut = lines.read(&files, &mut |line| {
            is_stream |= events::parse(line).is_some();
            verifier.line(line);
        })?;
        let report = verifier.finish(is_cut);
        anyhow::ensure!(
            !is_stream || 0 < report.n_checkpoints,
            "{} is the raw stream; say --stream",
            path.display()
        );
        Ok((report, lines))
    }

    fn show(&self, report: &Report, lines: &Lines) {
        let place = report.finding.as_ref().and_then(|it| lines.place(it.line));
        let hint = report.finding.as_ref().and_then(|it| self.hint(it, report));
        if self.json {
            let mut shown = serde_json::to_value(report).unwrap_or_default();
            shown["verdict"] = json!(verdict(report));
            shown["place"] = json!(place.map(|(file, line)| json!({"file": file, "line": line})));
            shown["hint"] = json!(hint);
            say!("{shown}");
            return;
        }
        show_covered(report);
        match &report.finding {
            Some(finding) => {
                say!("WRONG: {finding}");
                if let Some((file, line)) = place {
                    say!("  at {}:{line}", file.display());
                }
                if let Some(hint) = hint {
                    say!("  {hint}");
                }
            }
            None => say!("nothing is wrong"),
        }
    }

    /// What else than tampering it may be, and what to do then.
    fn hint(&self, finding: &Finding, report: &Report) -> Option<&'static str> {
        let is_first = finding.sequence == Some(1) && finding.wrong == Wrong::Missing;
        match finding.wrong {
            Wrong::Missing if 0 < report.n_withheld && !self.allow_withheld => Some(
                "if workflows were deleted before the export: say --allow-withheld, or export with \
                 --from-archive, which still has their records",
            ),
            Wrong::Missing if is_first && !self.part => Some(
                "if what came before was removed by retention, or is in another file: say --part",
            ),
            Wrong::UnknownKey => Some(
                "if the keys were rotated since: compare --keys with what `btrust audit keys show` prints",
            ),
            _ => None,
        }
    }
}

fn show_covered(report: &Report) {
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
    say!(
        "{n_records} records of {n_workflows} workflows and act logs, {n_checkpoints} checkpoints"
    );
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

/// The lines of one or more files, of which findings count all.
#[derive(Default)]
struct Lines {
    /// Each file with the number of the first of its lines, from 1.
    files: Vec<(PathBuf, u64)>,
    n_lines: u64,
}

impl Lines {
    /// Reads line by line, so that an archive of any size needs the memory of its longest line. Whether the
    /// last line has no end; such a line is not taken.
    fn read(&mut self, files: &[PathBuf], take: &mut dyn FnMut(&[u8])) -> anyhow::Result<bool> {
        let mut line = Vec::new();
        let mut is_cut = false;
        for (at, path) in files.iter().enumerate() {
            self.files.push((path.clone(), self.n_lines + 1));
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
                is_cut = !is_whole && at + 1 == files.len();
                if !is_cut {
                    self.n_lines += 1;
                    take(&line);
                }
            }
        }
        Ok(is_cut)
    }

    /// The file and its line that a finding means by a line.
    fn place(&self, line: u64) -> Option<(&Path, u64)> {
        let (file, first) = self.files.iter().rfind(|it| it.1 <= line)?;
        Some((file, line - first + 1))
    }
}
