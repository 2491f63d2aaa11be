//! `BTrust.Compensation`: what was done is undone, the latest first.

use super::{Failure, Run, Seen, Trouble};
use crate::command::Refusal;
use crate::definition::{Compensation, Kind, TaskDef, no_arguments};
use crate::event::EventKind;
use crate::state::{Compensating, Held, Position, ROOT, Registered, Role, Then, Visit};

/// What compensations are told when a workflow is cancelled.
const CANCELLED: &str = "BTrust.Cancelled";

impl<'a> Run<'a> {
    /// The compensation of a state, at whatever level it is.
    pub(super) fn compensation(&self, state: &str) -> Result<&'a Compensation, Refusal> {
        let definition: &'a crate::definition::Definition = self.definition;
        match definition.state_anywhere(state).map(|it| &it.kind) {
            Some(Kind::Task(task)) => task.compensation.as_deref(),
            _ => None,
        }
        .ok_or_else(|| super::mismatch(format!("`{state}` has no compensation")))
    }

    /// A task has ended well: notes what undoes it.
    pub(super) fn register_compensation(
        &mut self,
        task_def: &TaskDef,
        seen: &Seen<'_>,
    ) -> Result<(), Trouble> {
        let Some(compensation) = &task_def.compensation else {
            return Ok(());
        };
        let arguments = match &compensation.arguments {
            Some(template) => self.template(template, "BTrust.Compensation/Arguments", seen)?,
            None => no_arguments(),
        };
        super::evaluate::limit_size(&arguments, "the value of Arguments", seen.visit)?;
        let order = self.state.n_compensations;
        let branch = self.thread_mut(seen.thread)?;
        branch.compensations.push(Registered {
            order,
            state: seen.visit.state.clone(),
            arguments: arguments.clone(),
        });
        self.state.n_compensations += 1;
        let registered = EventKind::CompensationRegistered {
            name: seen.visit.state.clone(),
            resource: compensation.resource.clone(),
            arguments,
        };
        self.emit(seen.thread, registered);
        Ok(())
    }

    /// Nothing has caught a failure: the workflow fails when everything is undone.
    pub(super) fn fail_workflow(&mut self, failure: Failure) -> Result<(), Refusal> {
        let root = self.thread(ROOT)?;
        if self.state.is_in_grace() {
            // It is cancelled all the same, as soon as nothing is under way.
            return self.hold(ROOT, Held::Nothing);
        }
        if self.state.paused {
            let Failure { error, cause, .. } = failure;
            return self.hold(ROOT, Held::Fail { error, cause });
        }
        if root.compensations.is_empty() || root.compensating.is_some() {
            self.close_failed(failure);
            return Ok(());
        }
        let Failure { error, cause, .. } = failure;
        self.begin_compensation(ROOT, Then::Fail { error, cause })
    }

    /// The time of the workflow is over: it ends when everything is undone.
    pub(super) fn time_out_workflow(&mut self) -> Result<(), Refusal> {
        self.state.deadline_ms = None;
        if let Some(compensating) = &mut self.thread_mut(ROOT)?.compensating {
            // What is being undone is undone to the end; no catcher follows it any more, and what
            // has failed has failed.
            if matches!(compensating.then, Then::Catch { .. }) {
                compensating.then = Then::TimeOut;
                self.state.undone = true;
            }
            return Ok(());
        }
        if matches!(
            self.thread(ROOT)?.position,
            Position::Held(Held::Fail { .. })
        ) {
            // It has failed in a pause, which ends now.
            return Ok(());
        }
        self.note_wreck();
        self.withdraw(ROOT, crate::effect::CloseReason::Withdrawn)?;
        if self.thread(ROOT)?.compensations.is_empty() {
            self.close_timed_out();
            return Ok(());
        }
        self.moves.clear();
        self.begin_compensation(ROOT, Then::TimeOut)
    }

    /// Begins to undo what a branch has done.
    pub(super) fn begin_compensation(&mut self, thread: u32, then: Then) -> Result<(), Refusal> {
        let error = match &then {
            Then::Fail { error, .. } | Then::Catch { error, .. } => error.clone(),
            Then::TimeOut => crate::error_name::TIMEOUT.to_owned(),
            Then::Cancel { .. } => CANCELLED.to_owned(),
        };
        if !matches!(then, Then::Catch { .. }) {
            // Once it is undone, nothing can go on from it.
            self.state.wreck = None;
            self.state.undone = true;
        }
        let branch = self.thread_mut(thread)?;
        let count = branch.compensations.len();
        branch.compensating = Some(Compensating { failed: 0, then });
        self.emit(thread, EventKind::CompensationStarted { count, error });
        self.compensate_next(thread)
    }

    /// Undoes the latest that is left, or goes on when nothing is.
    pub(super) fn compensate_next(&mut self, thread: u32) -> Result<(), Refusal> {
        if self.state.is_in_grace() {
            // What the branch has left to undo is undone with everything else.
            return self.hold(thread, Held::Nothing);
        }
        if self.state.paused {
            return self.hold(thread, Held::Undo);
        }
        let branch = self.thread_mut(thread)?;
        // It stays registered until it has ended, in case the branch is cancelled meanwhile.
        let Some(Registered {
            state, arguments, ..
        }) = branch.compensations.last().cloned()
        else {
            return self.end_compensation(thread);
        };
        for evidence in branch.evidence.undo(&state) {
            let name = state.clone();
            self.emit(thread, EventKind::EvidenceRetracted { evidence, name });
        }
        // What is undone is not there to be kept.
        self.state.kept.remove(&state);
        let visit = Visit {
            state,
            input: arguments,
            entered_ms: self.now_ms(),
            entered: self.thread(thread)?.previous,
            retries: Vec::new(),
        };
        self.begin_task(thread, visit, Role::Compensate)
    }

    /// A state has been undone.
    pub(super) fn finish_compensation(&mut self, thread: u32) -> Result<(), Refusal> {
        self.thread_mut(thread)?.compensations.pop();
        self.compensate_next(thread)
    }

    /// A state could not be undone: that is written, and the others are undone all the same.
    pub(super) fn fail_compensation(
        &mut self,
        thread: u32,
        failure: Failure,
    ) -> Result<(), Refusal> {
        let branch = self.thread_mut(thread)?;
        if let Some(compensating) = &mut branch.compensating {
            compensating.failed += 1;
        }
        let name = branch
            .position
            .visit()
            .map_or_else(String::new, |it| it.state.clone());
        let failed = EventKind::CompensationFailed {
            name,
            error: failure.error,
            cause: failure.cause,
        };
        self.emit(thread, failed);
        self.finish_compensation(thread)
    }

    fn end_compensation(&mut self, thread: u32) -> Result<(), Refusal> {
        let branch = self.thread_mut(thread)?;
        branch.position = Position::Moving;
        let Some(Compensating { failed, then }) = branch.compensating.take() else {
            return Ok(());
        };
        self.emit(thread, EventKind::CompensationFinished { failed });
        match then {
            Then::Fail { error, cause } => self.close_failed(Failure::new(&error, cause)),
            Then::TimeOut => self.close_timed_out(),
            Then::Cancel { reason, by } => self.close_cancelled(reason, by),
            Then::Catch {
                visit,
                catcher,
                error,
                cause,
            } => {
                self.thread_mut(thread)?.position = Position::Visiting {
                    visit: visit.clone(),
                };
                self.catch(thread, &visit, catcher, &error, &cause)?;
            }
        }
        Ok(())
    }
}
