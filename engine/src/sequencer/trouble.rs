//! What keeps records out of their logs: said once in the log, and for as long as it lasts in metrics and health.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use btrust_platform::health::Check;

use crate::metrics;

/// Why something waits outside of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A row of the journal cannot be read: its tenant's records of that partition wait.
    RowDamaged,
    /// A row of the journal cannot be read and has no owner: its partition waits.
    PartitionStopped,
    /// A log is not what was signed last: its tenant's records wait.
    LogDamaged,
    /// The event of a checkpoint cannot be read: those of its tenant after it wait.
    EventDamaged,
    /// Nothing gets a place: the database, the stream or the key that signs does not answer.
    NotSequenced,
}

impl Code {
    const ALL: [Self; 5] = [
        Self::RowDamaged,
        Self::PartitionStopped,
        Self::LogDamaged,
        Self::EventDamaged,
        Self::NotSequenced,
    ];

    /// Stable, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::RowDamaged => "audit_row_damaged",
            Self::PartitionStopped => "audit_partition_stopped",
            Self::LogDamaged => "audit_log_damaged",
            Self::EventDamaged => "audit_event_damaged",
            Self::NotSequenced => "audit_not_sequenced",
        }
    }

    pub fn parse(word: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.word() == word).unwrap_or(Self::LogDamaged)
    }
}

/// One thing that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    pub code: Code,
    pub tenant: Option<String>,
    pub partition: Option<u8>,
    /// The first batch that waits.
    pub batch: Option<i64>,
}

impl Trouble {
    pub fn everything() -> Self {
        Self {
            code: Code::NotSequenced,
            tenant: None,
            partition: None,
            batch: None,
        }
    }
}

/// What waits now, for whoever asks; clones share it.
#[derive(Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeSet<Trouble>>>);

impl Troubles {
    /// Says what is new and what is over.
    pub fn are(&self, now: BTreeSet<Trouble>) {
        let mut known = self.known();
        for it in now.difference(&known) {
            tracing::error!(
                code = it.code.word(),
                tenant = it.tenant,
                partition = it.partition,
                batch = it.batch,
                "audit records wait outside of their log until this is mended"
            );
        }
        for it in known.difference(&now) {
            tracing::info!(
                code = it.code.word(),
                tenant = it.tenant,
                partition = it.partition,
                "this keeps no audit records out of their log any more"
            );
        }
        for code in Code::ALL {
            let n_waiting = now.iter().filter(|it| it.code == code).count();
            metrics::AUDIT_SET_ASIDE
                .with_label_values(&[code.word()])
                .set(i64::try_from(n_waiting).unwrap_or(i64::MAX));
        }
        *known = now;
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Check for Troubles {
    async fn check(&self) -> Result<(), String> {
        match self.known().first() {
            None => Ok(()),
            Some(it) => Err(format!(
                "{}: audit records wait outside of their log",
                it.code.word()
            )),
        }
    }

    fn details(&self) -> Map<String, Value> {
        let known = self.known();
        let mut details = Map::new();
        for code in Code::ALL {
            let n_waiting = known.iter().filter(|it| it.code == code).count();
            if 0 < n_waiting {
                details.insert(code.word().to_owned(), json!(n_waiting));
            }
        }
        details
    }
}
