//! Checks an archive: the records of a tenant's log in the order of its leaves, with its checkpoints.
//!
//! An archive is JSON Lines. A line is a record, byte for byte; or a checkpoint,
//! `{"checkpoint":"<note>","leaves":"<base64>"}`, over everything before it, with the hashes of the leaves
//! since the checkpoint before, which may be left out; or the hash of a record that the platform has
//! deleted and no longer has, `{"withheld":"<base64>"}`. An archive that does not begin with the log
//! begins with what it goes on from, `{"archive":{..}}`, which the next checkpoint vouches for.
//!
//! The list of leaves is signed by nobody, but when it leads to the signed root it is what was signed; so
//! it says which line of a block is wrong. Without it a record that was hashed and chained anew is known
//! to be in the block before a checkpoint.

mod lines;
mod locate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::chain::{Beginning, ChainError, Chains};
use crate::checkpoint::{Checkpoint, CheckpointError, Origin};
use crate::finding::{Covered, Finding, Report, Wrong};
use crate::keys::KeyRing;
use crate::note::NoteError;
use crate::record::{DELETED, Record};
use crate::tree::{Hash, Tree};

pub(crate) use lines::glimpse;
pub use lines::{ArchiveStart, checkpoint_line, withheld_line};
use lines::{CheckpointLine, Line};
use locate::Block;

/// What a reader brings along.
#[derive(Clone, Debug)]
pub struct Options {
    pub ring: KeyRing,
    /// Checkpoints that were kept elsewhere, of any logs.
    pub trusted: Vec<Checkpoint>,
    /// Whose log it has to be.
    pub tenant: Option<String>,
    pub beginning: Beginning,
    pub withheld: Withheld,
}

/// Whether the hash of a record may stand in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// Whoever may write to an archive could hide any record so.
    Refused,
    /// The reader knows that workflows were deleted before the archive was written.
    Accepted,
}

impl Options {
    /// Trusts these keys and knows nothing else.
    #[must_use]
    pub fn of(ring: KeyRing) -> Self {
        Self {
            ring,
            trusted: Vec::new(),
            tenant: None,
            beginning: Beginning::Complete,
            withheld: Withheld::Refused,
        }
    }
}

/// A record of the block that no checkpoint has covered yet.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub line: u64,
    pub leaf: Hash,
    /// Workflow and sequence as the line says.
    pub place: Option<(Box<str>, u64)>,
}

/// The log that the archive is in.
#[derive(Clone, Debug)]
struct Log {
    origin: Origin,
    /// Everything that checkpoints have covered.
    tree: Tree,
    /// The last checkpoint's.
    number: u64,
}

/// How a log has ended, for the checkpoints that are trusted.
#[derive(Clone, Debug, Default)]
struct Ended {
    size: u64,
    number: u64,
    /// The roots at the sizes of trusted checkpoints.
    roots: BTreeMap<u64, Hash>,
}

/// Checks an archive line by line.
#[derive(Clone, Debug)]
pub struct Archive {
    options: Options,
    chains: Chains,
    n_lines: u64,
    log: Option<Log>,
    block: Vec<Entry>,
    /// What is wrong in the block, as far as one record shows it by itself.
    pending: Option<Finding>,
    /// Withheld records that no deletion has accounted for.
    n_unclaimed: u64,
    ended: BTreeMap<Origin, Ended>,
    report: Report,
}

/// Checks an archive that is in memory.
#[must_use]
pub fn verify(archive: &[u8], options: Options) -> Report {
    let mut verifier = Archive::new(options);
    let mut rest = archive;
    while let Some(at) = rest.iter().position(|it| *it == b'\n') {
        verifier.line(&rest[..at]);
        rest = &rest[at + 1..];
    }
    verifier.finish(!rest.is_empty())
}

impl Archive {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let chains = Chains::new(options.beginning);
        Self {
            options,
            chains,
            n_lines: 0,
            log: None,
            block: Vec::new(),
            pending: None,
            n_unclaimed: 0,
            ended: BTreeMap::new(),
            report: Report::default(),
        }
    }

    /// Takes the next line, without the line break. After the first finding nothing is looked at any more.
    pub fn line(&mut self, line: &[u8]) {
        self.n_lines += 1;
        if self.report.finding.is_some() {
            return;
        }
        let done = match lines::parse(line) {
            Line::Record => {
                self.record(line);
                Ok(())
            }
            Line::Checkpoint(it) => self.checkpoint(&it),
            Line::Withheld(leaf) => {
                self.withheld(leaf);
                Ok(())
            }
            Line::Start(start) => self.start(start),
            Line::Damaged(what) => Err(self.here(Wrong::Edited, what)),
        };
        if let Err(finding) = done {
            // What is wrong further up comes first.
            let first = self.pending.take().filter(|it| it.line <= finding.line);
            self.report.finding = Some(first.unwrap_or(finding));
        }
    }

    fn here(&self, wrong: Wrong, detail: impl Into<String>) -> Finding {
        Finding::new(wrong, self.n_lines, detail)
    }

    fn record(&mut self, line: &[u8]) {
        self.report.n_records += 1;
        let place = match Record::parse(line) {
            Ok(record) => {
                self.chain(&record);
                Some(((&*record.subject).into(), record.sequence))
            }
            Err(error) => {
                let place = lines::glimpse(line);
                let mut finding = self.here(Wrong::Edited, error.to_string());
                if let Some((workflow, sequence)) = &place {
                    finding = finding.of(workflow, *sequence);
                }
                self.suspect(finding);
                place
            }
        };
        self.block.push(Entry {
            line: self.n_lines,
            leaf: Hash::of_leaf(line),
            place,
        });
    }

    /// Notes what a record shows to be wrong, if it is the first such thing.
    fn suspect(&mut self, finding: Finding) {
        self.pending.get_or_insert(finding);
    }

    fn chain(&mut self, record: &Record<'_>) {
        let (subject, sequence) = (&*record.subject, record.sequence);
        if self.expected_tenant().is_some_and(|it| it != record.tenant) {
            let detail = format!("it belongs to the tenant {}", record.tenant);
            self.suspect(self.here(Wrong::OtherLog, detail).of(subject, sequence));
            return;
        }
        if let Some(it) = &mut self.pending
            && it.wrong == Wrong::Missing
            && (it.workflow.as_deref(), it.sequence) == (Some(subject), Some(sequence))
        {
            it.wrong = Wrong::OutOfOrder;
            it.detail = format!("the record comes later, in line {}", self.n_lines);
        }
        let error = match self.chains.take(record) {
            Ok(()) => return,
            Err(error) => error,
        };
        let (wrong, at) = match error {
            ChainError::Gap { expected } => {
                let n_missing = self.chains.jump(record);
                if record.kind == DELETED && n_missing <= self.n_unclaimed {
                    self.n_unclaimed -= n_missing;
                    return;
                }
                (Wrong::Missing, expected)
            }
            ChainError::Repeated | ChainError::Replaced { .. } => (Wrong::Inserted, sequence),
            ChainError::Unlinked => (Wrong::Edited, sequence),
            ChainError::Earlier => (Wrong::OutOfOrder, sequence),
            ChainError::OtherTenant => (Wrong::OtherLog, sequence),
        };
        self.suspect(self.here(wrong, error.to_string()).of(subject, at));
    }

    fn expected_tenant(&self) -> Option<&str> {
        let of_log = self.log.as_ref().map(|it| it.origin.tenant.as_str());
        of_log.or(self.options.tenant.as_deref())
    }

    fn withheld(&mut self, leaf: Hash) {
        self.report.n_withheld += 1;
        self.n_unclaimed += 1;
        if self.options.withheld == Withheld::Refused {
            let detail =
                "only the hash of the record is here; accept that if workflows were deleted";
            self.suspect(self.here(Wrong::Missing, detail));
        }
        self.block.push(Entry {
            line: self.n_lines,
            leaf,
            place: None,
        });
    }

    fn start(&mut self, start: ArchiveStart) -> Result<(), Finding> {
        if self.n_lines != 1 || self.options.beginning == Beginning::Complete {
            let detail = "the archive does not begin with the log; say that a part is enough";
            return Err(self.here(Wrong::Missing, detail));
        }
        let Some((origin, tree)) = start.open() else {
            return Err(self.here(Wrong::Edited, "what the archive goes on from is damaged"));
        };
        self.check_tenant(&origin)?;
        self.log = Some(Log {
            origin,
            tree,
            number: start.number,
        });
        Ok(())
    }

    fn check_tenant(&self, origin: &Origin) -> Result<(), Finding> {
        match self.expected_tenant() {
            Some(expected) if expected != origin.tenant => {
                Err(self.here(Wrong::OtherLog, format!("this is a checkpoint of {origin}")))
            }
            _ => Ok(()),
        }
    }

    fn checkpoint(&mut self, line: &CheckpointLine) -> Result<(), Finding> {
        let signed = Checkpoint::open(&line.note, &mut self.options.ring)
            .map_err(|error| self.here(wrong_of(&error), error.to_string()))?;
        let checkpoint = signed.checkpoint;
        self.check_tenant(&checkpoint.origin)?;
        let (tree, number) = self.before(&checkpoint)?;
        let block = Block {
            entries: &self.block,
            pending: self.pending.as_ref(),
            line: self.n_lines,
        };
        let after = block.covered_by(&tree, &checkpoint, line.leaves.as_deref())?;
        if let Some(finding) = self.pending.take() {
            return Err(finding);
        }
        if checkpoint.number != number + 1 {
            let detail = format!("checkpoint {} is missing before it", number + 1);
            return Err(self.here(Wrong::Missing, detail));
        }
        self.note_roots(&checkpoint.origin, &tree);
        self.block.clear();
        self.report.n_checkpoints += 1;
        let origin = checkpoint.origin.clone();
        self.cover(checkpoint, signed.key);
        let number = number + 1;
        self.ended.entry(origin.clone()).or_default().number = number;
        self.log = Some(Log {
            origin,
            tree: after,
            number,
        });
        Ok(())
    }

    /// The tree and the number that a checkpoint goes on from.
    fn before(&self, checkpoint: &Checkpoint) -> Result<(Tree, u64), Finding> {
        let Some(log) = &self.log else {
            return Ok((Tree::default(), 0));
        };
        let incarnation = checkpoint.origin.incarnation;
        if log.origin.incarnation < incarnation {
            return Ok((Tree::default(), 0));
        }
        if incarnation < log.origin.incarnation || checkpoint.number <= log.number {
            let detail = format!("checkpoint {} belongs further up", checkpoint.number);
            return Err(self.here(Wrong::OutOfOrder, detail));
        }
        Ok((log.tree.clone(), log.number))
    }

    /// Notes the roots of the log at the sizes of trusted checkpoints, up to the end of the block.
    fn note_roots(&mut self, origin: &Origin, before: &Tree) {
        let ended = self.ended.entry(origin.clone()).or_default();
        let trusted = self
            .options
            .trusted
            .iter()
            .filter(|it| it.origin == *origin);
        let sizes: Vec<u64> = trusted.map(|it| it.size).collect();
        let mut tree = before.clone();
        let mut note = |tree: &Tree| {
            if sizes.contains(&tree.size()) {
                ended.roots.insert(tree.size(), tree.root());
            }
        };
        note(&tree);
        for entry in &self.block {
            tree.push(entry.leaf);
            note(&tree);
        }
        ended.size = tree.size();
    }

    fn cover(&mut self, checkpoint: Checkpoint, key: String) {
        let Checkpoint {
            origin,
            size,
            root,
            number,
            at_ms,
            ..
        } = checkpoint;
        self.report
            .covered
            .retain(|it| it.incarnation != origin.incarnation);
        self.report.covered.push(Covered {
            tenant: origin.tenant,
            incarnation: origin.incarnation,
            size,
            root: hex::encode(root.0),
            number,
            at_ms,
            key,
            is_trusted: false,
        });
    }

    /// Ends the archive; `is_cut` when its last line has no line break.
    #[must_use]
    pub fn finish(mut self, is_cut: bool) -> Report {
        self.report.n_workflows = self.chains.n_subjects() as u64;
        if self.report.finding.is_some() {
            return self.report;
        }
        self.report.n_uncovered = self.block.len() as u64;
        let ends_with_checkpoint = self.block.is_empty() && !is_cut && self.log.is_some();
        if is_cut {
            self.n_lines += 1;
            self.suspect(self.here(Wrong::Truncated, "the last line is not whole"));
        }
        if self.pending.is_none() {
            if let Some(log) = self.log.take() {
                self.note_roots(&log.origin, &log.tree);
            }
            self.pending = self.compare_trusted(ends_with_checkpoint);
        }
        if self.options.beginning == Beginning::Complete && 0 < self.n_unclaimed {
            let detail = format!(
                "{} withheld records are of no workflow that was deleted",
                self.n_unclaimed
            );
            self.suspect(self.here(Wrong::Missing, detail));
        }
        if 0 < self.report.n_uncovered && self.report.n_checkpoints == 0 {
            self.suspect(self.here(
                Wrong::Missing,
                "there is no checkpoint: nobody vouches for this",
            ));
        }
        self.report.finding = self.pending;
        self.report
    }

    fn compare_trusted(&mut self, ends_with_checkpoint: bool) -> Option<Finding> {
        let trusted = self.options.trusted.clone();
        for it in trusted {
            let (origin, size) = (&it.origin, it.size);
            let none = Ended::default();
            let ended = self.ended.get(origin).unwrap_or(&none);
            if ended.size < size {
                let wrong = if ends_with_checkpoint {
                    Wrong::RolledBack
                } else {
                    Wrong::Truncated
                };
                let detail = format!(
                    "the trusted checkpoint {} of {origin} covers {size} records, and {} are here",
                    it.number, ended.size
                );
                return Some(self.here(wrong, detail).at_leaf(ended.size));
            }
            match ended.roots.get(&size) {
                Some(root) if *root == it.root => {}
                None if self.options.beginning == Beginning::Anywhere => continue,
                _ => {
                    let detail = format!(
                        "the first {size} records are not those of the trusted checkpoint {} of {origin}",
                        it.number
                    );
                    return Some(Finding::new(Wrong::Forked, 1, detail).up_to(self.n_lines));
                }
            }
            if ended.number < it.number {
                let detail = format!("the trusted checkpoint {} is not here", it.number);
                return Some(self.here(Wrong::Missing, detail));
            }
            let mut covered = self.report.covered.iter_mut();
            if let Some(covered) = covered.find(|it| it.incarnation == origin.incarnation) {
                covered.is_trusted = true;
            }
        }
        None
    }
}

/// What a checkpoint that vouches for nothing is found to be.
pub(crate) fn wrong_of(error: &CheckpointError) -> Wrong {
    match error {
        CheckpointError::Note(NoteError::Forged { .. } | NoteError::SecondSuccessor { .. }) => {
            Wrong::ForgedSignature
        }
        CheckpointError::Note(NoteError::UnknownKey { .. }) | CheckpointError::KeyEnded { .. } => {
            Wrong::UnknownKey
        }
        CheckpointError::Note(NoteError::Malformed)
        | CheckpointError::NotACheckpoint
        | CheckpointError::Keys(_) => Wrong::Edited,
    }
}
