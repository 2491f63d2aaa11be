//! Errors: `Retry`, `Catch`, and what happens without them.

use serde_json::json;

use super::flow::{Exit, Flow, Target};
use super::{Failure, Run, Seen, Trouble};
use crate::command::Refusal;
use crate::definition::{Catcher, Jitter, Kind, Retrier, StateDef};
use crate::error_name::{RUNTIME, is_among};
use crate::event::EventKind;
use crate::limits::SECONDS_MAX;
use crate::payload::Payload;
use crate::state::{OpenTask, Phase, Position, Role, Then, Visit};

impl<'a> Run<'a> {
    /// Deals with the trouble that a state has had.
    pub(super) fn settle(
        &mut self,
        thread: u32,
        outcome: Result<(), Trouble>,
    ) -> Result<(), Refusal> {
        match outcome {
            Ok(()) => Ok(()),
            Err(Trouble::Stop(refusal)) => Err(refusal),
            Err(Trouble::Failure(failure)) => self.fail_state(thread, failure),
        }
    }

    /// A state has failed: a retrier runs it again, a catcher leads on, or its branch fails.
    pub(super) fn fail_state(&mut self, thread: u32, failure: Failure) -> Result<(), Refusal> {
        let position = &self.thread(thread)?.position;
        let Some(visit) = position.visit().cloned() else {
            return Err(super::mismatch(
                "a branch between two states cannot fail".to_owned(),
            ));
        };
        let is_compensation =
            matches!(position, Position::Task(task) if task.role == Role::Compensate);
        if let Some(location) = &failure.location {
            let failed = EventKind::EvaluationFailed {
                name: visit.state.clone(),
                location: location.clone(),
                error: failure.error.clone(),
                cause: failure.cause.clone(),
            };
            self.emit(thread, failed);
        }
        let retriers = self.retriers(thread, &visit, is_compensation)?;
        let retrier = retriers
            .iter()
            .enumerate()
            .find(|(_, it)| is_among(&failure.error, &it.errors));
        if let Some((index, retrier)) = retrier
            && visit.retries.get(index).copied().unwrap_or(0) < retrier.attempts_max
        {
            return self.retry(thread, index, retrier);
        }
        if is_compensation {
            return self.fail_compensation(thread, failure);
        }
        let state_def = self.state_def(thread, &visit.state)?;
        self.note_failure(thread, state_def, &failure);
        let catch = state_def.handlers().map_or(&[][..], |it| &it.catch);
        let catcher = catch
            .iter()
            .position(|it| is_among(&failure.error, &it.errors));
        match catcher {
            Some(index) => self.begin_catch(thread, &visit, index, failure),
            None => self.fail_branch(thread, failure),
        }
    }

    fn retriers(
        &self,
        thread: u32,
        visit: &Visit,
        is_compensation: bool,
    ) -> Result<&'a [Retrier], Refusal> {
        if is_compensation {
            return Ok(&self.compensation(&visit.state)?.retry);
        }
        let state_def = self.state_def(thread, &visit.state)?;
        Ok(state_def.handlers().map_or(&[][..], |it| &it.retry))
    }

    /// As AWS writes it: a `Map` or `Parallel` that will not be retried has failed, unless it could not run at all.
    fn note_failure(&mut self, thread: u32, state_def: &StateDef, failure: &Failure) {
        if failure.error == RUNTIME {
            return;
        }
        let (name, error, cause) = (
            state_def.name.clone(),
            failure.error.clone(),
            failure.cause.clone(),
        );
        match &state_def.kind {
            Kind::Parallel { .. } => {
                self.emit(
                    thread,
                    EventKind::ParallelStateFailed { name, error, cause },
                );
            }
            Kind::Map(_) => {
                self.emit(thread, EventKind::MapStateFailed { name, error, cause });
            }
            _ => {}
        }
    }

    fn retry(&mut self, thread: u32, index: usize, retrier: &Retrier) -> Result<(), Refusal> {
        let (now_ms, random) = (self.now_ms(), std::rc::Rc::clone(&self.random));
        let position = &mut self.thread_mut(thread)?.position;
        let visit = match position {
            Position::Task(task) => &mut task.visit,
            Position::Visiting { visit } => visit,
            _ => return Ok(()),
        };
        if visit.retries.len() <= index {
            visit.retries.resize(index + 1, 0);
        }
        let until_ms = now_ms.saturating_add(delay_ms(retrier, visit.retries[index], &random));
        visit.retries[index] += 1;
        match position {
            Position::Task(task) => task.back_off(until_ms),
            other => {
                if let Some(visit) = other.visit().cloned() {
                    *other = Position::BackingOff { visit, until_ms };
                }
            }
        }
        Ok(())
    }

    fn begin_catch(
        &mut self,
        thread: u32,
        visit: &Visit,
        index: usize,
        failure: Failure,
    ) -> Result<(), Refusal> {
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let catcher = self.catcher(thread, visit, index)?;
        if catcher.compensate && !self.thread(thread)?.compensations.is_empty() {
            let then = Then::Catch {
                visit: visit.clone(),
                catcher: index,
                error: failure.error,
                cause: failure.cause,
            };
            return self.begin_compensation(thread, then);
        }
        self.catch(thread, visit, index, &failure.error, &failure.cause)
    }

    fn catcher(&self, thread: u32, visit: &Visit, index: usize) -> Result<&'a Catcher, Refusal> {
        self.state_def(thread, &visit.state)?
            .handlers()
            .and_then(|it| it.catch.get(index))
            .ok_or_else(|| super::mismatch(format!("`{}` has no catcher {index}", visit.state)))
    }

    /// Goes on where a catcher leads.
    pub(super) fn catch(
        &mut self,
        thread: u32,
        visit: &Visit,
        index: usize,
        error: &str,
        cause: &str,
    ) -> Result<(), Refusal> {
        let state_def = self.state_def(thread, &visit.state)?;
        let catcher = self.catcher(thread, visit, index)?;
        let error_output: Payload = json!({"Error": error, "Cause": cause}).into();
        let seen = Seen::of(thread, visit).with_error(&error_output);
        let exit = Exit {
            assign: &catcher.assign,
            output: catcher.output.as_ref(),
            flow: Flow::of_catcher(state_def, catcher),
            next: Target::State(&catcher.next),
            rework: catcher.rework,
        };
        match self.leave(exit, &seen, &error_output) {
            Ok(()) => Ok(()),
            Err(Trouble::Stop(refusal)) => Err(refusal),
            // What a catcher itself gets wrong is not caught.
            Err(Trouble::Failure(failure)) => self.fail_branch(thread, failure),
        }
    }
}

impl OpenTask {
    /// The attempt is over, and the next one begins later.
    fn back_off(&mut self, until_ms: i64) {
        self.phase = Phase::BackingOff { until_ms };
        self.deadline_ms = None;
        self.heartbeat_ms = None;
        self.wake_ms = None;
        self.token = None;
        self.signal = None;
    }
}

/// How long to wait before the retry that follows `n_used` earlier ones.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "bounded by SECONDS_MAX"
)]
fn delay_ms(retrier: &Retrier, n_used: u32, random: &crate::expression::Random) -> i64 {
    let exponent = i32::try_from(n_used).unwrap_or(i32::MAX);
    let grown = retrier.interval_seconds as f64 * retrier.backoff_rate.powi(exponent);
    let seconds_max = retrier.delay_max_seconds.unwrap_or(SECONDS_MAX) as f64;
    let bounded_ms = grown.min(seconds_max) * 1000.0;
    match retrier.jitter {
        Jitter::None => bounded_ms as i64,
        Jitter::Full => (bounded_ms * random.unit()) as i64,
    }
}
