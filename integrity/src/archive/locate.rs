//! Whether a checkpoint covers the block before it, and if not, which line is wrong.

use std::collections::HashSet;

use super::Entry;
use crate::checkpoint::Checkpoint;
use crate::finding::{Finding, Wrong};
use crate::tree::{Hash, Tree};

/// The records since the checkpoint before.
pub struct Block<'b> {
    pub entries: &'b [Entry],
    /// What one of them has shown to be wrong by itself.
    pub pending: Option<&'b Finding>,
    /// Line of the checkpoint.
    pub line: u64,
}

impl Block<'_> {
    /// The tree after the block, if it is the one that was signed.
    pub fn covered_by(
        &self,
        before: &Tree,
        signed: &Checkpoint,
        leaves: Option<&[Hash]>,
    ) -> Result<Tree, Finding> {
        let after = grown(before, self.entries.iter().map(|it| it.leaf));
        if after.size() != signed.size || after.root() != signed.root {
            return Err(self.locate(before, signed, leaves));
        }
        let Some(leaves) = leaves else {
            return Ok(after);
        };
        // The list may begin earlier where a checkpoint line was taken out, which its number tells.
        let mut ours = self.entries.iter().rev().map(|it| it.leaf);
        let is_same = leaves.iter().rev().all(|it| ours.next() == Some(*it));
        if !is_same {
            let detail = "its list of leaves is not that of the records before it";
            return Err(Finding::new(Wrong::Edited, self.line, detail));
        }
        Ok(after)
    }

    fn locate(&self, before: &Tree, signed: &Checkpoint, leaves: Option<&[Hash]>) -> Finding {
        let exact = leaves.and_then(|it| self.compare(before, signed, it));
        match (exact, self.pending) {
            (Some(exact), Some(pending)) if exact.line <= pending.line => named(exact, pending),
            (_, Some(pending)) => pending.clone(),
            (Some(exact), None) => exact,
            (None, None) => self.somewhere(before, signed),
        }
    }

    /// Compares the block with the list of its leaves, if that list is what was signed.
    fn compare(&self, before: &Tree, signed: &Checkpoint, leaves: &[Hash]) -> Option<Finding> {
        let from = signed.size.checked_sub(leaves.len() as u64)?;
        let n_unlisted = usize::try_from(from.checked_sub(before.size())?).ok()?;
        let (unlisted, entries) = self.entries.split_at_checked(n_unlisted)?;
        let listed = unlisted
            .iter()
            .map(|it| it.leaf)
            .chain(leaves.iter().copied());
        if grown(before, listed).root() != signed.root {
            return None;
        }
        let at = entries
            .iter()
            .zip(leaves)
            .take_while(|(entry, leaf)| entry.leaf == **leaf)
            .count();
        let index = from + at as u64;
        let Some(entry) = entries.get(at) else {
            let detail = "records before the checkpoint are missing";
            return Some(Finding::new(Wrong::Missing, self.line, detail).at_leaf(index));
        };
        let here: HashSet<Hash> = entries[at..].iter().map(|it| it.leaf).collect();
        let is_listed_later = leaves
            .get(at + 1..)
            .is_some_and(|it| it.contains(&entry.leaf));
        let comes_later = leaves.get(at).is_some_and(|it| here.contains(it));
        let (wrong, detail) = match (is_listed_later, comes_later) {
            (true, true) => (Wrong::OutOfOrder, "the log has it further down"),
            (true, false) => (Wrong::Missing, "the record before this line is missing"),
            (false, true) => (Wrong::Inserted, "the log has no such record here"),
            (false, false) => (Wrong::Edited, "the log has another record here"),
        };
        let finding = Finding::new(wrong, entry.line, detail).at_leaf(index);
        Some(match &entry.place {
            Some((workflow, sequence)) if wrong != Wrong::Missing => {
                finding.of(workflow, *sequence)
            }
            _ => finding,
        })
    }

    /// What can be said when nothing says which line it is.
    fn somewhere(&self, before: &Tree, signed: &Checkpoint) -> Finding {
        let n_signed = signed.size.saturating_sub(before.size());
        let n_here = self.entries.len() as u64;
        let first = self.entries.first().map_or(self.line, |it| it.line);
        if signed.size < before.size() {
            let detail = "the checkpoint covers less than the one before it";
            return Finding::new(Wrong::Forked, self.line, detail);
        }
        let wrong = match n_here.cmp(&n_signed) {
            std::cmp::Ordering::Less => Wrong::Missing,
            std::cmp::Ordering::Equal => Wrong::Edited,
            std::cmp::Ordering::Greater => Wrong::Inserted,
        };
        let detail = format!(
            "checkpoint {} covers {n_signed} records since the one before, and not these {n_here}",
            signed.number
        );
        let finding = Finding::new(wrong, first, detail).at_leaf(before.size());
        if first < self.line {
            finding.up_to(self.line)
        } else {
            finding
        }
    }
}

fn grown(before: &Tree, leaves: impl Iterator<Item = Hash>) -> Tree {
    let mut tree = before.clone();
    leaves.for_each(|it| tree.push(it));
    tree
}

/// The chain knows which record is missing; the list only that one is.
fn named(exact: Finding, pending: &Finding) -> Finding {
    let knows = exact.wrong == Wrong::Missing && pending.wrong == Wrong::Missing;
    match (&pending.workflow, pending.sequence) {
        (Some(workflow), Some(sequence)) if knows => exact.of(workflow, sequence),
        _ => exact,
    }
}
