//! Redriving: a workflow that did not end well goes on from where it failed.
//!
//! What fails a workflow takes its branches away on the way up. So the branches are noted before the
//! first of them is taken away, as they were: outputs, variables, evidence and what would undo them.
//! The states that were under way run again, and a state that runs again retracts evidence as it does
//! by any other edge.

use super::{Failure, Run};
use crate::command::Refusal;
use crate::definition::{Kind, StateDef};
use crate::effect::Effect;
use crate::error_name::is_among;
use crate::event::EventKind;
use crate::limits::{HISTORY_EVENTS_MAX, HISTORY_EVENTS_RESERVED, REDRIVE_KEYS_MAX, REDRIVES_MAX};
use crate::state::{
    Branch, Held, OpenTask, Position, ROOT, Role, State, Status, Thread, Visit, Wreck,
};

impl Run<'_> {
    /// Notes where every branch stands, unless that is noted already or nothing can go on from there.
    pub(super) fn note_wreck(&mut self) {
        if self.state.wreck.is_some() || self.state.undone {
            return;
        }
        let mut threads = self.state.threads.clone();
        for it in &self.moves {
            if let Some(branch) = threads.get_mut(&it.thread) {
                branch.position = Position::Held(Held::Enter {
                    state: it.to.to_owned(),
                    input: it.input.clone(),
                });
            }
        }
        if !threads.is_empty() && threads.values_mut().all(make_held) {
            let wreck = Wreck {
                threads,
                forfeited: Vec::new(),
            };
            self.state.wreck = Some(Box::new(wreck));
        }
    }

    /// Whether something around a branch lives on when the branch fails: nothing is noted then.
    pub(super) fn is_outlived(&self, thread: u32, failure: &Failure) -> Result<bool, Refusal> {
        let mut thread = thread;
        let mut error = failure.error.as_str();
        while let Some(parent) = self.thread(thread)?.parent {
            let position = &self.thread(parent)?.position;
            let Some(visit) = position.visit() else {
                return Ok(false);
            };
            let state_def = self.state_def(parent, &visit.state)?;
            match (position, &state_def.kind) {
                (Position::Mapping(mapping), Kind::Map(map)) => {
                    if mapping.failed < mapping.tolerated {
                        return Ok(true);
                    }
                    if map.is_distributed {
                        error = super::map::EXCEED_TOLERATED_FAILURE_THRESHOLD;
                    }
                }
                (Position::Forked { branches, .. }, Kind::Parallel { race: true, .. }) => {
                    let is_other =
                        |it: &Branch| matches!(it, Branch::Running { thread: it } if *it != thread);
                    if branches.iter().any(is_other) {
                        return Ok(true);
                    }
                }
                _ => {}
            }
            if is_handled(state_def, visit, error) {
                return Ok(true);
            }
            thread = parent;
        }
        Ok(false)
    }

    /// The workflow goes on from where it failed.
    pub(super) fn redrive(
        &mut self,
        key: &str,
        reason: Option<String>,
        by: Option<String>,
    ) -> Result<(), Refusal> {
        let impossible = |detail| Err(Refusal::RedriveImpossible { detail });
        if !self.state.status.is_closed() {
            return Err(Refusal::WorkflowRunning);
        }
        if self.state.status == Status::Succeeded {
            return impossible("it has succeeded");
        }
        if self.state.status == Status::Continued {
            return impossible("another one goes on from it");
        }
        if self.state.undone {
            return impossible("what it had done is undone");
        }
        if REDRIVES_MAX <= self.state.n_redrives {
            return impossible("it has been redriven too often");
        }
        if HISTORY_EVENTS_MAX - HISTORY_EVENTS_RESERVED <= self.state.n_events {
            return impossible("its history is full");
        }
        let Some(wreck) = self.state.wreck.take() else {
            return impossible("nothing is known of where it stood");
        };
        let Wreck { threads, forfeited } = *wreck;
        let now_ms = self.now_ms();
        self.state.threads = threads;
        self.state.status = Status::Running;
        self.state.closed = None;
        self.state.n_redrives += 1;
        self.remember_redrive(key);
        self.state.deadline_ms = self
            .definition
            .timeout_seconds
            .map(|it| now_ms.saturating_add(it * 1000));
        let redrive = self.state.n_redrives;
        let redriven = EventKind::ExecutionRedriven {
            redrive,
            reason,
            by,
        };
        self.emit(ROOT, redriven);
        for evidence in forfeited {
            let rule = self
                .definition
                .evidence
                .iter()
                .find(|it| it.name == evidence);
            let name = rule.map_or_else(String::new, |it| it.state.clone());
            self.emit(ROOT, EventKind::EvidenceGained { evidence, name });
        }
        self.effects.push(Effect::Reopen);
        self.release()
    }

    fn remember_redrive(&mut self, key: &str) {
        let keys = &mut self.state.redrive_keys;
        keys.extend(self.state.redrive_key.take());
        keys.push_back(super::remembered(key).to_owned());
        let n_over = keys.len().saturating_sub(REDRIVE_KEYS_MAX);
        keys.drain(..n_over);
    }

    /// The workflow was started again, as another one.
    pub(super) fn note_restart(
        &mut self,
        workflow: &str,
        by: Option<String>,
    ) -> Result<(), Refusal> {
        if !self.state.status.is_closed() {
            return Err(Refusal::WorkflowRunning);
        }
        workflow.clone_into(self.state.restarted_as.get_or_insert_default());
        let workflow = workflow.to_owned();
        self.emit_after(0, EventKind::WorkflowRestarted { workflow, by });
        Ok(())
    }

    /// What the end takes from a branch comes back when the workflow is redriven.
    pub(super) fn note_forfeited(&mut self, evidence: &str) {
        if let Some(wreck) = &mut self.state.wreck {
            wreck.forfeited.push(evidence.to_owned());
        }
    }
}

/// Whether the workflow was redriven with this key before.
pub(super) fn is_repeated(state: &State, key: &str) -> bool {
    let key = super::remembered(key);
    let mut keys = state.redrive_keys.iter().chain(&state.redrive_key);
    keys.any(|it| it == key)
}

/// Whether a retrier or a catcher of a state takes the error.
fn is_handled(state_def: &StateDef, visit: &Visit, error: &str) -> bool {
    let Some(handlers) = state_def.handlers() else {
        return false;
    };
    let mut retriers = handlers.retry.iter().enumerate();
    let retrier = retriers.find(|(_, it)| is_among(error, &it.errors));
    let is_retried = retrier.is_some_and(|(index, it)| {
        visit.retries.get(index).copied().unwrap_or(0) < it.attempts_max
    });
    is_retried || handlers.catch.iter().any(|it| is_among(error, &it.errors))
}

/// Makes a branch as it will be when it may go on; says whether it can.
fn make_held(branch: &mut Thread) -> bool {
    if branch.compensating.is_some() {
        return false;
    }
    match &mut branch.position {
        Position::Forked { visit, .. } => visit.retries.clear(),
        Position::Mapping(mapping) => mapping.visit.retries.clear(),
        Position::Held(Held::Fail { .. } | Held::Undo | Held::Nothing) | Position::Moving => {
            return false;
        }
        Position::Held(_) => {}
        Position::Task(task) => {
            let held = match &**task {
                OpenTask {
                    role: Role::Write,
                    results: Some(results),
                    visit,
                    ..
                } => Held::Write {
                    visit: Visit {
                        retries: Vec::new(),
                        ..visit.clone()
                    },
                    results: results.clone(),
                },
                OpenTask { visit, .. } => again(visit),
            };
            branch.position = Position::Held(held);
        }
        Position::Visiting { visit }
        | Position::Waiting { visit, .. }
        | Position::BackingOff { visit, .. } => {
            let held = again(visit);
            branch.position = Position::Held(held);
        }
    }
    true
}

fn again(visit: &Visit) -> Held {
    Held::Enter {
        state: visit.state.clone(),
        input: visit.input.clone(),
    }
}
