//! Ending a workflow on request: at once, or with time for what is under way.

use super::Run;
use crate::command::Refusal;
use crate::effect::{CloseReason, Effect};
use crate::event::EventKind;
use crate::limits::CANCEL_GRACE_SECONDS_MAX;
use crate::state::{Cancelling, OpenTask, Position, ROOT, Then};

impl Run<'_> {
    /// Cancels: without grace at once, with it as soon as nothing is under way.
    pub(super) fn cancel(
        &mut self,
        reason: Option<String>,
        grace_seconds: i64,
        by: Option<String>,
    ) -> Result<(), Refusal> {
        if grace_seconds <= 0 {
            self.close_cancelled(reason, by);
            return Ok(());
        }
        let grace_seconds = grace_seconds.min(CANCEL_GRACE_SECONDS_MAX);
        self.forget_pause(by.clone());
        let requested = EventKind::CancellationRequested {
            reason: reason.clone(),
            grace_seconds,
            by: by.clone(),
        };
        self.emit(ROOT, requested);
        // From now on nothing but the grace ends it.
        self.state.deadline_ms = None;
        let until_ms = self.now_ms().saturating_add(grace_seconds * 1000);
        let mut cancelling = Cancelling {
            reason: reason.clone(),
            by: by.clone(),
            until_ms: Some(until_ms),
        };
        if let Some(compensating) = &mut self.thread_mut(ROOT)?.compensating {
            // What has been done is being undone already.
            compensating.then = Then::Cancel { reason, by };
            cancelling.until_ms = None;
            self.state.undone = true;
            self.state.cancelling = Some(cancelling);
            // It may have been held in a pause, which is over.
            return self.release();
        }
        self.state.cancelling = Some(cancelling);
        // Nobody is asked any more, and who has a turn is told.
        let threads: Vec<u32> = self.state.threads.keys().copied().collect();
        for thread in threads {
            self.close_prompt(thread, CloseReason::Withdrawn)?;
            if let Position::Task(task) = &mut self.thread_mut(thread)?.position {
                task.signal = None;
            }
        }
        self.effects.push(Effect::Cancel);
        Ok(())
    }

    /// Nobody is at these turns: they are not waited for.
    pub(super) fn turns_unheld(&mut self, turns: &[(u32, u32, u32)]) -> Result<(), Refusal> {
        if !self.state.is_in_grace() {
            return Ok(());
        }
        for (task, attempt, turn) in turns {
            let id = super::task::TurnId {
                task: *task,
                attempt: *attempt,
                turn: *turn,
            };
            // One that is not open any more is not waited for in any case.
            if let Ok(thread) = self.find_turn(id) {
                self.withdraw_turn(thread)?;
                self.task_mut(thread)?.token = None;
            }
        }
        Ok(())
    }

    /// Ends the grace when nothing is under way any more.
    pub(super) fn look_at_grace(&mut self) -> Result<(), Refusal> {
        let is_over = self.state.is_in_grace() && !self.state.tasks().any(OpenTask::is_under_way);
        if is_over { self.end_grace() } else { Ok(()) }
    }

    /// What has been done is undone, and then the workflow is cancelled.
    pub(super) fn end_grace(&mut self) -> Result<(), Refusal> {
        let Some(cancelling) = &mut self.state.cancelling else {
            return Ok(());
        };
        cancelling.until_ms = None;
        let Cancelling { reason, by, .. } = cancelling.clone();
        self.note_wreck();
        self.moves.clear();
        self.withdraw(ROOT, CloseReason::Withdrawn)?;
        if self.thread(ROOT)?.compensations.is_empty() {
            self.close_cancelled(reason, by);
            return Ok(());
        }
        self.begin_compensation(ROOT, Then::Cancel { reason, by })
    }
}
