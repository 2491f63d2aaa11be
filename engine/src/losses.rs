//! Turns whose worker was lost: counted by the state machine, which parks the one that is lost too often.

use futures_util::future::join_all;

use btrust_machine::{Command, TURN_POISONED};
use btrust_schemas::turn::TurnKey;

use crate::engine::Engine;
use crate::incidents;
use crate::mailbox::Request;
use crate::metrics;

impl Engine {
    /// Gives the turns of silent workers to others.
    pub(crate) async fn lose_silent_leases(&self) {
        let lost = self.shared.dispatch.expire(self.shared.clock.now_ms());
        if !lost.is_empty() {
            let n_lost = lost.len();
            tracing::warn!(n_lost, "a worker has been silent; others get its turns");
        }
        self.note_losses(lost).await;
    }

    /// Counts lost leases; each turn is handed out again after that.
    pub(crate) async fn note_losses(&self, lost: Vec<TurnKey>) {
        join_all(lost.into_iter().map(|it| self.note_loss(it))).await;
    }

    async fn note_loss(&self, key: TurnKey) {
        metrics::LEASES_LOST.inc();
        let workflow = key.task.workflow;
        let command = Command::LeaseLost {
            task: key.task.number,
            attempt: key.attempt,
            turn: key.turn,
        };
        let request = Request::Command {
            workflow,
            tenant: None,
            queues: None,
            command: Box::new(command),
        };
        match self.mailbox.ask(request).await {
            Ok(done) => {
                let stuck = done.workflow.state.stuck_tasks();
                if let Some(stuck) = stuck.iter().find(|it| it.task == key.task.number) {
                    tracing::error!(task.id = %key.task, "a turn has lost too many workers and is parked");
                    metrics::INCIDENTS.with_label_values(&[TURN_POISONED]).inc();
                    incidents::record_task(&self.shared, workflow, stuck).await;
                }
            }
            // It has ended meanwhile, or its count could not be stored: then the next loss counts.
            Err(error) => {
                tracing::warn!(task.id = %key.task, code = error.code(), "a lost lease is not counted");
            }
        }
        let now_ms = self.shared.clock.now_ms();
        self.shared.dispatch.loss_noted(key, now_ms);
    }
}
