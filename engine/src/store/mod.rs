//! Durable storage of workflows, as the engine needs it.
//!
//! Every adapter passes [`conformance::check`]; nothing else defines what "correct" means here.
//! The statements of all adapters are the files of `sql/`; its `mod.rs` says how to add one.

mod act_text;
pub mod audit_log;
pub mod conformance;
pub mod counts;
pub mod definitions;
mod deletion_text;
pub mod lists;
pub mod lists_conformance;
pub mod mysql;
mod mysql_write;
pub mod nodes;
pub mod nodes_conformance;
mod open;
pub mod operations;
mod packing;
pub mod restore;
pub mod schedules;
pub mod sqlite;
mod sqlite_write;
mod start_requests;
pub mod tenants;

use async_trait::async_trait;

use btrust_schemas::ids::{N_PARTITIONS, WorkflowId};

pub use open::{OpenError, Stores, location};
pub use start_requests::{START_REQUESTS_MAX, StartRequests};

/// Keeps leases, journal, snapshots, list columns, keys of starts and relay cursors.
#[async_trait]
pub trait Store: Send + Sync {
    /// How many commits of different partitions the store carries out at the same time.
    fn n_lanes(&self) -> usize;

    /// Partitions that new workflows are spread over, from 0 on; 1 to 256, a multiple of the lanes.
    fn n_partitions(&self) -> u16 {
        N_PARTITIONS
    }

    /// Takes over partitions under a new epoch; every earlier owner is fenced from then on.
    ///
    /// Partitions that somebody else may still hold are left out of the answer.
    async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, StoreError>;

    /// Writes everything in `batch` in one transaction, but for the partitions whose lease is lost.
    ///
    /// # Errors
    ///
    /// [`StoreError::DataRefused`]: nothing was written, and some row of the batch can never be.
    /// [`StoreError::Unknown`]: ask [`Store::last_batches`] whether it was written.
    /// [`StoreError::Unavailable`]: nothing was written.
    async fn commit(&self, batch: &Batch) -> Result<Committed, StoreError>;

    /// The last batch number of each partition, read under the lock that a commit takes.
    async fn last_batches(&self, partitions: &[u8]) -> Result<Vec<i64>, StoreError>;

    /// Reads workflows with their snapshots; those that do not exist are left out.
    async fn load(&self, workflows: &[WorkflowId]) -> Result<Vec<WorkflowRecord>, StoreError>;

    /// A page of the workflows of a partition that are open or owe something, in the order of ids after `after`.
    async fn open_workflows(
        &self,
        partition: u8,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<OpenWorkflow>, StoreError>;

    /// Journal rows of a workflow that hold events after number `after`.
    async fn history(
        &self,
        workflow: WorkflowId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, StoreError>;

    /// Finds which of `keys` have started a workflow before.
    async fn find_starts(&self, keys: &[StartKey]) -> Result<Vec<StartRecord>, StoreError>;

    /// Public events of a partition after batch `after`, in the order of batches.
    async fn outbox(
        &self,
        partition: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError>;

    /// How far the relay has published each partition; 0 for one that it never touched.
    async fn cursors(&self) -> Result<Vec<Cursor>, StoreError>;

    /// Records how far the relay has published, but for the partitions whose lease is lost.
    ///
    /// There is one fence for each cursor, in the order of partitions.
    async fn put_cursors(
        &self,
        cursors: &[Cursor],
        fences: &[Fence],
    ) -> Result<Committed, StoreError>;

    /// The heads of act logs, each with those of its acts that are asked for and recorded; logs without any
    /// record are left out.
    async fn act_logs(&self, wanted: &[ActsWanted]) -> Result<Vec<ActLog>, StoreError>;

    /// Marks a workflow as stopped by a fault; its next commit clears the mark.
    ///
    /// Nothing is marked, and `fence` is in the answer, when its lease is lost.
    async fn put_incident(
        &self,
        workflow: WorkflowId,
        code: &str,
        fence: Fence,
    ) -> Result<Committed, StoreError>;
}

/// Why a store could not do what was asked, as the choices of the caller.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written, and the same data will be refused again: find the row and set it aside.
    #[error("the database refused the data")]
    DataRefused(#[source] sqlx::Error),
    /// The transaction may or may not be there: look before saying anything to anybody.
    #[error("the outcome of the commit is unknown")]
    Unknown(#[source] sqlx::Error),
    /// Nothing was written; the same call may succeed later.
    #[error("the database did not answer")]
    Unavailable(#[source] sqlx::Error),
    /// A row that this program cannot read.
    #[error("{what} holds data that cannot be read")]
    Corrupt { what: String },
}

/// Partitions that new workflows of an embedded store are spread over.
///
/// Its one process owns all 256. The fewer are in use, the fewer ends the index of batches has, and the
/// closer together the rows of a commit lie.
pub const PARTITIONS_EMBEDDED: u16 = 16;
/// Committers on SQLite: a file has one writer.
pub const LANES_EMBEDDED: usize = 1;
/// Committers of a node on MySQL.
///
/// Source: `btrust bench engine --store mysql` on two cores, 128 in flight: 1 lane 3,475 steps/s with 0.033
/// flushes a step, 4 lanes 3,630 with 0.171. What comes during a commit shares the next one, so a slow
/// database makes larger commits and not fewer steps; nodes commit beside each other.
pub const LANES_MYSQL: usize = 1;

/// How long a lease of an embedded store lasts, ms.
///
/// One process owns the file, and the next one takes over by epoch, whatever the lease says; so the
/// lease never ends by itself (100 years).
pub const EMBEDDED_LEASE_MS: i64 = 100 * 365 * 24 * 3_600_000;

#[derive(Clone, Debug)]
pub struct AcquireRequest {
    /// Random name of this run of the process.
    pub owner: String,
    pub partitions: Vec<u8>,
    pub lease_ms: i64,
    pub takeover: Takeover,
}

/// Whose partitions may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Only those whose lease has ended by the database's clock.
    WhenExpired,
    /// Everybody's: the caller knows that it is the only one that should run.
    Always,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// Counts restores of the store, from 1; part of every event id.
    pub incarnation: i64,
    pub partitions: Vec<OwnedPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedPartition {
    pub partition: u8,
    pub epoch: i64,
    /// 0 when nothing was ever committed.
    pub last_batch: i64,
    /// The recorded time of the last commit, ms since the epoch; time never runs back behind it.
    pub last_commit_ms: i64,
}

/// The epoch under which a partition's writer believes to own it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    pub partition: u8,
    pub epoch: i64,
}

/// One transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In the order of partitions, one for each partition of `writes`.
    pub fences: Vec<Fence>,
    pub writes: Vec<Write>,
    /// A partition that no other writer counts under, so that counters never wait for each other.
    pub shard: u8,
}

/// Everything that one commit changes about one workflow.
#[derive(Clone, Debug)]
pub struct Write {
    pub workflow: WorkflowId,
    /// Position in the partition's journal, without gaps.
    pub batch: i64,
    pub first_sequence: i64,
    pub sequence: i64,
    pub committed_ms: i64,
    /// Empty when nothing has happened but the snapshot is another: such a write has no row in the journal.
    pub sealed_events: Vec<u8>,
    pub public: String,
    pub snapshot: SnapshotColumns,
    pub sealed_snapshot: Vec<u8>,
    /// The list columns, where they changed.
    pub columns: Option<WorkflowColumns>,
    /// The list columns as the store has them, where they changed; `None` for a new workflow.
    pub before: Option<WorkflowColumns>,
    /// Every search attribute as name and text, where one has changed.
    pub attributes: Option<Vec<(String, String)>>,
    /// Takes the workflow away instead: only the row in the journal that tells of it stays.
    pub deletion: Option<Deletion>,
    /// Acts that the row in the journal records, where `workflow` is an act log: `snapshot` then has the head
    /// of its chain, and nothing else of the write counts.
    pub acts: Option<ActsWritten>,
    /// The key that starts this workflow, in its first commit.
    pub start: Option<StartRecord>,
    /// Whether the mark of an incident stays: nothing has changed that could get the workflow going.
    pub keeps_incident: bool,
}

impl Write {
    /// Whether the write has a row in the journal.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.sealed_events.is_empty()
    }

    /// Other workflows that the start in this write may have changed: what its key has meant, and what it
    /// is a restart of.
    pub fn touched_by_start(&self) -> impl Iterator<Item = WorkflowId> {
        let replaced = self.start.as_ref().map(|it| it.replaces);
        let restarted = self.columns.as_ref().map(|it| it.restart_of);
        let restarted = restarted.filter(|_| self.start.is_some());
        replaced.flatten().into_iter().chain(restarted.flatten())
    }
}

/// What stands in the journal where sealed events would, and there are none.
pub const NO_EVENTS: &[u8] = b"-";

/// Acts that a commit records in the log of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActsWritten {
    pub tenant: String,
    /// Their ids.
    pub acts: Vec<String>,
}

/// A log, and acts of which somebody wants to know whether they are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActsWanted {
    pub log: WorkflowId,
    pub acts: Vec<String>,
}

/// The head of an act log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActLog {
    pub log: WorkflowId,
    /// Head of the hash chain, hex.
    pub chain: String,
    pub n_audit: i64,
    /// Those of the acts that were asked for which are recorded.
    pub known: Vec<String>,
}

/// What a deletion has to know to find every row of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When it was started: the time of its start key too.
    pub started_ms: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotColumns {
    /// Head of the hash chain, hex.
    pub chain: String,
    pub n_audit: i64,
    pub n_analytics: i64,
    /// Whether the engine has something to do for it: it is open, or owes something.
    pub is_open: bool,
    pub n_turns: i64,
    pub n_prompts: i64,
    /// Signals that it waits for; one that is paused waits for an operator.
    pub n_signals: i64,
    pub wake_at_ms: Option<i64>,
    /// Messages that other workflows have not taken yet.
    pub n_owed: i64,
    /// Ids of the children that it waits for, separated by spaces.
    pub children: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowColumns {
    pub tenant: String,
    pub definition: String,
    pub version: i64,
    pub subject: Option<String>,
    pub locale: String,
    pub status: String,
    pub waiting_for: Option<String>,
    pub decision: Option<String>,
    pub started_ms: i64,
    pub closed_ms: Option<i64>,
    /// The workflow whose input it started with.
    pub restart_of: Option<WorkflowId>,
    /// Search attributes, as [`crate::search::column_of`] writes them.
    pub attributes: Option<String>,
    /// The policy that the definition names for the time after the end.
    pub retention: Option<String>,
    /// Nothing of it is deleted while this holds.
    pub legal_hold: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Partitions that somebody else owns now; their writes were left out.
    pub fenced: Vec<u8>,
}

/// A workflow as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowRecord {
    pub workflow: WorkflowId,
    pub columns: WorkflowColumns,
    pub sequence: i64,
    pub snapshot: SnapshotColumns,
    pub incident: Option<String>,
    pub sealed_snapshot: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenWorkflow {
    pub workflow: WorkflowId,
    pub n_turns: i64,
    pub n_prompts: i64,
    pub n_signals: i64,
    pub wake_at_ms: Option<i64>,
    pub n_owed: i64,
    pub children: Option<String>,
    pub incident: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    pub first_sequence: i64,
    pub sequence: i64,
    pub sealed_events: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub workflow: WorkflowId,
    pub batch: i64,
    pub public: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub partition: u8,
    pub batch: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartKey {
    pub tenant: String,
    /// SHA-256 hex of the tenant and its `Idempotency-Key`.
    pub key_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartRecord {
    pub key: StartKey,
    /// SHA-256 hex of the request.
    pub digest: String,
    pub workflow: WorkflowId,
    /// The workflow that the key has meant until now, where it has meant one.
    pub replaces: Option<WorkflowId>,
    /// The requests that have let the key begin something new.
    pub requests: StartRequests,
}
