//! Proves that nothing stands still without a reason.

use btrust_schemas::ids::{N_PARTITIONS, WorkflowId};

use crate::store::{OpenWorkflow, Store, StoreError};

/// Open workflows read at a time.
const PAGE: u32 = 1_000;

/// What a look at every open workflow has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub n_open: usize,
    pub n_incidents: usize,
    /// Open workflows that wait for nothing and nobody: there must be none.
    pub offenders: Vec<WorkflowId>,
}

/// Checks that every open workflow has an open turn, a timer, a prompt or an incident.
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
            checked
                .offenders
                .extend(page.iter().filter(|it| !is_alive(it)).map(|it| it.workflow));
        }
    }
    Ok(checked)
}

fn is_alive(open: &OpenWorkflow) -> bool {
    0 < open.n_turns || 0 < open.n_prompts || open.wake_at_ms.is_some() || open.incident.is_some()
}
