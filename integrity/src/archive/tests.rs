use std::time::{Duration, Instant};

use super::*;
use crate::keys::{KEY_NAME, Rotation};
use crate::note::NoteSigner;
use crate::record::tests::line as record_line;
use crate::record::{CHAIN_START, ChainHash};

/// Source: the promise of the release.
const N_EVENTS: usize = 50_000;
const N_TAMPERINGS: usize = 1_000;
const VERIFIED_WITHIN: Duration = Duration::from_secs(5);
const N_WORKFLOWS: usize = 2_000;
const EVENTS_A_CHECKPOINT: usize = 1_000;

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KEY_NAME, &[seed; 32])
}

fn ring() -> KeyRing {
    KeyRing::of(signer(1).verifier().clone())
}

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % n as u64).unwrap()
    }
}

/// Writes archives as the platform does.
struct Writer {
    origin: Origin,
    tree: Tree,
    number: u64,
    leaves: Vec<Hash>,
    lines: Vec<String>,
    heads: BTreeMap<String, (u64, ChainHash)>,
    rotations: Vec<String>,
    checkpoints: Vec<Checkpoint>,
}

impl Writer {
    fn new(tenant: &str) -> Self {
        Self {
            origin: Origin {
                tenant: tenant.to_owned(),
                incarnation: 1,
            },
            tree: Tree::default(),
            number: 0,
            leaves: Vec::new(),
            lines: Vec::new(),
            heads: BTreeMap::new(),
            rotations: Vec::new(),
            checkpoints: Vec::new(),
        }
    }

    /// The next record of a workflow.
    fn record(&mut self, workflow: &str, what: &str) -> String {
        let head = self.heads.get(workflow);
        let (sequence, previous) = head.map_or((1, CHAIN_START), |it| (it.0 + 1, it.1));
        let place = (self.origin.incarnation, sequence);
        let line = record_line(&self.origin.tenant, workflow, place, previous, what);
        let hash = Record::parse(line.as_bytes()).unwrap().hash;
        self.heads.insert(workflow.to_owned(), (sequence, hash));
        line
    }

    fn add(&mut self, workflow: &str, what: &str) {
        let line = self.record(workflow, what);
        self.push(line);
    }

    fn push(&mut self, line: String) {
        let leaf = Hash::of_leaf(line.as_bytes());
        self.tree.push(leaf);
        self.leaves.push(leaf);
        self.lines.push(line);
    }

    fn checkpoint(&mut self, signer: &NoteSigner) {
        self.number += 1;
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: self.tree.size(),
            root: self.tree.root(),
            number: self.number,
            at_ms: 1_000 * i64::try_from(self.number).unwrap(),
            cursors: "c".repeat(64),
            rotations: std::mem::take(&mut self.rotations),
        };
        let note = checkpoint.sign(signer);
        let leaves = std::mem::take(&mut self.leaves);
        self.lines.push(checkpoint_line(&note, Some(&leaves)));
        self.checkpoints.push(checkpoint);
    }

    fn trusted(&self) -> Vec<Checkpoint> {
        self.checkpoints.last().cloned().into_iter().collect()
    }
}

fn workflow(n: usize) -> String {
    format!("wf_{n:032x}")
}

fn archive_of(n_events: usize, n_workflows: usize) -> Writer {
    let mut chance = Chance(5);
    let mut writer = Writer::new("acme");
    let details = "details ".repeat(40);
    for n in 0..n_events {
        writer.add(
            &workflow(chance.below(n_workflows)),
            &format!("{details}{n}"),
        );
        if (n + 1) % EVENTS_A_CHECKPOINT == 0 || n + 1 == n_events {
            writer.checkpoint(&signer(1));
        }
    }
    writer
}

fn check(lines: &[String], change: impl FnOnce(&mut Options)) -> Report {
    let mut options = Options::of(ring());
    change(&mut options);
    let text = text_of(lines);
    verify(text.as_bytes(), options)
}

fn text_of(lines: &[String]) -> String {
    lines.iter().flat_map(|it| [it.as_str(), "\n"]).collect()
}

/// The first finding of an archive that somebody has changed.
#[track_caller]
fn found(lines: &[String]) -> Finding {
    check(lines, |_| {}).finding.expect("it was changed")
}

/// What somebody does to an archive who may write to it but cannot sign.
#[expect(
    clippy::too_many_lines,
    reason = "a table: one arm for each kind of tampering"
)]
fn tamper(
    writer: &Writer,
    chance: &mut Chance,
    kind: usize,
) -> (Vec<String>, bool, usize, Vec<Wrong>) {
    let mut lines = writer.lines.clone();
    let is_record = |lines: &[String], at: usize| lines[at].starts_with("{\"specversion\"");
    let mut at = chance.below(lines.len());
    while !is_record(&lines, at) {
        at = chance.below(lines.len());
    }
    let checkpoint = (at..lines.len())
        .find(|it| !is_record(&lines, *it))
        .unwrap();
    let mut is_cut = false;
    let (line, wrong) = match kind {
        // A byte is edited.
        0 => {
            let mut bytes = lines[at].clone().into_bytes();
            let byte = chance.below(bytes.len());
            bytes[byte] = if bytes[byte] == b'x' { b'y' } else { b'x' };
            lines[at] = String::from_utf8(bytes).unwrap();
            (at, vec![Wrong::Edited, Wrong::Inserted])
        }
        // Edited, hashed anew, and every later record of the workflow chained anew.
        1 | 2 => {
            chain_anew(&mut lines, at, |it| it.replace("details", "DETAILS"));
            if kind == 2 {
                // The list of leaves is written anew too; only the signature is out of reach.
                list_anew(&mut lines);
                let block = (0..at)
                    .rev()
                    .find(|it| !is_record(&lines, *it))
                    .map_or(0, |it| it + 1);
                (block, vec![Wrong::Edited])
            } else {
                (at, vec![Wrong::Edited])
            }
        }
        3 => {
            lines.remove(at);
            (at, vec![Wrong::Missing])
        }
        4 => {
            let other = chance.below(lines.len());
            let copy = lines[other].clone();
            lines.insert(at, copy);
            // A checkpoint that stands where another one does is out of order.
            (
                at,
                vec![
                    Wrong::Inserted,
                    Wrong::OutOfOrder,
                    Wrong::Edited,
                    Wrong::Missing,
                ],
            )
        }
        5 => {
            let mut forger = Writer::new("acme");
            lines.insert(
                at,
                forger.record(&workflow(N_WORKFLOWS + 1), "never happened"),
            );
            (at, vec![Wrong::Inserted])
        }
        6 => {
            let mut other = chance.below(lines.len());
            while other == at || !is_record(&lines, other) {
                other = chance.below(lines.len());
            }
            lines.swap(at, other);
            (
                at.min(other),
                vec![Wrong::OutOfOrder, Wrong::Edited, Wrong::Missing],
            )
        }
        // Cut in a record, or behind one.
        7 => {
            is_cut = chance.below(2) == 0;
            lines.truncate(at + 1);
            if is_cut {
                let half = lines[at].len() / 2;
                lines[at].truncate(half);
            }
            (at, vec![Wrong::Truncated])
        }
        8 => {
            let checkpoint = checkpoint.min(lines.len() - 2);
            let last = (0..=checkpoint)
                .rev()
                .find(|it| !is_record(&lines, *it))
                .unwrap_or(0);
            lines.truncate(if last == 0 { 0 } else { last + 1 });
            (
                lines.len().saturating_sub(1),
                vec![Wrong::RolledBack, Wrong::Truncated],
            )
        }
        // Somebody else's signature under the same name, and one that is not over this text.
        9 => {
            let note = note_of(&lines[checkpoint]);
            let (forged, _) = Checkpoint::parse_unverified(&note).unwrap();
            lines[checkpoint] = checkpoint_line(&forged.sign(&signer(9)), None);
            (checkpoint, vec![Wrong::UnknownKey])
        }
        _ => {
            let note = note_of(&lines[checkpoint]).replacen("time ", "time 1", 1);
            lines[checkpoint] = checkpoint_line(&note, None);
            (checkpoint, vec![Wrong::ForgedSignature])
        }
    };
    (lines, is_cut, line, wrong)
}

const N_KINDS: usize = 11;

fn note_of(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    value["checkpoint"].as_str().unwrap().to_owned()
}

fn chain_anew(lines: &mut [String], at: usize, edit: impl Fn(&str) -> String) {
    let edited = edit(&lines[at]);
    let subject = Record::parse(lines[at].as_bytes())
        .unwrap()
        .subject
        .into_owned();
    let mut previous: Option<ChainHash> = None;
    let mark = format!("\"subject\":\"{subject}\"");
    for line in &mut lines[at..] {
        if !line.contains(&mark) {
            continue;
        }
        let text = if previous.is_none() {
            edited.clone()
        } else {
            line.clone()
        };
        let (hashed, _) = text.rsplit_once(",\"hash\"").unwrap();
        let (before, link) = hashed.rsplit_once("\"previousHash\":\"").unwrap();
        let link = previous.map_or(link.to_owned(), |it| format!("{}\"", hex::encode(it)));
        *line = crate::record::tests::closed(&format!("{before}\"previousHash\":\"{link}"));
        previous = Some(Record::parse(line.as_bytes()).unwrap().hash);
    }
}

fn list_anew(lines: &mut [String]) {
    let mut leaves = Vec::new();
    for line in lines {
        if line.starts_with("{\"specversion\"") {
            leaves.push(Hash::of_leaf(line.as_bytes()));
        } else {
            *line = checkpoint_line(&note_of(line), Some(&leaves));
            leaves.clear();
        }
    }
}

/// The verifier of the untouched archive after each of its checkpoints, so that a thousand tamperings
/// need not read the same beginning a thousand times.
fn snapshots(writer: &Writer) -> Vec<(usize, Archive)> {
    let mut options = Options::of(ring());
    options.trusted = writer.trusted();
    let mut verifier = Archive::new(options);
    let mut snapshots = vec![(0, verifier.clone())];
    for (at, line) in writer.lines.iter().enumerate() {
        verifier.line(line.as_bytes());
        if line.starts_with("{\"checkpoint\"") {
            snapshots.push((at + 1, verifier.clone()));
        }
    }
    snapshots
}

fn go_on(from: &[(usize, Archive)], n_same: usize, lines: &[String], is_cut: bool) -> Report {
    let (at, verifier) = from.iter().rev().find(|(at, _)| *at <= n_same).unwrap();
    let mut verifier = verifier.clone();
    let n_whole = lines.len() - usize::from(is_cut);
    for line in &lines[*at..n_whole] {
        verifier.line(line.as_bytes());
        if verifier.report.finding.is_some() {
            break;
        }
    }
    verifier.finish(is_cut)
}

#[test]
fn a_thousand_tamperings_are_all_found_and_their_place_is_named() {
    let writer = archive_of(N_EVENTS, N_WORKFLOWS);
    let text = text_of(&writer.lines);
    let mut options = Options::of(ring());
    options.trusted = writer.trusted();
    let begun = Instant::now();
    let clean = verify(text.as_bytes(), options.clone());
    let took = begun.elapsed();
    assert_eq!(clean.finding, None);
    assert_eq!(
        (clean.n_records, clean.n_checkpoints, clean.n_uncovered),
        (50_000, 50, 0)
    );
    assert!(clean.covered[0].is_trusted);
    assert!(took <= VERIFIED_WITHIN, "{took:?}");
    println!(
        "verified {N_EVENTS} records, {} bytes, in {took:?}",
        text.len()
    );

    let snapshots = snapshots(&writer);
    let mut chance = Chance(20);
    for n in 0..N_TAMPERINGS {
        let kind = n % N_KINDS;
        let (lines, is_cut, line, wrong) = tamper(&writer, &mut chance, kind);
        let report = go_on(&snapshots, line, &lines, is_cut);
        let finding = report
            .finding
            .unwrap_or_else(|| panic!("tampering {n} of kind {kind} at {line}"));
        assert!(
            wrong.contains(&finding.wrong),
            "{n}, kind {kind}: {finding}"
        );
        assert_eq!(
            finding.line,
            line as u64 + u64::from(!lines.is_empty()),
            "{n}, kind {kind}: {finding}"
        );
    }
}

/// The same without anything that was kept of an earlier reading.
#[test]
fn tamperings_of_a_small_archive_are_found_by_a_reader_from_the_beginning() {
    let mut chance = Chance(7);
    for n in 0..N_KINDS * 30 {
        let writer = archive_of(40 + n % 7, 5);
        let kind = n % N_KINDS;
        if kind == 8 {
            // It has one checkpoint, so there is no earlier one to roll back to.
            continue;
        }
        let (lines, is_cut, line, wrong) = tamper(&writer, &mut chance, kind);
        let mut text = text_of(&lines);
        if is_cut {
            text.pop();
        }
        let mut options = Options::of(ring());
        options.trusted = writer.trusted();
        let finding = verify(text.as_bytes(), options)
            .finding
            .expect("it was changed");
        assert!(
            wrong.contains(&finding.wrong),
            "{n}, kind {kind}: {finding}"
        );
        assert_eq!(finding.line, line as u64 + 1, "{n}, kind {kind}: {finding}");
    }
}

#[test]
fn an_archive_is_complete_to_its_last_checkpoint_and_what_follows_is_counted() {
    let mut writer = archive_of(2_500, 10);
    writer.add(&workflow(3), "not covered yet");
    let report = check(&writer.lines, |_| {});
    assert_eq!(report.finding, None);
    assert_eq!((report.n_records, report.n_uncovered), (2_501, 1));
    let covered = &report.covered[0];
    assert_eq!(
        (covered.size, covered.number, covered.at_ms),
        (2_500, 3, 3_000)
    );
    assert!(!covered.is_trusted);
}

#[test]
fn a_roll_back_is_only_seen_by_who_kept_a_checkpoint() {
    let writer = archive_of(3_000, 10);
    let cut = &writer.lines[..2_002];
    assert_eq!(check(cut, |_| {}).finding, None);
    let kept = |it: &mut Options| it.trusted = writer.trusted();
    let finding = check(cut, kept).finding.unwrap();
    assert_eq!(
        (finding.wrong, finding.leaf),
        (Wrong::RolledBack, Some(2_000))
    );
    let kept = |it: &mut Options| it.trusted = writer.trusted();
    let finding = check(&writer.lines[..2_500], kept).finding.unwrap();
    assert_eq!(finding.wrong, Wrong::Truncated);
    // What was kept earlier is in what came later.
    let kept = |it: &mut Options| it.trusted = writer.checkpoints[..1].to_vec();
    assert_eq!(check(&writer.lines, kept).finding, None);
}

#[test]
fn another_past_is_found_by_who_kept_a_checkpoint_even_if_it_is_signed() {
    let (mut one, mut two) = (Writer::new("acme"), Writer::new("acme"));
    for (writer, what) in [(&mut one, "told"), (&mut two, "rewritten")] {
        for n in 0..20 {
            writer.add(&workflow(n % 3), what);
        }
        writer.checkpoint(&signer(1));
    }
    assert_eq!(check(&two.lines, |_| {}).finding, None);
    let finding = check(&two.lines, |it| it.trusted = one.trusted())
        .finding
        .unwrap();
    assert_eq!((finding.wrong, finding.line), (Wrong::Forked, 1));
}

#[test]
fn records_and_checkpoints_of_another_tenant_are_refused() {
    let (mut ours, mut theirs) = (Writer::new("acme"), Writer::new("other"));
    for n in 0..10 {
        ours.add(&workflow(n), "ours");
        theirs.add(&workflow(100 + n), "theirs");
    }
    ours.checkpoint(&signer(1));
    theirs.checkpoint(&signer(1));
    // Their checkpoint over our records; their record among ours; all of theirs in the place of ours.
    let mut lines = ours.lines.clone();
    lines[10] = theirs.lines[10].clone();
    assert_eq!(found(&lines).line, 1);
    let mut lines = ours.lines.clone();
    lines.insert(11, theirs.lines[0].clone());
    assert_eq!(found(&lines).wrong, Wrong::OtherLog);
    let finding = check(&theirs.lines, |it| it.tenant = Some("acme".to_owned()))
        .finding
        .unwrap();
    assert_eq!((finding.wrong, finding.line), (Wrong::OtherLog, 1));
}

#[test]
fn a_record_that_was_moved_to_another_workflow_is_found() {
    let mut writer = Writer::new("acme");
    for n in 0..10 {
        writer.add(&workflow(n % 2), "same");
    }
    writer.checkpoint(&signer(1));
    let mut lines = writer.lines.clone();
    let moved = lines[9]
        .replace(&workflow(1), &workflow(0))
        .replace(".5.", ".6.");
    let moved = moved.replace("\"sequence\":\"5\"", "\"sequence\":\"6\"");
    let (hashed, _) = moved.rsplit_once(",\"hash\"").unwrap();
    lines[9] = crate::record::tests::closed(hashed);
    let finding = found(&lines);
    assert_eq!((finding.wrong, finding.line), (Wrong::Edited, 10));
}

#[test]
fn a_node_of_the_tree_is_no_record() {
    let mut writer = Writer::new("acme");
    writer.add(&workflow(1), "one");
    writer.add(&workflow(2), "two");
    writer.checkpoint(&signer(1));
    // One leaf whose bytes are the two children would give the same root if leaves were not marked.
    let node = Hash::joined(&[
        Hash::of_leaf(writer.lines[0].as_bytes()),
        Hash::of_leaf(writer.lines[1].as_bytes()),
    ]);
    let mut text = node;
    text.push(b'\n');
    text.extend_from_slice(format!("{}\n", writer.lines[2]).as_bytes());
    let report = verify(&text, Options::of(ring()));
    assert_eq!(report.finding.unwrap().line, 1);
}

#[test]
fn keys_change_within_an_archive() {
    let mut writer = Writer::new("acme");
    writer.add(&workflow(1), "before");
    writer.checkpoint(&signer(1));
    writer.rotations = vec![Rotation::sign(&signer(1), &signer(2), 1_500)];
    writer.add(&workflow(1), "after");
    writer.checkpoint(&signer(2));
    writer.add(&workflow(1), "later");
    writer.checkpoint(&signer(2));
    for seed in [1, 2] {
        let ring = KeyRing::of(signer(seed).verifier().clone());
        let report = check(&writer.lines, |it| it.ring = ring);
        // Who trusts the new key only cannot read what was signed before it was introduced.
        match seed {
            1 => assert_eq!(report.finding, None),
            _ => assert_eq!(report.finding.unwrap().wrong, Wrong::UnknownKey),
        }
    }
    writer.add(&workflow(1), "by the old key");
    writer.checkpoint(&signer(1));
    let finding = found(&writer.lines);
    assert_eq!((finding.wrong, finding.line), (Wrong::UnknownKey, 8));
}

#[test]
fn a_restored_database_begins_another_log() {
    let mut writer = Writer::new("acme");
    writer.add(&workflow(1), "one");
    let head = writer.heads.clone();
    writer.add(&workflow(1), "lost");
    writer.checkpoint(&signer(1));
    writer.heads = head;
    writer.origin.incarnation = 2;
    (writer.tree, writer.number) = (Tree::default(), 0);
    writer.add(&workflow(1), "instead");
    writer.checkpoint(&signer(1));
    let report = check(&writer.lines, |_| {});
    assert_eq!(report.finding, None);
    let sizes: Vec<u64> = report.covered.iter().map(|it| it.size).collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn a_checkpoint_line_that_was_taken_out_is_missed() {
    let writer = archive_of(3_000, 10);
    let mut lines = writer.lines.clone();
    lines.remove(1_000);
    let finding = found(&lines);
    assert_eq!((finding.wrong, finding.line), (Wrong::Missing, 2_001));
    // The last one is missed by who kept it.
    let cut = &writer.lines[..3_002];
    let finding = check(cut, |it| it.trusted = writer.trusted())
        .finding
        .unwrap();
    assert_eq!(finding.wrong, Wrong::Missing);
    assert!(
        check(&writer.lines[..900], |_| {}).finding.is_some(),
        "nobody vouches for that"
    );
}

#[test]
fn lines_that_mean_the_same_and_are_spelt_otherwise_are_edited() {
    let writer = archive_of(10, 3);
    for (from, to) in [
        ("{\"checkpoint\":", "{\"checkpoint\": "),
        ("\"leaves\":", "\"leav\\u0065s\":"),
        ("{\"checkpoint\":", "{\"checkpoint\":\"\",\"checkpoint\":"),
        ("\"leaves\":\"", "\"leaves\":\"AAAA"),
        ("\"leaves\":", "\"more\":1,\"leaves\":"),
    ] {
        let mut lines = writer.lines.clone();
        lines[10] = lines[10].replacen(from, to, 1);
        assert_eq!(
            (found(&lines).wrong, found(&lines).line),
            (Wrong::Edited, 11),
            "{from}"
        );
    }
    for other in ["", " ", "{}", "null"] {
        let mut lines = writer.lines.clone();
        lines.insert(4, other.to_owned());
        assert_eq!(found(&lines).line, 5, "{other:?}");
        lines[4] = format!("{}\r", writer.lines[4]);
        assert_eq!(found(&lines).line, 5);
    }
}

#[test]
fn an_empty_archive_and_an_empty_log_are_good_but_vouch_for_nothing() {
    assert_eq!(check(&[], |_| {}).finding, None);
    let mut writer = Writer::new("acme");
    writer.checkpoint(&signer(1));
    let report = check(&writer.lines, |it| it.trusted = writer.trusted());
    assert_eq!((report.finding, report.covered[0].size), (None, 0));
    writer.add(&workflow(1), "one");
    writer.checkpoint(&signer(1));
    assert_eq!(
        check(&writer.lines, |it| it.trusted = writer.trusted()).finding,
        None
    );
    let finding = check(&[], |it| it.trusted = writer.trusted())
        .finding
        .unwrap();
    assert_eq!(finding.wrong, Wrong::Truncated);
}

#[test]
fn records_of_a_deleted_workflow_are_withheld_and_still_counted_in_the_tree() {
    let mut writer = Writer::new("acme");
    for n in 0..6 {
        writer.add(&workflow(n % 2), "event");
    }
    let deleted = writer
        .record(&workflow(0), "gone")
        .replace("workflow.changed", "workflow.deleted");
    let (hashed, _) = deleted.rsplit_once(",\"hash\"").unwrap();
    writer.push(crate::record::tests::closed(hashed));
    writer.checkpoint(&signer(1));
    let mut lines = writer.lines.clone();
    for at in [0, 2, 4] {
        lines[at] = withheld_line(&Hash::of_leaf(lines[at].as_bytes()));
    }
    assert_eq!(
        (found(&lines).wrong, found(&lines).line),
        (Wrong::Missing, 1)
    );
    let accepted = |it: &mut Options| it.withheld = Withheld::Accepted;
    let report = check(&lines, accepted);
    assert_eq!((report.finding, report.n_withheld), (None, 3));
    // What nobody has deleted cannot be hidden so.
    for at in [1, 5] {
        let mut hidden = lines.clone();
        hidden[at] = withheld_line(&Hash::of_leaf(lines[at].as_bytes()));
        let finding = check(&hidden, accepted).finding.unwrap();
        assert_eq!(finding.wrong, Wrong::Missing, "{at}");
    }
}

#[test]
fn a_part_of_a_log_is_checked_from_what_it_goes_on_from() {
    let writer = archive_of(2_000, 10);
    let mut tree = Tree::default();
    writer.lines[..1_000]
        .iter()
        .for_each(|it| tree.push(Hash::of_leaf(it.as_bytes())));
    let start = ArchiveStart::of(&writer.origin, &tree, 1);
    let mut lines = vec![start.line()];
    lines.extend_from_slice(&writer.lines[1_001..]);
    assert_eq!(found(&lines).wrong, Wrong::Missing);
    let partly = |it: &mut Options| it.beginning = Beginning::Anywhere;
    let report = check(&lines, partly);
    assert_eq!((report.finding, report.covered[0].size), (None, 2_000));
    let other = Tree::from_peaks(1_000, vec![Hash([1; 32]); tree.peaks().len()]).unwrap();
    lines[0] = ArchiveStart::of(&writer.origin, &other, 1).line();
    assert!(check(&lines, partly).finding.is_some());
}
