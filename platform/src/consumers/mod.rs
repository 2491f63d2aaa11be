//! Reading a stream to its end, for ever, by several processes: leases, checkpoints, high-water marks.
//!
//! A [`Consumer`] reads the shards of one stream for one [`Sink`]. Each shard has one owner at a time, by a
//! lease in the consumers' database ([`Leases`]); a child shard begins when its parents were read to their
//! ends. Records are handed over at least once: the sink commits, then the checkpoint is stored under the
//! epoch of the lease. What comes again (published twice, read twice, by an owner that does not know yet that
//! its lease is gone) the sink drops by [`Marks`], which it writes in the transaction of what it makes of the
//! records; so its effects happen once.
//!
//! Crate `ruststream-kinesis` does the same for Kinesis alone, with leases in memory or in `DynamoDB` and
//! checkpoints apart from what handlers write; here the embedded streams are read by the same code, and
//! leases, marks and effects share one relational database.

mod consumer;
mod database;
mod event_head;
mod forgetting;
mod leases;
mod marks;
mod metrics;
mod share;

use async_trait::async_trait;

use crate::streams::ReadRecord;

pub use consumer::{Consumer, LEASE_MS, Pace, Status};
pub use database::{location, open};
pub use event_head::EventHead;
pub use forgetting::{forget, forget_for_ever, mark_lifetime_ms};
pub use leases::{Lease, LeaseRow, Leases};
pub use marks::{Marks, Progress};

/// Makes something of records.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The consumer in leases, marks and metrics; never changed, or everything is read anew.
    fn name(&self) -> &str;

    /// Takes records of one shard in their order, all of them or none, in a transaction of its own.
    ///
    /// Some of them it may know already. A record that can never be taken is its own business: it is passed
    /// over, with a word in the log.
    ///
    /// # Errors
    ///
    /// [`SinkError`]: the same records are handed over again after a pause.
    async fn take(&self, shard: &str, records: &[ReadRecord]) -> Result<(), SinkError>;
}

/// Why records could not be taken now.
#[derive(Debug, thiserror::Error)]
#[error("the records cannot be taken now")]
pub struct SinkError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl SinkError {
    /// An error with what has caused it.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

impl From<crate::relational::RelationalError> for SinkError {
    fn from(error: crate::relational::RelationalError) -> Self {
        Self::new(error)
    }
}
