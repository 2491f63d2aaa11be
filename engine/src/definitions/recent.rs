//! What versions new workflows have just got, so that a start reads no definition.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::definitions::VersionRecord;

/// How long an answer holds, ms.
///
/// Every act of this process takes it back at once; this is for an act whose caller went away, and that
/// the store carried out all the same.
const HOLDS_MS: i64 = 1_000;
/// Most answers kept.
const RECENT_MAX: usize = 1_024;

/// Tenant, name, and the version where one was named.
type Asked = (String, String, Option<u32>);

/// Answers for starts, where nobody else writes to the database.
#[derive(Default)]
pub struct Recent(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    /// Counts the acts, so that what was read before one is not kept after it.
    n_acts: u64,
    known: HashMap<Asked, (VersionRecord, i64)>,
}

/// Takes every answer back when it is dropped: an act has been carried out, or may have been.
pub struct Acting<'r>(&'r Recent);

impl Recent {
    /// An answer that still holds; and what [`Self::put`] wants to know.
    pub fn get(&self, asked: &Asked, now_ms: i64) -> (Option<VersionRecord>, u64) {
        let answers = self.lock();
        let known = answers.known.get(asked);
        let holds = known.filter(|(_, at_ms)| (0..HOLDS_MS).contains(&(now_ms - at_ms)));
        (holds.map(|(record, _)| record.clone()), answers.n_acts)
    }

    /// Keeps an answer that was read after `n_acts` acts.
    pub fn put(&self, asked: Asked, record: VersionRecord, n_acts: u64, now_ms: i64) {
        let mut answers = self.lock();
        if answers.n_acts != n_acts {
            return;
        }
        if RECENT_MAX <= answers.known.len() {
            answers.known.clear();
        }
        answers.known.insert(asked, (record, now_ms));
    }

    /// Begins an act.
    pub fn acting(&self) -> Acting<'_> {
        Acting(self)
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        let mut answers = self.0.lock();
        answers.n_acts += 1;
        answers.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use btrust_schemas::definition::VersionStatus;

    use super::*;

    fn asked() -> Asked {
        ("t".to_owned(), "kyc".to_owned(), None)
    }

    fn record() -> VersionRecord {
        VersionRecord {
            name: "kyc".to_owned(),
            version: 1,
            title: "KYC".to_owned(),
            digest: String::new(),
            status: VersionStatus::Published,
            is_live: true,
            created_by: None,
            created_ms: 0,
            published_by: None,
            published_ms: None,
            retired_by: None,
            retired_ms: None,
        }
    }

    #[test]
    fn an_answer_holds_for_a_while_and_until_somebody_acts() {
        let recent = Recent::default();
        let (none, n_acts) = recent.get(&asked(), 10);
        assert!(none.is_none());
        recent.put(asked(), record(), n_acts, 10);
        assert!(recent.get(&asked(), 10 + HOLDS_MS - 1).0.is_some());
        assert!(recent.get(&asked(), 10 + HOLDS_MS).0.is_none());
        assert!(recent.get(&asked(), 9).0.is_none(), "the clock was set");
        drop(recent.acting());
        assert!(recent.get(&asked(), 11).0.is_none());
    }

    #[test]
    fn what_was_read_before_an_act_is_not_kept_after_it() {
        let recent = Recent::default();
        let (_, n_acts) = recent.get(&asked(), 10);
        drop(recent.acting());
        recent.put(asked(), record(), n_acts, 10);
        assert!(recent.get(&asked(), 10).0.is_none());
    }
}
