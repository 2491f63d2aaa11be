//! What runs now and how far it is: memory of this node only, never history.

use btrust_platform::clock::rfc3339;
use btrust_schemas::core::{ProgressView, RunningView};
use btrust_schemas::exchange::Progress;
use btrust_schemas::ids::WorkflowId;

use super::Dispatch;
use super::sessions::SessionNumber;
use super::slots::Told;

impl Dispatch {
    /// Notes how far turns are that the session holds; of others it has nothing to tell.
    pub fn progress(&self, number: SessionNumber, told: Vec<Progress>, now_ms: i64) {
        if told.is_empty() {
            return;
        }
        let mut inner = self.lock();
        for progress in told {
            if let Some(slot) = inner.slots.of_mut(progress.key)
                && let Some(lease) = slot.lease.as_mut().filter(|it| it.session == number)
            {
                lease.told = Some(Box::new(Told {
                    progress: progress.bounded(),
                    at_ms: now_ms,
                }));
            }
        }
    }

    /// The turns of a workflow that workers hold.
    pub fn running(&self, workflow: WorkflowId) -> Vec<RunningView> {
        let inner = self.lock();
        let tasks = inner.slots.of_workflow(workflow).into_iter();
        let running = tasks.filter_map(|task| {
            let slot = inner.slots.get(task)?;
            let lease = slot.lease.as_ref()?;
            let progress = lease.told.as_ref().map(|told| ProgressView {
                percent: told.progress.percent,
                note: told.progress.note.clone(),
                details: told.progress.details.clone(),
                at: rfc3339(told.at_ms),
            });
            Some(RunningView {
                task,
                state: slot.turn.state_name.clone(),
                resource: slot.turn.resource.clone(),
                attempt: slot.turn.attempt,
                turn: slot.turn.turn,
                worker: lease.session.to_string(),
                since: rfc3339(lease.since_ms),
                progress,
            })
        });
        running.collect()
    }
}
