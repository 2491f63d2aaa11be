//! The one transaction of a commit, on a thread and a connection of its own.
//!
//! A commit is a few statements a workflow, each some microseconds; through the pool every one of them
//! would be a message to another thread and back. Here a batch crosses once, and the statements stay
//! prepared. The log is merged into the file between two commits, after the callers have their answer.

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::{Connection, OptionalExtension, Statement, params};
use tokio::sync::oneshot;

use btrust_platform::sqlite::BUSY_TIMEOUT;

use crate::act_log::ACT_REMEMBERED_MS;
use crate::parcel::owed_key_hash;

use super::act_text::{FORGET_ACTS_SQLITE, INSERT_ACT_LOG, INSERT_ACT_SQLITE, UPDATE_ACT_LOG};
use super::counts::deltas;
use super::deletion_text::{DELETE_ATTRIBUTES, DELETE_START_KEY, DELETIONS, INSERT_DELETED};
use super::packing::packed;
use super::{
    ActsWritten, Batch, Committed, Deletion, Fence, StartRecord, StoreError, WorkflowColumns, Write,
};

/// Pages of the write-ahead log above which it is merged into the file.
///
/// Source: 32 MiB; a page that many commits have changed is merged once, and a merge takes about 20 ms.
const LOG_PAGES_MAX: i32 = 8_192;
/// Memory for pages of the file, KiB: the inner pages of every index of 10 million workflows.
const CACHE_KIB: i32 = 64 * 1024;

thread_local! {
    /// Pages in the write-ahead log after the last commit of this thread.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// The thread that commits; it ends when this is dropped.
pub(super) struct Commits(Sender<Job>);

struct Job {
    batch: Batch,
    reply: oneshot::Sender<Result<Committed, StoreError>>,
}

impl Commits {
    /// Starts the thread; it opens its connection when the first batch comes.
    pub(super) fn to(path: &Path) -> Self {
        let (sender, jobs) = channel();
        let path = path.to_path_buf();
        std::thread::Builder::new()
            .name("commits".to_owned())
            .spawn(move || serve(&path, &jobs))
            .expect("a process that can start has room for its threads");
        Self(sender)
    }

    /// Writes `batch`, or nothing. Nobody else of this process may be writing.
    pub(super) async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let (reply, answer) = oneshot::channel();
        let crashed = || StoreError::Unavailable(sqlx::Error::WorkerCrashed);
        self.0.send(Job { batch, reply }).map_err(|_| crashed())?;
        // A thread that ended with the batch in its hands may have written it.
        answer
            .await
            .unwrap_or(Err(StoreError::Unknown(sqlx::Error::WorkerCrashed)))
    }
}

fn serve(path: &Path, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match open(path) {
            Ok(connection) => serve_on(&connection, job, jobs),
            // A caller that has gone away needs no answer.
            Err(error) => drop(job.reply.send(Err(unavailable(error)))),
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // What is overwritten here was sealed; keys are destroyed in a file of their own.
    connection.pragma_update(None, "secure_delete", false)?;
    connection.wal_hook(Some(|_, n_pages| {
        LOG_PAGES.set(n_pages);
        Ok(())
    }));
    Ok(connection)
}

/// Commits until something has gone wrong that the connection may not have got over.
fn serve_on(connection: &Connection, first: Job, jobs: &Receiver<Job>) {
    let mut statements = match Statements::prepare(connection) {
        Ok(statements) => statements,
        Err(error) => return drop(first.reply.send(Err(unavailable(error)))),
    };
    let mut next = Some(first);
    while let Some(job) = next {
        let result = statements.commit(&job.batch);
        let is_well = matches!(result, Ok(_) | Err(StoreError::DataRefused(_)));
        drop(job.reply.send(result));
        if !is_well || !connection.is_autocommit() {
            return;
        }
        if LOG_PAGES_MAX <= LOG_PAGES.get() {
            merge_log(connection);
        }
        next = jobs.recv().ok();
    }
}

/// Merges the log into the file, so that the next commit begins it anew.
fn merge_log(connection: &Connection) {
    LOG_PAGES.set(0);
    let merged = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = merged {
        // The log only grows: the next commit that goes well tries again.
        tracing::warn!(%error, "the write-ahead log cannot be merged");
    }
}

struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    now: Statement<'c>,
    lease: Statement<'c>,
    events: Statement<'c>,
    new_snapshot: Statement<'c>,
    /// Of a workflow that stays open or closed: the index of open workflows is left alone.
    snapshot: Statement<'c>,
    moved_snapshot: Statement<'c>,
    new_columns: Statement<'c>,
    columns: Statement<'c>,
    no_attributes: Statement<'c>,
    attribute: Statement<'c>,
    start: Statement<'c>,
    /// Of a key that means another workflow from now on.
    moved_start: Statement<'c>,
    /// Each takes the workflow.
    deletions: Vec<Statement<'c>>,
    no_start: Statement<'c>,
    deleted: Statement<'c>,
    count: Statement<'c>,
    act_log: Statement<'c>,
    new_act_log: Statement<'c>,
    act: Statement<'c>,
    forget_acts: Statement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            begin: connection.prepare(super::sqlite::BEGIN)?,
            commit: connection.prepare("COMMIT")?,
            rollback: connection.prepare("ROLLBACK")?,
            now: connection.prepare(super::sqlite::SELECT_NOW_MS)?,
            lease: connection.prepare(
                "SELECT epoch, lease_until_ms FROM partition_lease WHERE partition_no = ?",
            )?,
            events: connection.prepare(
                "INSERT INTO journal (workflow, sequence, first_sequence, partition_no, batch, \
                 committed_ms, sealed, public) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            new_snapshot: connection.prepare(
                "INSERT INTO snapshot (sequence, chain, n_audit, n_analytics, is_open, n_turns, \
                 n_prompts, n_signals, wake_at_ms, n_owed, children, sealed, workflow, partition_no) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            snapshot: connection.prepare(
                "UPDATE snapshot SET sequence = ?, chain = ?, n_audit = ?, n_analytics = ?, \
                 n_turns = ?, n_prompts = ?, n_signals = ?, wake_at_ms = ?, n_owed = ?, \
                 children = ?, incident = CASE WHEN ? THEN incident END, sealed = ? \
                 WHERE workflow = ? AND is_open = ?",
            )?,
            moved_snapshot: connection.prepare(
                "UPDATE snapshot SET sequence = ?, chain = ?, n_audit = ?, n_analytics = ?, \
                 is_open = ?, n_turns = ?, n_prompts = ?, n_signals = ?, wake_at_ms = ?, n_owed = ?, \
                 children = ?, incident = CASE WHEN ? THEN incident END, sealed = ? \
                 WHERE workflow = ?",
            )?,
            new_columns: connection.prepare(
                "INSERT INTO workflow (definition, version, subject, locale, status, waiting_for, \
                 decision, started_ms, closed_ms, restart_of, attributes, retention, legal_hold, \
                 tenant, workflow) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            columns: connection.prepare(
                "UPDATE workflow SET version = ?, status = ?, waiting_for = ?, decision = ?, \
                 closed_ms = ?, attributes = ?, retention = ?, legal_hold = ? WHERE workflow = ?",
            )?,
            no_attributes: connection.prepare(DELETE_ATTRIBUTES)?,
            attribute: connection.prepare(
                "INSERT INTO search_attribute (workflow, name, tenant, value, started_ms) \
                 VALUES (?, ?, ?, ?, ?)",
            )?,
            start: connection.prepare(
                "INSERT INTO start_key (tenant, key_hash, digest, workflow, created_ms, requests) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )?,
            moved_start: connection.prepare(
                "UPDATE start_key SET digest = ?, workflow = ?, created_ms = ?, requests = ? \
                 WHERE tenant = ? AND key_hash = ? AND workflow = ?",
            )?,
            deletions: DELETIONS
                .into_iter()
                .map(|it| connection.prepare(it))
                .collect::<rusqlite::Result<_>>()?,
            no_start: connection.prepare(DELETE_START_KEY)?,
            deleted: connection.prepare(INSERT_DELETED)?,
            count: connection.prepare(
                "INSERT INTO workflow_count (tenant, basis, day, definition, version, status, \
                 decision, shard, n) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET n = n + excluded.n",
            )?,
            act_log: connection.prepare(UPDATE_ACT_LOG)?,
            new_act_log: connection.prepare(INSERT_ACT_LOG)?,
            act: connection.prepare(INSERT_ACT_SQLITE)?,
            forget_acts: connection.prepare(FORGET_ACTS_SQLITE)?,
        })
    }

    fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        self.begin.execute([]).map_err(unavailable)?;
        match self.write(batch) {
            Ok(fenced) => {
                self.commit
                    .execute([])
                    .map_err(|it| StoreError::Unknown(driver(it)))?;
                Ok(Committed { fenced })
            }
            Err(error) => {
                // Where it fails, SQLite has rolled back by itself; the caller looks whether it has.
                let _ = self.rollback.execute([]);
                Err(error)
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<u8>, StoreError> {
        let fenced = self.lost_partitions(&batch.fences).map_err(unavailable)?;
        let ours = batch.writes.iter();
        let ours = ours.filter(|it| !fenced.contains(&it.workflow.partition()));
        for write in ours.clone() {
            self.write_one(write).map_err(classify)?;
        }
        self.count(ours, batch.shard).map_err(classify)?;
        Ok(fenced)
    }

    /// Partitions whose lease row names another epoch, or whose lease has ended.
    fn lost_partitions(&mut self, fences: &[Fence]) -> rusqlite::Result<Vec<u8>> {
        let now_ms: i64 = self.now.query_row([], |row| row.get(0))?;
        let mut lost = Vec::new();
        for fence in fences {
            let lease: Option<(i64, i64)> = self
                .lease
                .query_row([fence.partition], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let is_ours = |(epoch, until_ms)| epoch == fence.epoch && now_ms < until_ms;
            if !lease.is_some_and(is_ours) {
                lost.push(fence.partition);
            }
        }
        Ok(lost)
    }

    fn write_one(&mut self, write: &Write) -> rusqlite::Result<()> {
        let id = write.workflow.to_string();
        if let Some(deletion) = write.deletion {
            self.delete(&id, write, deletion)?;
        }
        if write.has_events() {
            self.events.execute(params![
                id,
                write.sequence,
                write.first_sequence,
                write.workflow.partition(),
                write.batch,
                write.committed_ms,
                write.sealed_events,
                packed(&write.public),
            ])?;
        }
        if write.deletion.is_some() {
            return Ok(());
        }
        if let Some(acts) = &write.acts {
            return self.write_acts(&id, write, acts);
        }
        self.write_snapshot(&id, write)?;
        if let Some(columns) = &write.columns {
            self.write_columns(&id, columns, write.start.is_some())?;
            if let Some(attributes) = &write.attributes {
                self.write_attributes(&id, columns, attributes, write.start.is_some())?;
            }
        }
        if let Some(start) = &write.start {
            self.write_start(&id, start, write.committed_ms)?;
        }
        Ok(())
    }

    /// Moves the head of an act log on, and remembers what it has now.
    fn write_acts(&mut self, id: &str, write: &Write, acts: &ActsWritten) -> rusqlite::Result<()> {
        let (chain, n_audit) = (&write.snapshot.chain, write.snapshot.n_audit);
        if self.act_log.execute(params![chain, n_audit, id])? == 0 {
            let partition = write.workflow.partition();
            let values = params![id, acts.tenant, partition, chain, n_audit];
            self.new_act_log.execute(values)?;
        }
        for act in &acts.acts {
            self.act.execute(params![id, act, write.committed_ms])?;
        }
        let before_ms = write.committed_ms - ACT_REMEMBERED_MS;
        self.forget_acts.execute(params![id, before_ms])?;
        Ok(())
    }

    fn write_snapshot(&mut self, id: &str, write: &Write) -> rusqlite::Result<()> {
        let it = &write.snapshot;
        let mut n_changed = 0;
        if write.start.is_none() {
            n_changed = self.snapshot.execute(params![
                write.sequence,
                it.chain,
                it.n_audit,
                it.n_analytics,
                it.n_turns,
                it.n_prompts,
                it.n_signals,
                it.wake_at_ms,
                it.n_owed,
                it.children,
                write.keeps_incident,
                write.sealed_snapshot,
                id,
                it.is_open,
            ])?;
        }
        if n_changed == 0 && write.start.is_none() {
            n_changed = self.moved_snapshot.execute(params![
                write.sequence,
                it.chain,
                it.n_audit,
                it.n_analytics,
                it.is_open,
                it.n_turns,
                it.n_prompts,
                it.n_signals,
                it.wake_at_ms,
                it.n_owed,
                it.children,
                write.keeps_incident,
                write.sealed_snapshot,
                id,
            ])?;
        }
        if n_changed == 0 {
            self.new_snapshot.execute(params![
                write.sequence,
                it.chain,
                it.n_audit,
                it.n_analytics,
                it.is_open,
                it.n_turns,
                it.n_prompts,
                it.n_signals,
                it.wake_at_ms,
                it.n_owed,
                it.children,
                write.sealed_snapshot,
                id,
                write.workflow.partition(),
            ])?;
        }
        Ok(())
    }

    fn write_columns(
        &mut self,
        id: &str,
        it: &WorkflowColumns,
        is_new: bool,
    ) -> rusqlite::Result<()> {
        let n_changed = if is_new {
            0
        } else {
            self.columns.execute(params![
                it.version,
                it.status,
                it.waiting_for,
                it.decision,
                it.closed_ms,
                it.attributes,
                it.retention,
                it.legal_hold,
                id,
            ])?
        };
        if n_changed == 0 {
            self.new_columns.execute(params![
                it.definition,
                it.version,
                it.subject,
                it.locale,
                it.status,
                it.waiting_for,
                it.decision,
                it.started_ms,
                it.closed_ms,
                it.restart_of.map(|it| it.to_string()),
                it.attributes,
                it.retention,
                it.legal_hold,
                it.tenant,
                id,
            ])?;
        }
        Ok(())
    }

    fn write_attributes(
        &mut self,
        id: &str,
        columns: &WorkflowColumns,
        attributes: &[(String, String)],
        is_new: bool,
    ) -> rusqlite::Result<()> {
        if !is_new {
            self.no_attributes.execute([id])?;
        }
        for (name, value) in attributes {
            self.attribute
                .execute(params![id, name, columns.tenant, value, columns.started_ms])?;
        }
        Ok(())
    }

    /// Takes every row of a workflow away; what tells of that is inserted as its last event.
    fn delete(&mut self, id: &str, write: &Write, deletion: Deletion) -> rusqlite::Result<()> {
        for statement in &mut self.deletions {
            statement.execute([id])?;
        }
        let owed = owed_key_hash(write.workflow);
        self.no_start
            .execute(params![deletion.started_ms, id, owed])?;
        self.deleted.execute(params![
            write.workflow.partition(),
            write.batch,
            id,
            write.before.as_ref().map(|it| &it.tenant),
        ])?;
        Ok(())
    }

    /// Moves the counters: few rows, however many workflows the batch has.
    fn count<'w>(
        &mut self,
        writes: impl Iterator<Item = &'w Write>,
        shard: u8,
    ) -> rusqlite::Result<()> {
        for (cell, n) in deltas(writes) {
            self.count.execute(params![
                cell.tenant,
                cell.basis.as_str(),
                cell.day,
                cell.definition,
                cell.version,
                cell.status,
                cell.decision,
                shard,
                n,
            ])?;
        }
        Ok(())
    }

    /// A key moves only if it still means the workflow that it is moved from.
    fn write_start(&mut self, id: &str, start: &StartRecord, at_ms: i64) -> rusqlite::Result<()> {
        if let Some(earlier) = start.replaces {
            let n_moved = self.moved_start.execute(params![
                start.digest,
                id,
                at_ms,
                start.requests.to_column(),
                start.key.tenant,
                start.key.key_hash,
                earlier.to_string(),
            ])?;
            return match n_moved {
                1 => Ok(()),
                _ => Err(rusqlite::Error::QueryReturnedNoRows),
            };
        }
        self.start.execute(params![
            start.key.tenant,
            start.key.key_hash,
            start.digest,
            id,
            at_ms,
            start.requests.to_column(),
        ])?;
        Ok(())
    }
}

/// SQLite's result codes for "this value can never be stored": error, too big, constraint, mismatch, range.
///
/// Source: <https://www.sqlite.org/rescode.html>, primary codes (the low eight bits).
const DATA_CODES: [i32; 5] = [1, 18, 19, 20, 25];

fn classify(error: rusqlite::Error) -> StoreError {
    let code = error.sqlite_error().map(|it| it.extended_code & 0xff);
    match code {
        _ if matches!(error, rusqlite::Error::QueryReturnedNoRows) => {
            StoreError::DataRefused(driver(error))
        }
        Some(code) if DATA_CODES.contains(&code) => StoreError::DataRefused(driver(error)),
        _ => unavailable(error),
    }
}

fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(driver(error))
}

fn driver(error: rusqlite::Error) -> sqlx::Error {
    sqlx::Error::AnyDriverError(Box::new(error))
}
