//! `Parallel`: branches that move on their own, and join in order.

use std::collections::BTreeMap;

use serde_json::Value;

use super::evaluate::limit_size;
use super::{Failure, Move, Run, Seen, Trouble, mismatch};
use crate::command::Refusal;
use crate::definition::{Kind, StateDef};
use crate::effect::CloseReason;
use crate::event::EventKind;
use crate::evidence::Evidence;
use crate::payload::Payload;
use crate::state::{Branch, Mapping, Position, ROOT, Thread, Visit};

impl<'a> Run<'a> {
    /// Starts every branch of a `Parallel`.
    pub(super) fn fork(
        &mut self,
        thread: u32,
        state_def: &'a StateDef,
        visit: Visit,
    ) -> Result<(), Refusal> {
        let Kind::Parallel {
            branches,
            arguments,
            ..
        } = &state_def.kind
        else {
            return Err(mismatch(format!(
                "`{}` is not a parallel state",
                state_def.name
            )));
        };
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let input = self
            .effective_input(state_def, thread, &visit)
            .and_then(|it| {
                let seen = Seen::of(thread, &visit).with_data(&it);
                self.arguments(arguments.as_ref(), &seen)
            });
        let input = match input {
            Ok(input) => input,
            Err(trouble) => return self.settle(thread, Err(trouble)),
        };
        let started = self.emit(
            thread,
            EventKind::ParallelStateStarted {
                name: state_def.name.clone(),
            },
        );
        let mut forked = Vec::with_capacity(branches.len());
        for (index, branch) in branches.iter().enumerate() {
            let id = self.add_branch(thread, (&state_def.name, index), started)?;
            self.moves.push_back(Move {
                thread: id,
                to: &branch.start_at,
                input: input.clone(),
            });
            forked.push(Branch::Running { thread: id });
        }
        self.thread_mut(thread)?.position = Position::Forked {
            visit,
            branches: forked,
        };
        Ok(())
    }

    /// Adds a branch below another one; it follows the event `previous`.
    pub(super) fn add_branch(
        &mut self,
        parent: u32,
        (state, index): (&str, usize),
        previous: u64,
    ) -> Result<u32, Refusal> {
        let around = self.thread(parent)?;
        let mut path = around.path.clone();
        path.push((state.to_owned(), index));
        let branch = Thread {
            parent: Some(parent),
            path,
            variables: BTreeMap::new(),
            evidence: around.evidence.fork(),
            previous,
            position: Position::Moving,
            item: None,
            child: around.child.clone(),
            compensations: Vec::new(),
            compensating: None,
        };
        let id = self.state.n_threads;
        self.state.n_threads += 1;
        self.state.threads.insert(id, branch);
        Ok(id)
    }

    /// Takes a branch away; what undoes what it has done is its parent's from now on.
    pub(super) fn remove_branch(&mut self, thread: u32) -> Option<Thread> {
        let mut branch = self.state.threads.remove(&thread)?;
        let parent = self.state.threads.get_mut(&branch.parent?)?;
        if !branch.compensations.is_empty() {
            parent.compensations.append(&mut branch.compensations);
            parent.compensations.sort_by_key(|it| it.order);
        }
        Some(branch)
    }

    /// A branch has reached its end.
    pub(super) fn finish_branch(&mut self, thread: u32, output: Payload) -> Result<(), Refusal> {
        let Some(branch) = self.remove_branch(thread) else {
            return Ok(());
        };
        let parent = branch
            .parent
            .ok_or_else(|| mismatch(format!("branch {thread} has no parent")))?;
        match &self.thread(parent)?.position {
            Position::Forked { .. } => self.finish_fork_branch(parent, thread, branch, output),
            Position::Mapping(_) => self.finish_item(parent, thread, branch, output),
            _ => Err(mismatch(format!("branch {parent} has not forked"))),
        }
    }

    /// A branch of a `Parallel` has ended well: the last one joins them all, and the first one wins a race.
    fn finish_fork_branch(
        &mut self,
        parent: u32,
        thread: u32,
        branch: Thread,
        output: Payload,
    ) -> Result<(), Refusal> {
        // What the join emits follows the branch that ended last.
        self.thread_mut(parent)?.previous = branch.previous;
        let is_race = self.is_race(parent)?;
        let Position::Forked { branches, .. } = &mut self.thread_mut(parent)?.position else {
            return Ok(());
        };
        for it in branches
            .iter_mut()
            .filter(|it| **it == Branch::Running { thread })
        {
            *it = Branch::Finished {
                output: output.clone(),
                evidence: branch.evidence.clone(),
            };
        }
        let is_last = branches
            .iter()
            .all(|it| matches!(it, Branch::Finished { .. }));
        if is_race || is_last {
            self.join(parent, is_race)
        } else {
            Ok(())
        }
    }

    fn is_race(&self, thread: u32) -> Result<bool, Refusal> {
        let Some(visit) = self.thread(thread)?.position.visit() else {
            return Ok(false);
        };
        let kind = &self.state_def(thread, &visit.state)?.kind;
        Ok(matches!(kind, Kind::Parallel { race: true, .. }))
    }

    fn join(&mut self, thread: u32, is_race: bool) -> Result<(), Refusal> {
        let position = std::mem::replace(&mut self.thread_mut(thread)?.position, Position::Moving);
        let Position::Forked { visit, branches } = position else {
            return Ok(());
        };
        self.thread_mut(thread)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let mut outputs = Vec::with_capacity(branches.len());
        let mut evidence: Vec<Evidence<String>> = Vec::with_capacity(branches.len());
        for branch in branches {
            match branch {
                Branch::Finished {
                    output,
                    evidence: held,
                } => {
                    outputs.push(output);
                    evidence.push(held);
                }
                Branch::Failed { evidence: held } => evidence.push(held),
                Branch::Running { thread: loser } => {
                    self.withdraw(loser, CloseReason::Withdrawn)?;
                    let lost = self.remove_branch(loser).map(|it| it.evidence);
                    evidence.extend(lost.map(|it| self.forfeit(thread, &visit, it)));
                }
            }
        }
        self.thread_mut(thread)?.evidence.join(evidence.iter());
        let result: Payload = match outputs.pop() {
            Some(won) if is_race => won,
            last => {
                outputs.extend(last);
                Value::Array(outputs.iter().map(Payload::to_value).collect()).into()
            }
        };
        let state_def = self.state_def(thread, &visit.state)?;
        let seen = Seen::of(thread, &visit).with_result(&result);
        let outcome = if let Err(failure) = limit_size(&result, "the result", &visit) {
            Err(Trouble::Failure(failure))
        } else {
            let name = visit.state.clone();
            self.emit_aside(thread, EventKind::ParallelStateSucceeded { name });
            self.leave(state_def.exit(), &seen, &result)
        };
        self.settle(thread, outcome)
    }

    /// Takes from a branch what it has gained, and says so.
    pub(super) fn forfeit(
        &mut self,
        thread: u32,
        visit: &Visit,
        mut evidence: Evidence<String>,
    ) -> Evidence<String> {
        for evidence in evidence.forfeit() {
            let name = visit.state.clone();
            self.note_forfeited(&evidence);
            self.emit(thread, EventKind::EvidenceRetracted { evidence, name });
        }
        evidence
    }

    /// A branch has failed: the root fails the workflow, any other its `Parallel` or `Map`.
    pub(super) fn fail_branch(&mut self, thread: u32, failure: Failure) -> Result<(), Refusal> {
        // The expression that failed was the branch's; it has been written there.
        let failure = Failure {
            location: None,
            ..failure
        };
        if !self.is_outlived(thread, &failure)? {
            self.note_wreck();
        }
        if thread == ROOT {
            return self.fail_workflow(failure);
        }
        let branch = self.thread(thread)?;
        let (previous, parent) = (branch.previous, branch.parent);
        let parent = parent.ok_or_else(|| mismatch(format!("branch {thread} has no parent")))?;
        if matches!(self.thread(parent)?.position, Position::Mapping(_)) {
            return self.fail_item(parent, thread, failure);
        }
        self.thread_mut(parent)?.previous = previous;
        if self.is_race(parent)? && self.drop_out(parent, thread)? {
            return Ok(());
        }
        let visit = self.abandon(parent, CloseReason::Withdrawn)?;
        self.thread_mut(parent)?.position = Position::Visiting { visit };
        self.fail_state(parent, failure)
    }

    /// A branch drops out of a race; says whether another one still runs.
    fn drop_out(&mut self, parent: u32, thread: u32) -> Result<bool, Refusal> {
        let visit = self.thread(parent)?.position.visit().cloned();
        let (Some(branch), Some(visit)) = (self.remove_branch(thread), visit) else {
            return Ok(false);
        };
        let evidence = self.forfeit(parent, &visit, branch.evidence);
        let Position::Forked { branches, .. } = &mut self.thread_mut(parent)?.position else {
            return Ok(false);
        };
        for it in branches
            .iter_mut()
            .filter(|it| **it == Branch::Running { thread })
        {
            *it = Branch::Failed {
                evidence: evidence.clone(),
            };
        }
        Ok(branches
            .iter()
            .any(|it| matches!(it, Branch::Running { .. })))
    }

    /// Ends every branch of a `Parallel` or `Map`; they contribute no evidence.
    pub(super) fn abandon(&mut self, thread: u32, reason: CloseReason) -> Result<Visit, Refusal> {
        let position = std::mem::replace(&mut self.thread_mut(thread)?.position, Position::Moving);
        let mut ended: Vec<Evidence<String>> = Vec::new();
        let (visit, running) = match position {
            Position::Forked { visit, branches } => {
                let mut running = Vec::new();
                for branch in branches {
                    match branch {
                        Branch::Finished { evidence, .. } | Branch::Failed { evidence } => {
                            ended.push(evidence);
                        }
                        Branch::Running { thread } => running.push(thread),
                    }
                }
                (visit, running)
            }
            Position::Mapping(mapping) => {
                let Mapping {
                    visit,
                    running,
                    evidence,
                    ..
                } = *mapping;
                self.note_aborted_items(&visit, &running);
                ended.extend(evidence);
                (visit, running.into_keys().collect())
            }
            _ => return Err(mismatch(format!("branch {thread} has not forked"))),
        };
        for branch in running {
            self.withdraw(branch, reason)?;
            ended.extend(self.remove_branch(branch).map(|it| it.evidence));
        }
        let ended: Vec<Evidence<String>> = ended
            .into_iter()
            .map(|it| self.forfeit(thread, &visit, it))
            .collect();
        self.thread_mut(thread)?.evidence.abandon(ended.iter());
        Ok(visit)
    }

    /// Takes back what a branch, and every branch below it, has open.
    pub(super) fn withdraw(&mut self, thread: u32, reason: CloseReason) -> Result<(), Refusal> {
        match &self.thread(thread)?.position {
            Position::Task(_) => {
                self.withdraw_turn(thread)?;
                self.close_prompt(thread, reason)
            }
            Position::Forked { .. } | Position::Mapping(_) => {
                self.abandon(thread, reason).map(|_| ())
            }
            _ => Ok(()),
        }
    }
}
