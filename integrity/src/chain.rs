//! The chain of each workflow: every record names the hash of the one before.

use std::collections::HashMap;

use crate::record::{CHAIN_START, ChainHash, Record};

/// Why a record does not go on with the chain of its workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("sequence {expected} of its workflow is missing before it")]
    Gap { expected: u64 },
    #[error("it is there already")]
    Repeated,
    #[error("sequence {sequence} of its workflow has been there already, and was another")]
    Replaced { sequence: u64 },
    #[error("it names another hash than the record before it has")]
    Unlinked,
    #[error("records of a later life of the database came before it")]
    Earlier,
    #[error("its workflow belongs to another tenant")]
    OtherTenant,
}

/// Which records may come first of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Everything begins with sequence 1.
    Complete,
    /// What came before may be elsewhere.
    Anywhere,
}

/// What is known of every workflow; 32 bytes a record, because a restored past goes on from any of them.
#[derive(Clone, Debug)]
pub struct Chains {
    beginning: Beginning,
    by_subject: HashMap<Box<str>, Chain>,
}

#[derive(Clone, Debug)]
struct Chain {
    tenant: Box<str>,
    incarnation: u64,
    /// Sequence of the first of `hashes`.
    first: u64,
    hashes: Vec<ChainHash>,
}

impl Chain {
    fn next(&self) -> u64 {
        self.first + self.hashes.len() as u64
    }

    /// The hash of the record of a sequence, where it is known.
    fn hash(&self, sequence: u64) -> Option<&ChainHash> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.hashes.get(at)
    }
}

impl Chains {
    #[must_use]
    pub fn new(beginning: Beginning) -> Self {
        Self {
            beginning,
            by_subject: HashMap::new(),
        }
    }

    /// Takes the next record of its workflow.
    ///
    /// # Errors
    ///
    /// [`ChainError`]; nothing has changed.
    pub fn take(&mut self, record: &Record<'_>) -> Result<(), ChainError> {
        let Some(chain) = self.by_subject.get_mut(&*record.subject) else {
            return self.begin(record);
        };
        if *chain.tenant != *record.tenant {
            return Err(ChainError::OtherTenant);
        }
        if record.incarnation < chain.incarnation {
            return Err(ChainError::Earlier);
        }
        let (sequence, next) = (record.sequence, chain.next());
        if next < sequence {
            return Err(ChainError::Gap { expected: next });
        }
        if record.incarnation == chain.incarnation && sequence < next {
            return Err(match chain.hash(sequence) {
                Some(hash) if *hash == record.hash => ChainError::Repeated,
                _ => ChainError::Replaced { sequence },
            });
        }
        // A restored past goes on from wherever its backup was.
        let before = sequence.checked_sub(1).filter(|it| 0 < *it);
        let is_linked = match before {
            None => record.previous == CHAIN_START,
            Some(before) => match chain.hash(before) {
                Some(hash) => record.previous == *hash,
                // Before the first that is known here; only a partial reader gets here.
                None => true,
            },
        };
        if !is_linked {
            return Err(ChainError::Unlinked);
        }
        chain.incarnation = record.incarnation;
        match usize::try_from(sequence.saturating_sub(chain.first)) {
            Ok(n_kept) if chain.first <= sequence => chain.hashes.truncate(n_kept),
            _ => {
                chain.hashes.clear();
                chain.first = sequence;
            }
        }
        chain.hashes.push(record.hash);
        Ok(())
    }

    fn begin(&mut self, record: &Record<'_>) -> Result<(), ChainError> {
        if self.beginning == Beginning::Complete && record.sequence != 1 {
            return Err(ChainError::Gap { expected: 1 });
        }
        if record.sequence == 1 && record.previous != CHAIN_START {
            return Err(ChainError::Unlinked);
        }
        self.jump(record);
        Ok(())
    }

    /// Goes on with a record, whatever came before it; gives how many records are passed over.
    pub fn jump(&mut self, record: &Record<'_>) -> u64 {
        let before = self.by_subject.get(&*record.subject).map_or(1, Chain::next);
        let chain = Chain {
            tenant: (&*record.tenant).into(),
            incarnation: record.incarnation,
            first: record.sequence,
            hashes: vec![record.hash],
        };
        self.by_subject.insert((&*record.subject).into(), chain);
        record.sequence.saturating_sub(before)
    }

    /// Workflows that have records.
    #[must_use]
    pub fn n_subjects(&self) -> usize {
        self.by_subject.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::line;

    /// Takes records of `(incarnation, sequence, what)`, each linked to `after` among those before it.
    fn check(records: &[(u64, u64, &str, Option<usize>)], expected: Result<(), ChainError>) {
        let mut chains = Chains::new(Beginning::Complete);
        let mut hashes = Vec::new();
        let mut taken = Ok(());
        for (incarnation, sequence, what, after) in records {
            let previous = after.map_or(CHAIN_START, |it| hashes[it]);
            let line = line("acme", "wf_1", (*incarnation, *sequence), previous, what);
            let record = Record::parse(line.as_bytes()).unwrap();
            taken = chains.take(&record);
            hashes.push(record.hash);
        }
        assert_eq!(taken, expected);
    }

    #[test]
    fn records_go_on_one_after_the_other() {
        check(
            &[
                (1, 1, "a", None),
                (1, 2, "b", Some(0)),
                (1, 3, "c", Some(1)),
            ],
            Ok(()),
        );
    }

    #[test]
    fn what_does_not_go_on_is_said_by_its_kind() {
        let (a, b) = ((1, 1, "a", None), (1, 2, "b", Some(0)));
        check(&[(1, 2, "b", None)], Err(ChainError::Gap { expected: 1 }));
        check(
            &[a, (1, 3, "c", Some(0))],
            Err(ChainError::Gap { expected: 2 }),
        );
        check(&[a, b, a], Err(ChainError::Repeated));
        check(
            &[a, b, (1, 1, "z", None)],
            Err(ChainError::Replaced { sequence: 1 }),
        );
        check(&[a, (1, 2, "b", None)], Err(ChainError::Unlinked));
        check(
            &[a, (2, 2, "b", Some(0)), (1, 3, "c", Some(1))],
            Err(ChainError::Earlier),
        );
    }

    #[test]
    fn a_restored_past_goes_on_from_where_its_backup_was() {
        let before = [
            (1, 1, "a", None),
            (1, 2, "b", Some(0)),
            (1, 3, "c", Some(1)),
        ];
        check(
            &[before[0], before[1], before[2], (2, 2, "x", Some(0))],
            Ok(()),
        );
        let again = [
            before[0],
            before[1],
            before[2],
            (2, 2, "x", Some(0)),
            (2, 3, "y", Some(3)),
        ];
        check(&again, Ok(()));
        check(
            &[before[0], before[1], before[2], (2, 1, "x", None)],
            Ok(()),
        );
        check(
            &[before[0], before[1], before[2], (2, 3, "x", Some(0))],
            Err(ChainError::Unlinked),
        );
    }

    #[test]
    fn a_workflow_belongs_to_one_tenant() {
        let mut chains = Chains::new(Beginning::Anywhere);
        let first = line("acme", "wf_1", (1, 4), [3; 32], "a");
        let first = Record::parse(first.as_bytes()).unwrap();
        chains.take(&first).unwrap();
        let other = line("other", "wf_1", (1, 5), first.hash, "b");
        let other = Record::parse(other.as_bytes()).unwrap();
        assert_eq!(chains.take(&other), Err(ChainError::OtherTenant));
    }
}
