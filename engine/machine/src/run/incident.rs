//! Turns that kill their workers: parked until somebody has looked.

use super::task::TurnId;
use super::{Failure, Run};
use crate::command::{IncidentAction, Refusal};
use crate::effect::Effect;
use crate::event::EventKind;
use crate::limits::LEASES_LOST_MAX;
use crate::state::ROOT;

/// The code of a turn that has lost too many leases.
pub const TURN_POISONED: &str = "turn_poisoned";

impl Run<'_> {
    /// A worker has lost the lease of a turn without a result; one time too often parks it.
    pub(super) fn lease_lost(&mut self, turn: TurnId) -> Result<(), Refusal> {
        if self.state.is_in_grace() {
            // Nobody else gets it, so nobody will end it.
            return self.turns_unheld(&[(turn.task, turn.attempt, turn.turn)]);
        }
        let thread = self.find_turn(turn)?;
        let task = self.task_mut(thread)?;
        if task.is_stuck {
            return Ok(());
        }
        task.n_lost = task.n_lost.saturating_add(1);
        if task.n_lost < LEASES_LOST_MAX {
            return Ok(());
        }
        task.is_stuck = true;
        let raised = EventKind::IncidentRaised {
            task: task.task,
            attempt: task.attempt,
            turn: task.turn,
            name: task.visit.state.clone(),
            resource: task.resource.clone(),
            code: TURN_POISONED.to_owned(),
        };
        let number = task.task;
        self.effects.push(Effect::Withdraw { task: number });
        self.emit(thread, raised);
        Ok(())
    }

    /// Somebody has looked at an incident, of one task or of the whole workflow, and says how to go on.
    pub(super) fn resolve_incident(
        &mut self,
        task: Option<u32>,
        action: &IncidentAction,
        by: &str,
    ) -> Result<(), Refusal> {
        if self.state.is_in_grace() {
            return Err(Refusal::WorkflowCancelling);
        }
        let resolved = EventKind::IncidentResolved {
            task,
            action: action.word().to_owned(),
            by: by.to_owned(),
        };
        let Some(number) = task else {
            // What stood still was the workflow, and every command that is committed makes it go on.
            return match action {
                IncidentAction::Retry => {
                    self.emit(ROOT, resolved);
                    Ok(())
                }
                IncidentAction::Fail { .. } => Err(Refusal::IncidentWithoutTask),
            };
        };
        let thread = self.state.thread_of_task(number);
        let thread = thread.ok_or(Refusal::IncidentClosed { task: number })?;
        let stuck = self.task_mut(thread)?;
        if !stuck.is_stuck {
            return Err(Refusal::IncidentClosed { task: number });
        }
        stuck.is_stuck = false;
        stuck.n_lost = 0;
        let turn = stuck.open_turn();
        self.emit(thread, resolved);
        match action {
            IncidentAction::Retry => {
                self.effects.extend(turn.map(Effect::Dispatch));
                Ok(())
            }
            IncidentAction::Fail { error, cause } => {
                self.fail_attempt(thread, Failure::new(error, cause.as_str()))
            }
        }
    }
}
