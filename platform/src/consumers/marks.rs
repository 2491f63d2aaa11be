//! High-water marks: the last event of each subject that a consumer has taken.

use std::collections::BTreeMap;

use super::EventHead;
use super::metrics;
use crate::relational::{RelationalError, Transaction, VALUES_MAX, Value, places};

/// Whether an event is news.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It was taken before.
    Known,
    /// It is the next one of its subject, or the first after a restore.
    Next,
    /// It is news, and so many before it never came.
    After { n_missing: i64 },
}

/// The marks of some subjects of one consumer, inside a transaction of its sink.
///
/// Their rows are locked from [`Marks::read`] to the end of the transaction, so that two owners of a shard
/// never both find an event new.
pub struct Marks {
    consumer: String,
    marks: BTreeMap<String, Mark>,
}

#[derive(Default)]
struct Mark {
    incarnation: i64,
    sequence: i64,
    state: Option<String>,
    is_stored: bool,
    has_moved: bool,
}

impl Marks {
    /// Reads and locks the marks of these subjects.
    ///
    /// # Errors
    ///
    /// [`RelationalError`].
    pub async fn read<'s>(
        transaction: &mut Transaction,
        consumer: &str,
        subjects: impl IntoIterator<Item = &'s str>,
    ) -> Result<Self, RelationalError> {
        let mut marks: BTreeMap<String, Mark> = subjects
            .into_iter()
            .map(|it| (it.to_owned(), Mark::default()))
            .collect();
        let subjects: Vec<String> = marks.keys().cloned().collect();
        for some in subjects.chunks(VALUES_MAX - 1) {
            let sql = format!(
                "SELECT subject, incarnation, sequence, state FROM consumer_mark \
                 WHERE consumer = ? AND subject IN {}",
                places(1, some.len())
            );
            let mut values = vec![Value::from(consumer)];
            values.extend(some.iter().map(Value::from));
            for row in transaction.fetch_locked(&sql, &values).await? {
                let mark = Mark {
                    incarnation: row.int(1)?,
                    sequence: row.int(2)?,
                    state: row.text_if_any(3)?,
                    is_stored: true,
                    has_moved: false,
                };
                marks.insert(row.text(0)?, mark);
            }
        }
        let consumer = consumer.to_owned();
        Ok(Self { consumer, marks })
    }

    /// Moves the mark of an event's subject to it, if it is news.
    pub fn advance(&mut self, head: &EventHead) -> Progress {
        let mark = self.marks.entry(head.subject.clone()).or_default();
        let before = (mark.incarnation, mark.sequence);
        if (head.incarnation, head.sequence) <= before {
            return Progress::Known;
        }
        let is_restored = mark.is_stored && mark.incarnation < head.incarnation;
        let n_missing = head.sequence - mark.sequence - 1;
        mark.incarnation = head.incarnation;
        mark.sequence = head.sequence;
        mark.has_moved = true;
        if n_missing <= 0 || is_restored {
            return Progress::Next;
        }
        metrics::missing(&self.consumer, n_missing);
        tracing::warn!(
            consumer = self.consumer,
            subject = head.subject,
            sequence = head.sequence,
            n_missing,
            "events before this one are missing in the stream"
        );
        Progress::After { n_missing }
    }

    /// What the consumer remembers of a subject.
    #[must_use]
    pub fn state(&self, subject: &str) -> Option<&str> {
        self.marks.get(subject)?.state.as_deref()
    }

    /// Remembers something of a subject; it is stored only where the mark moves.
    pub fn set_state(&mut self, subject: &str, state: Option<String>) {
        if let Some(mark) = self.marks.get_mut(subject) {
            mark.state = state;
        }
    }

    /// Stores the marks that have moved.
    ///
    /// # Errors
    ///
    /// [`RelationalError::Taken`] when another owner of the shard was faster with a new subject: everything
    /// is to be done anew, in a new transaction.
    pub async fn write(
        self,
        transaction: &mut Transaction,
        now_ms: i64,
    ) -> Result<(), RelationalError> {
        const N_COLUMNS: usize = 6;
        for (verb, is_stored) in [("INSERT", false), ("REPLACE", true)] {
            let moved: Vec<(&String, &Mark)> = self
                .marks
                .iter()
                .filter(|(_, it)| it.has_moved && it.is_stored == is_stored)
                .collect();
            for some in moved.chunks(VALUES_MAX / N_COLUMNS) {
                let sql = format!(
                    "{verb} INTO consumer_mark (consumer, subject, incarnation, sequence, state, \
                     marked_ms) VALUES {}",
                    places(some.len(), N_COLUMNS)
                );
                let mut values: Vec<Value<'_>> = Vec::with_capacity(some.len() * N_COLUMNS);
                for (subject, mark) in some {
                    values.extend_from_slice(&[
                        (&self.consumer).into(),
                        (*subject).into(),
                        mark.incarnation.into(),
                        mark.sequence.into(),
                        mark.state.as_ref().into(),
                        now_ms.into(),
                    ]);
                }
                transaction.execute(&sql, &values).await?;
            }
        }
        Ok(())
    }
}
