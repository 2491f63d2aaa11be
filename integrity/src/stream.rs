//! Checks a raw audit stream: records of all tenants, in order for each workflow, some of them twice.
//!
//! What comes again has to have the same bytes. The events of checkpoints say in which order the records
//! are the leaves of their tenant's log, so that the tree is built again without our database.

use std::collections::{BTreeMap, HashMap};

use crate::archive::{Options, wrong_of};
use crate::chain::{Beginning, ChainError, Chains};
use crate::checkpoint::{Checkpoint, Origin};
use crate::events::{self, CheckpointChunk};
use crate::finding::{Covered, Finding, Report, Wrong};
use crate::record::Record;
use crate::tree::{Hash, Tree};

/// Checks a stream line by line.
#[derive(Debug)]
pub struct Stream {
    options: Options,
    chains: Chains,
    n_lines: u64,
    /// Records that no checkpoint has named yet, by id.
    waiting: HashMap<String, Waiting>,
    logs: BTreeMap<Origin, Log>,
    /// Records of parts of logs whose beginning is not here.
    n_unanchored: u64,
    report: Report,
}

#[derive(Debug)]
struct Waiting {
    leaf: Hash,
    tenant: Box<str>,
}

#[derive(Debug, Default)]
struct Log {
    tree: Tree,
    number: u64,
    /// Checkpoints that are not complete, or whose leaves have not all come, by number.
    told: BTreeMap<u64, Told>,
    roots: BTreeMap<u64, Hash>,
    /// Whether everything since the beginning of the log was seen.
    is_anchored: bool,
}

#[derive(Debug, Default)]
struct Told {
    line: u64,
    note: String,
    n_chunks: u64,
    chunks: BTreeMap<u64, Vec<String>>,
}

/// Checks a stream that is in memory.
#[must_use]
pub fn verify(stream: &[u8], options: Options) -> Report {
    let mut verifier = Stream::new(options);
    let lines = stream.split(|it| *it == b'\n').filter(|it| !it.is_empty());
    lines.for_each(|it| verifier.line(it));
    verifier.finish()
}

impl Stream {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let chains = Chains::new(options.beginning);
        Self {
            options,
            chains,
            n_lines: 0,
            waiting: HashMap::new(),
            logs: BTreeMap::new(),
            n_unanchored: 0,
            report: Report::default(),
        }
    }

    /// Takes the next line. After the first finding nothing is looked at any more.
    pub fn line(&mut self, line: &[u8]) {
        self.n_lines += 1;
        if self.report.finding.is_some() {
            return;
        }
        let taken = match events::parse(line) {
            Some(Some(chunk)) => self.checkpoint(chunk),
            Some(None) => Err(self.here(Wrong::Edited, "it is no event of a checkpoint")),
            None => self.record(line),
        };
        self.report.finding = taken.err();
    }

    fn here(&self, wrong: Wrong, detail: impl Into<String>) -> Finding {
        Finding::new(wrong, self.n_lines, detail)
    }

    fn record(&mut self, line: &[u8]) -> Result<(), Finding> {
        let record = Record::parse(line).map_err(|error| {
            let finding = self.here(Wrong::Edited, error.to_string());
            match crate::archive::glimpse(line) {
                Some((workflow, sequence)) => finding.of(&workflow, sequence),
                None => finding,
            }
        })?;
        if self
            .options
            .tenant
            .as_deref()
            .is_some_and(|it| it != record.tenant)
        {
            return Ok(());
        }
        let (wrong, error) = match self.chains.take(&record) {
            Ok(()) => {
                self.report.n_records += 1;
                let (leaf, tenant) = (Hash::of_leaf(line), (&*record.tenant).into());
                self.waiting
                    .insert(record.id.into_owned(), Waiting { leaf, tenant });
                return Ok(());
            }
            Err(ChainError::Repeated) => {
                self.report.n_repeated += 1;
                return Ok(());
            }
            Err(error @ ChainError::Gap { expected }) => {
                let finding = self.here(Wrong::Missing, error.to_string());
                return Err(finding.of(&record.subject, expected));
            }
            Err(error @ ChainError::Replaced { .. }) => (Wrong::Edited, error),
            Err(error @ ChainError::Unlinked) => (Wrong::Edited, error),
            Err(error @ ChainError::Earlier) => (Wrong::OutOfOrder, error),
            Err(error @ ChainError::OtherTenant) => (Wrong::OtherLog, error),
        };
        Err(self
            .here(wrong, error.to_string())
            .of(&record.subject, record.sequence))
    }

    fn checkpoint(&mut self, chunk: CheckpointChunk) -> Result<(), Finding> {
        if self
            .options
            .tenant
            .as_ref()
            .is_some_and(|it| *it != chunk.tenant)
        {
            return Ok(());
        }
        let origin = Origin {
            tenant: chunk.tenant,
            incarnation: chunk.incarnation,
        };
        let line = self.n_lines;
        let begins_anywhere = self.options.beginning == Beginning::Anywhere;
        let log = self.logs.entry(origin.clone()).or_insert_with(|| Log {
            is_anchored: !begins_anywhere || chunk.number == 1,
            number: if begins_anywhere {
                chunk.number.saturating_sub(1)
            } else {
                0
            },
            ..Log::default()
        });
        if chunk.number <= log.number {
            self.report.n_repeated += 1;
            return Ok(());
        }
        let told = log.told.entry(chunk.number).or_insert_with(|| Told {
            line,
            note: chunk.note.clone(),
            n_chunks: chunk.n_chunks,
            chunks: BTreeMap::new(),
        });
        let is_new = told.note == chunk.note && told.n_chunks == chunk.n_chunks;
        let before = told.chunks.insert(chunk.chunk, chunk.leaves.clone());
        if !is_new || before.as_ref().is_some_and(|it| *it != chunk.leaves) {
            return Err(self.here(Wrong::Edited, "it was told before, and otherwise"));
        }
        self.report.n_repeated += u64::from(before.is_some());
        self.proceed(&origin)
    }

    /// Checks the checkpoints of a log whose leaves have all come, in their order.
    fn proceed(&mut self, origin: &Origin) -> Result<(), Finding> {
        let Some(mut log) = self.logs.remove(origin) else {
            return Ok(());
        };
        let mut done = Ok(());
        while done.is_ok() {
            let Some(told) = log.told.get(&(log.number + 1)) else {
                break;
            };
            let has_all = told.chunks.len() as u64 == told.n_chunks;
            let ids = || told.chunks.values().flatten();
            if !has_all || !ids().all(|it| self.waiting.contains_key(it)) {
                break;
            }
            let told = log
                .told
                .remove(&(log.number + 1))
                .expect("it was there just now");
            done = self.check(origin, &mut log, &told);
        }
        self.logs.insert(origin.clone(), log);
        done
    }

    fn check(&mut self, origin: &Origin, log: &mut Log, told: &Told) -> Result<(), Finding> {
        let found = |wrong, detail: String| Finding::new(wrong, told.line, detail);
        let signed = Checkpoint::open(&told.note, &mut self.options.ring)
            .map_err(|error| found(wrong_of(&error), error.to_string()))?;
        let checkpoint = signed.checkpoint;
        if checkpoint.origin != *origin || checkpoint.number != log.number + 1 {
            let detail = "the note is not the one of this event".to_owned();
            return Err(found(Wrong::OtherLog, detail));
        }
        let trusted = self
            .options
            .trusted
            .iter()
            .filter(|it| it.origin == *origin);
        let sizes: Vec<u64> = trusted.map(|it| it.size).collect();
        let mut note = |tree: &Tree| {
            if sizes.contains(&tree.size()) {
                log.roots.insert(tree.size(), tree.root());
            }
        };
        note(&log.tree);
        for id in told.chunks.values().flatten() {
            let Some(it) = self.waiting.remove(id) else {
                return Err(found(
                    Wrong::Inserted,
                    format!("it names the record {id} twice"),
                ));
            };
            if *it.tenant != *origin.tenant {
                return Err(found(
                    Wrong::OtherLog,
                    format!("the record {id} is another tenant's"),
                ));
            }
            log.tree.push(it.leaf);
            note(&log.tree);
        }
        let is_right = checkpoint.size == log.tree.size() && checkpoint.root == log.tree.root();
        if log.is_anchored && !is_right {
            let detail = format!(
                "the records that checkpoint {} names are not what was signed",
                checkpoint.number
            );
            return Err(found(Wrong::Edited, detail));
        }
        log.number = checkpoint.number;
        self.report.n_checkpoints += 1;
        if !log.is_anchored {
            // What the tree goes on from is not here, so nobody vouches for these.
            self.n_unanchored += told.chunks.values().flatten().count() as u64;
            return Ok(());
        }
        self.report.covered.retain(|it| {
            (it.tenant.as_str(), it.incarnation) != (origin.tenant.as_str(), origin.incarnation)
        });
        self.report.covered.push(Covered {
            tenant: origin.tenant.clone(),
            incarnation: origin.incarnation,
            size: checkpoint.size,
            root: hex::encode(checkpoint.root.0),
            number: checkpoint.number,
            at_ms: checkpoint.at_ms,
            key: signed.key,
            is_trusted: false,
        });
        Ok(())
    }

    /// Ends the stream.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.report.n_workflows = self.chains.n_subjects() as u64;
        if self.report.finding.is_none() {
            let origins: Vec<Origin> = self.logs.keys().cloned().collect();
            let mut ended = Ok(());
            for origin in &origins {
                ended = ended.and_then(|()| self.proceed(origin));
            }
            self.report.finding = ended.err().or_else(|| self.left_over());
        }
        if self.report.finding.is_none() {
            self.report.finding = self.compare_trusted();
        }
        self.report.n_uncovered = self.waiting.len() as u64 + self.n_unanchored;
        if self.report.finding.is_none()
            && self.report.n_checkpoints == 0
            && 0 < self.report.n_records
        {
            let detail = "there is no checkpoint: nobody vouches for this";
            self.report.finding = Some(self.here(Wrong::Missing, detail));
        }
        self.report
    }

    /// A checkpoint whose records or whose predecessor have not come.
    fn left_over(&self) -> Option<Finding> {
        for (origin, log) in &self.logs {
            let Some((number, told)) = log.told.first_key_value() else {
                continue;
            };
            if *number != log.number + 1 {
                let detail = format!("checkpoint {} of {origin} is missing", log.number + 1);
                return Some(Finding::new(Wrong::Missing, told.line, detail));
            }
            let mut ids = told.chunks.values().flatten();
            let missing = ids.find(|it| !self.waiting.contains_key(*it));
            let (Some(id), true) = (missing, log.is_anchored) else {
                let detail = format!("a part of checkpoint {number} of {origin} is missing");
                return Some(Finding::new(Wrong::Missing, told.line, detail));
            };
            let finding = Finding::new(
                Wrong::Missing,
                told.line,
                format!("the record {id} was signed and is missing"),
            );
            let mut parts = id.split('.');
            let workflow = parts.next().unwrap_or_default();
            let sequence = parts.nth(1).and_then(|it| it.parse().ok());
            return Some(match sequence {
                Some(sequence) => finding.of(workflow, sequence),
                None => finding,
            });
        }
        None
    }

    fn compare_trusted(&mut self) -> Option<Finding> {
        for it in &self.options.trusted {
            let none = Log::default();
            let log = self.logs.get(&it.origin).unwrap_or(&none);
            let size = log.tree.size();
            if size < it.size && (log.is_anchored || log.number < it.number) {
                let detail = format!(
                    "the trusted checkpoint {} of {} covers {} records, and {size} are covered here",
                    it.number, it.origin, it.size
                );
                return Some(self.here(Wrong::Truncated, detail).at_leaf(size));
            }
            if !log.is_anchored {
                continue;
            }
            if log.roots.get(&it.size) != Some(&it.root) && 0 < it.size {
                let detail = format!("the first {} records of {} are others", it.size, it.origin);
                return Some(Finding::new(Wrong::Forked, 1, detail).up_to(self.n_lines));
            }
            let mut covered = self.report.covered.iter_mut();
            let found = covered.find(|covered| {
                covered.tenant == it.origin.tenant && covered.incarnation == it.origin.incarnation
            });
            if let Some(covered) = found {
                covered.is_trusted = true;
            }
        }
        None
    }
}
