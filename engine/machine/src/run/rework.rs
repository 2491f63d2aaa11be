//! `BTrust.Rework` and `BTrust.Keep`: going back, and keeping what is still valid.

use serde_json::json;

use super::{Run, Seen, Trouble};
use crate::command::Refusal;
use crate::definition::{StateDef, TaskDef};
use crate::event::EventKind;
use crate::payload::Payload;
use crate::state::{Kept, Position, Visit};

impl<'a> Run<'a> {
    /// An exit goes back to `to`: it runs again, and the others may keep their results once.
    pub(super) fn begin_rework(&mut self, to: &str) {
        self.state.kept.remove(to);
        for kept in self.state.kept.values_mut() {
            kept.usable = true;
        }
    }

    /// Remembers a result that a later rework may keep.
    pub(super) fn remember(
        &mut self,
        task_def: &TaskDef,
        visit: &Visit,
        arguments: &Payload,
        outcome: &str,
        output: &Payload,
    ) {
        if task_def.keep.is_empty() {
            return;
        }
        if !task_def.keep.iter().any(|it| it == outcome) {
            self.state.kept.remove(&visit.state);
            return;
        }
        let kept = Kept {
            arguments: arguments.clone(),
            outcome: outcome.to_owned(),
            output: output.clone(),
            usable: false,
        };
        self.state.kept.insert(visit.state.clone(), kept);
    }

    /// Ends a state with its earlier result, if that is still valid; says whether it was.
    pub(super) fn keep(
        &mut self,
        thread: u32,
        state_def: &'a StateDef,
        visit: &Visit,
        arguments: &Payload,
    ) -> Result<bool, Trouble> {
        let Some(kept) = self.state.kept.get_mut(&visit.state) else {
            return Ok(false);
        };
        if !kept.usable || kept.arguments != *arguments {
            return Ok(false);
        }
        kept.usable = false;
        let (outcome, output) = (kept.outcome.clone(), kept.output.clone());
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let event = EventKind::TaskKept {
            name: visit.state.clone(),
            outcome: outcome.clone(),
            output: output.clone(),
        };
        self.emit(thread, event);
        self.state
            .outcomes
            .insert(visit.state.clone(), outcome.clone());
        let result: Payload = json!({"outcome": outcome, "output": output}).into();
        let left = self.leave_kept(thread, state_def, visit, &result);
        left.map(|()| true)
    }

    fn leave_kept(
        &mut self,
        thread: u32,
        state_def: &'a StateDef,
        visit: &Visit,
        result: &Payload,
    ) -> Result<(), Trouble> {
        let seen = Seen::of(thread, visit).with_result(result);
        match self.leave(state_def.exit(), &seen, result) {
            Ok(()) => Ok(()),
            Err(Trouble::Stop(refusal)) => Err(Trouble::Stop(refusal)),
            Err(Trouble::Failure(failure)) => {
                let settled: Result<(), Refusal> = self.fail_state(thread, failure);
                Ok(settled?)
            }
        }
    }
}
