//! Proves that nothing stands still without a reason.

use std::collections::HashMap;

use btrust_schemas::ids::{N_PARTITIONS, WorkflowId};

use crate::store::{OpenWorkflow, Store, StoreError};

/// Open workflows read at a time.
const PAGE: u32 = 1_000;

/// What a look at every open workflow has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Workflows that are open, or that owe another one a message.
    pub n_open: usize,
    pub n_incidents: usize,
    /// Open workflows that wait for nothing and nobody, or for a child that is lost: there must be none.
    pub offenders: Vec<WorkflowId>,
}

/// Checks that every open workflow has an open turn, a timer, a prompt, a signal that it waits for, a
/// message to deliver, a child or an incident, or is paused, and that every child that is waited for is
/// there.
pub async fn check(store: &dyn Store) -> Result<Checked, StoreError> {
    let mut checked = Checked::default();
    for partition in (0..N_PARTITIONS).filter_map(|it| u8::try_from(it).ok()) {
        let mut after = None;
        loop {
            let page = store.open_workflows(partition, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.workflow);
            checked.n_open += page.len();
            checked.n_incidents += page.iter().filter(|it| it.incident.is_some()).count();
            let still = page.iter().filter(|it| !is_alive(it));
            checked.offenders.extend(still.map(|it| it.workflow));
            checked
                .offenders
                .extend(parents_of_the_lost(store, &page).await?);
        }
    }
    Ok(checked)
}

fn is_alive(open: &OpenWorkflow) -> bool {
    0 < open.n_turns
        || 0 < open.n_prompts
        || 0 < open.n_signals
        || 0 < open.n_owed
        || open.wake_at_ms.is_some()
        || open.children.is_some()
        || open.incident.is_some()
}

/// Workflows that wait for a child that is not there, or that has ended and will not tell them.
async fn parents_of_the_lost(
    store: &dyn Store,
    page: &[OpenWorkflow],
) -> Result<Vec<WorkflowId>, StoreError> {
    let mut children = Vec::new();
    for open in page {
        children.extend(children_of(open.children.as_deref()));
    }
    if children.is_empty() {
        return Ok(Vec::new());
    }
    let found = live(store, &children).await?;
    let is_lost = |it: &WorkflowId| !found.get(it).copied().unwrap_or_default();
    let mut parents = Vec::new();
    for open in page {
        let lost: Vec<WorkflowId> = children_of(open.children.as_deref())
            .filter(is_lost)
            .collect();
        if lost.is_empty() {
            continue;
        }
        // A child is let go of before it stops telling: a parent that has heard meanwhile is fine.
        let now = store.load(&[open.workflow]).await?;
        let still = now
            .iter()
            .flat_map(|it| children_of(it.snapshot.children.as_deref()));
        if still.into_iter().any(|it| lost.contains(&it)) {
            parents.push(open.workflow);
        }
    }
    Ok(parents)
}

fn children_of(column: Option<&str>) -> impl Iterator<Item = WorkflowId> {
    let ids = column.unwrap_or_default().split_whitespace();
    ids.filter_map(|it| it.parse().ok())
}

/// Which of `workflows` are open or owe something.
async fn live(
    store: &dyn Store,
    workflows: &[WorkflowId],
) -> Result<HashMap<WorkflowId, bool>, StoreError> {
    let mut found = HashMap::with_capacity(workflows.len());
    for chunk in workflows.chunks(PAGE as usize) {
        for record in store.load(chunk).await? {
            found.insert(record.workflow, record.snapshot.is_open);
        }
    }
    Ok(found)
}
