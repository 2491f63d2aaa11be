//! What time brings about.

use super::Run;
use crate::command::Refusal;
use crate::definition::Kind;
use crate::effect::TurnReason;
use crate::error_name::{HEARTBEAT_TIMEOUT, TIMEOUT};
use crate::state::{OpenTask, Phase, Position};

/// What is due, in the order in which ties are judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Workflow,
    Grace,
    Attempt,
    Heartbeat,
    Prompt,
    Wake,
    Resume,
}

impl Run<'_> {
    /// Judges every deadline that is due, the earliest first.
    pub(super) fn judge_deadlines(&mut self) -> Result<(), Refusal> {
        while !self.state.status.is_closed() && !self.state.paused {
            let Some((at_ms, due, thread)) = self.earliest() else {
                return Ok(());
            };
            if self.now_ms() < at_ms {
                return Ok(());
            }
            match due {
                Due::Workflow => self.time_out_workflow()?,
                Due::Grace => self.end_grace()?,
                Due::Attempt => self.time_out(thread, TIMEOUT)?,
                Due::Heartbeat => self.time_out(thread, HEARTBEAT_TIMEOUT)?,
                Due::Prompt => self.expire(thread)?,
                Due::Wake => self.open_turn(thread, TurnReason::Woken)?,
                Due::Resume => self.resume(thread)?,
            }
            self.make_moves()?;
            self.look_at_grace()?;
        }
        Ok(())
    }

    fn earliest(&self) -> Option<(i64, Due, u32)> {
        let grace_until_ms = self.state.grace_until_ms();
        let threads = self.state.threads.iter().filter_map(|(id, thread)| {
            let (at_ms, due) = match &thread.position {
                Position::Task(task) if grace_until_ms.is_some() && !task.is_under_way() => {
                    return None;
                }
                Position::Task(task) => due_of_task(task)?,
                _ if grace_until_ms.is_some() => return None,
                Position::Waiting { until_ms, .. } | Position::BackingOff { until_ms, .. } => {
                    (*until_ms, Due::Resume)
                }
                Position::Forked { .. }
                | Position::Mapping(_)
                | Position::Visiting { .. }
                | Position::Held(_)
                | Position::Moving => {
                    return None;
                }
            };
            Some((at_ms, due, *id))
        });
        threads
            .chain(
                self.state
                    .deadline_ms
                    .map(|at_ms| (at_ms, Due::Workflow, 0)),
            )
            .chain(grace_until_ms.map(|at_ms| (at_ms, Due::Grace, 0)))
            .min()
    }

    /// A wait or a back-off is over.
    fn resume(&mut self, thread: u32) -> Result<(), Refusal> {
        match &self.thread(thread)?.position {
            Position::Task(_) => self.begin_attempt(thread),
            Position::Waiting { .. } => self.end_wait(thread),
            Position::BackingOff { visit, .. } => {
                let visit = visit.clone();
                let state_def = self.state_def(thread, &visit.state)?;
                match &state_def.kind {
                    Kind::Map(map) => self.enter_map(thread, state_def, map, visit),
                    Kind::Task(_) => self.enter_task(thread, visit),
                    _ => self.fork(thread, state_def, visit),
                }
            }
            Position::Forked { .. }
            | Position::Mapping(_)
            | Position::Visiting { .. }
            | Position::Held(_)
            | Position::Moving => Ok(()),
        }
    }
}

fn due_of_task(task: &OpenTask) -> Option<(i64, Due)> {
    let attempt = task.deadline_ms.map(|at_ms| (at_ms, Due::Attempt));
    let prompt = task.prompt.as_ref().map(|it| (it.expires_ms, Due::Prompt));
    match &task.phase {
        Phase::BackingOff { until_ms } => Some((*until_ms, Due::Resume)),
        Phase::Open { .. } => attempt.into_iter().chain(prompt).min(),
        Phase::Parked => {
            let wake = task.wake_ms.map(|at_ms| (at_ms, Due::Wake));
            let heartbeat = task.heartbeat_ms.map(|at_ms| (at_ms, Due::Heartbeat));
            attempt
                .into_iter()
                .chain(heartbeat)
                .chain(prompt)
                .chain(wake)
                .min()
        }
    }
}
