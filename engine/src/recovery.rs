//! What a process finds out about a partition before it serves it: its timers and its open turns.
//!
//! Bounded memory: a workflow that waits for a person or a time costs its timer; only those that
//! wait for a worker are opened, a page at a time.

use std::collections::HashSet;
use std::sync::Arc;

use btrust_schemas::ids::WorkflowId;

use crate::committer::owner;
use crate::dispatch::Change;
use crate::error::EngineError;
use crate::incidents::{record_task, record_workflow};
use crate::partition::Partition;
use crate::planted::{Bug, is_planted};
use crate::shared::Shared;
use crate::store::schedules::ScheduleRecord;
use crate::store::{
    AcquireRequest, Acquired, EMBEDDED_LEASE_MS, OwnedPartition, StoreError, Takeover,
    WorkflowRecord,
};
use crate::workflow::Workflow;

/// Open workflows read at a time.
const PAGE: u32 = 500;
/// The code of a workflow whose row is not what this program writes.
const ROW_UNREADABLE: &str = "row_unreadable";

/// Takes over every partition, whoever has it.
pub async fn acquire(shared: &Shared, owner: String) -> Result<Acquired, StoreError> {
    let request = AcquireRequest {
        owner,
        partitions: (0..=u8::MAX).collect(),
        lease_ms: EMBEDDED_LEASE_MS,
        takeover: Takeover::Always,
    };
    shared.store.acquire(&request).await
}

/// A partition that is ready to be served.
pub struct Recovered {
    pub partition: Partition,
    /// Workflows that an incident has stopped.
    pub incidents: Vec<WorkflowId>,
    pub schedules: Vec<ScheduleRecord>,
}

/// Winds every timer of a partition and requeues every open turn.
pub async fn recover_partition(
    shared: &Shared,
    owned: OwnedPartition,
) -> Result<Recovered, EngineError> {
    let mut partition = Partition::new(owned);
    let mut incidents = HashSet::new();
    let (n_open, n_turns) = recover(shared, &mut partition, &mut incidents).await?;
    tracing::debug!(
        partition = owned.partition,
        n_open,
        n_turns,
        "recovered the open workflows"
    );
    let schedules = shared.schedules.of_partition(owned.partition).await?;
    Ok(Recovered {
        partition,
        incidents: incidents.into_iter().collect(),
        schedules,
    })
}

async fn recover(
    shared: &Shared,
    partition: &mut Partition,
    incidents: &mut HashSet<WorkflowId>,
) -> Result<(usize, usize), EngineError> {
    let now_ms = partition.now_ms(shared.clock.now_ms());
    let (mut n_open, mut n_turns) = (0, 0);
    let mut after = None;
    loop {
        let page = shared
            .store
            .open_workflows(partition.number, after, PAGE)
            .await?;
        let Some(last) = page.last() else {
            return Ok((n_open, n_turns));
        };
        after = Some(last.workflow);
        n_open += page.len();
        let mut with_turns = Vec::new();
        // What an incident has stopped stands still until somebody has looked at it.
        for open in page {
            if open.incident.is_some() {
                incidents.insert(open.workflow);
                continue;
            }
            if !is_planted(Bug::ForgetTimers) {
                partition.timers.set(open.workflow, open.wake_at_ms);
            }
            if 0 < open.n_owed {
                shared.courier.put(open.workflow, 1, now_ms);
            }
            if 0 < open.n_turns && !is_planted(Bug::ForgetTurns) {
                with_turns.push(open.workflow);
            }
        }
        for record in load(shared, partition, &with_turns, incidents).await? {
            let id = record.workflow;
            match shared.open(record).await {
                Ok(workflow) => {
                    for stuck in workflow.state.stuck_tasks() {
                        record_task(shared, id, &stuck).await;
                    }
                    n_turns += workflow.state.open_turns().len();
                    let changes = standing(&workflow);
                    shared
                        .dispatch
                        .change(&Arc::new(owner(&workflow)), changes, now_ms);
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    tracing::error!(workflow.id = %id, error = &error as &dyn std::error::Error, "cannot open a workflow");
                    partition.timers.set(id, None);
                    incidents.insert(id);
                    shared
                        .store
                        .put_incident(id, error.code(), partition.fence())
                        .await?;
                    record_workflow(shared, id, error.code()).await;
                }
            }
        }
    }
}

/// Everything that the dispatcher has to know of a workflow that it knows nothing of.
pub fn standing(workflow: &Workflow) -> Vec<Change> {
    let state = &workflow.state;
    // Before its turns, so that nobody is given one.
    let first = if state.is_paused() && !is_planted(Bug::ForgetPauses) {
        Change::Pause
    } else {
        Change::Resume
    };
    let turns = state.open_turns().into_iter();
    let cancelled = state.is_in_grace().then_some(Change::Cancel);
    std::iter::once(first)
        .chain(turns.map(|it| Change::Put(Box::new(it))))
        .chain(cancelled)
        .collect()
}

/// Loads workflows; one whose row cannot be read becomes an incident and does not stop the others.
async fn load(
    shared: &Shared,
    partition: &mut Partition,
    ids: &[WorkflowId],
    incidents: &mut HashSet<WorkflowId>,
) -> Result<Vec<WorkflowRecord>, StoreError> {
    match shared.store.load(ids).await {
        Err(StoreError::Corrupt { .. }) => {}
        loaded => return loaded,
    }
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        match shared.store.load(&[*id]).await {
            Err(StoreError::Corrupt { what }) => {
                tracing::error!(workflow.id = %id, what, "a row cannot be read");
                partition.timers.set(*id, None);
                incidents.insert(*id);
                shared
                    .store
                    .put_incident(*id, ROW_UNREADABLE, partition.fence())
                    .await?;
                record_workflow(shared, *id, ROW_UNREADABLE).await;
            }
            loaded => records.extend(loaded?),
        }
    }
    Ok(records)
}
