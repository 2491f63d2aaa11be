//! Pausing: nothing new begins, and what comes in is taken.

use super::{Failure, Move, Run, mismatch};
use crate::command::Refusal;
use crate::effect::Effect;
use crate::event::EventKind;
use crate::state::{Held, Position, ROOT};

impl Run<'_> {
    pub(super) fn pause(
        &mut self,
        reason: Option<String>,
        by: Option<String>,
    ) -> Result<(), Refusal> {
        if self.state.cancelling.is_some() {
            return Err(Refusal::WorkflowCancelling);
        }
        self.state.paused = true;
        self.emit_aside(ROOT, EventKind::WorkflowPaused { reason, by });
        self.effects.push(Effect::Pause);
        Ok(())
    }

    /// Goes on: first what was due meanwhile, then what was held.
    pub(super) fn end_pause(&mut self, by: Option<String>) -> Result<(), Refusal> {
        self.forget_pause(by);
        self.judge_deadlines()?;
        self.release()
    }

    /// The workflow is paused no longer, whatever becomes of it.
    pub(super) fn forget_pause(&mut self, by: Option<String>) {
        if self.state.paused {
            self.state.paused = false;
            self.emit_aside(ROOT, EventKind::WorkflowResumed { by });
            self.effects.push(Effect::Resume);
        }
    }

    /// Whether branches may not go on from state to state.
    pub(super) fn is_holding(&self) -> bool {
        self.state.paused || self.state.is_in_grace()
    }

    pub(super) fn hold(&mut self, thread: u32, held: Held) -> Result<(), Refusal> {
        self.thread_mut(thread)?.position = Position::Held(held);
        Ok(())
    }

    /// Lets every branch go on that is held.
    pub(super) fn release(&mut self) -> Result<(), Refusal> {
        let branches: Vec<u32> = self.state.threads.keys().copied().collect();
        for thread in branches {
            // The one before may have ended the workflow.
            let Some(branch) = self.state.threads.get_mut(&thread) else {
                return Ok(());
            };
            if !matches!(branch.position, Position::Held(_)) {
                continue;
            }
            let position = std::mem::replace(&mut branch.position, Position::Moving);
            let Position::Held(held) = position else {
                continue;
            };
            match held {
                Held::Enter { state, input } => {
                    let to = &self.state_def(thread, &state)?.name;
                    self.moves.push_back(Move { thread, to, input });
                }
                Held::Write { visit, results } => self.begin_writer(thread, visit, results)?,
                Held::Succeed { output } => self.close_succeeded(output, None),
                Held::Fail { error, cause } => {
                    self.fail_workflow(Failure::new(&error, cause))?;
                }
                Held::Undo => self.compensate_next(thread)?,
                Held::Nothing => {
                    return Err(mismatch("a branch that has ended is held".to_owned()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::limits::{HISTORY_EVENTS_MAX, HISTORY_EVENTS_RESERVED};
    use crate::{Command, Definition, Env, Origin, State, Status, apply};

    fn applied(state: Option<State>, command: &Command) -> State {
        let document =
            json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 9, "End": true}}});
        let definition = Definition::parse_states(&document).expect("it is a definition");
        let env = Env {
            now_ms: 1_000,
            seed: 1,
        };
        let applied = apply(&definition, state, command, &env);
        applied.expect("the command is taken").state
    }

    #[test]
    fn a_history_that_is_full_ends_a_workflow_only_after_its_pause() {
        let start = Command::Start {
            workflow: "wf_1".to_owned(),
            definition: "waits".to_owned(),
            version: 1,
            input: json!({}).into(),
            origin: Origin::default(),
        };
        let mut state = applied(None, &start);
        state.n_events = HISTORY_EVENTS_MAX - HISTORY_EVENTS_RESERVED - 1;
        let (reason, by) = (None, None);
        let state = applied(Some(state), &Command::Pause { reason, by });
        assert_eq!((state.status(), state.is_paused()), (Status::Running, true));
        let state = applied(Some(state), &Command::Resume { by: None });
        assert_eq!(state.status(), Status::Failed);
    }
}
