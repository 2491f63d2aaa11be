//! The nodes that share a database, and what each of them owns.
//!
//! A node lives until a time by the database's clock, which it moves on with one statement; its
//! partitions are free when it has ended. That time is kept apart from the rows that a commit locks, so
//! that a renewal never waits for a commit. It says when somebody else may take a partition; what fences
//! the one who had it is the epoch, which every write checks under the lock of the partition's row.

use async_trait::async_trait;

use btrust_schemas::ids::N_PARTITIONS;

use super::{Acquired, Fence, StoreError};

/// A node as it enters the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Random name; a node that enters again has another one.
    pub node: String,
    /// Where the others reach it.
    pub url: String,
}

/// A node that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    pub node: String,
    pub url: String,
    pub started_ms: i64,
}

/// A partition whose owner lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    pub partition: u8,
    pub owner: String,
    pub epoch: i64,
}

/// Who lives and who owns what, as the database sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// In the order of their names.
    pub nodes: Vec<NodeRecord>,
    /// In the order of partitions; those without a living owner are left out.
    pub leases: Vec<LeaseRecord>,
}

impl Survey {
    /// Partitions that anybody may take, in the order of their numbers.
    #[must_use]
    pub fn free(&self) -> Vec<u8> {
        let mut is_owned = [false; N_PARTITIONS as usize];
        for lease in &self.leases {
            is_owned[usize::from(lease.partition)] = true;
        }
        let is_free = |it: &u8| !is_owned[usize::from(*it)];
        (0..=u8::MAX).filter(is_free).collect()
    }
}

/// Keeps the registry of nodes.
#[async_trait]
pub trait NodeStore: Send + Sync {
    /// Enters a node for `lease_ms`, and removes its `earlier` entry, whose partitions are free at once.
    ///
    /// Returns the store's incarnation.
    async fn join(
        &self,
        entry: &NodeEntry,
        earlier: Option<&str>,
        lease_ms: i64,
    ) -> Result<i64, StoreError>;

    /// Lets a node live for another `lease_ms` from now; false when its time has ended.
    ///
    /// Must wait for nothing but the database: neither for a commit nor for a reader.
    async fn renew(&self, node: &str, lease_ms: i64) -> Result<bool, StoreError>;

    /// Who lives and who owns what.
    async fn survey(&self) -> Result<Survey, StoreError>;

    /// Takes those of `partitions` that are free, under a new epoch; none when `node` does not live.
    ///
    /// A partition whose row somebody else has locked may be left out.
    async fn take(&self, node: &str, partitions: &[u8]) -> Result<Acquired, StoreError>;

    /// Makes partitions free, as far as `node` has them under these epochs, which write no more.
    async fn give_back(&self, node: &str, fences: &[Fence]) -> Result<(), StoreError>;

    /// Removes a node; whatever it still has is free.
    async fn leave(&self, node: &str) -> Result<(), StoreError>;
}
