//! `Parallel`: branches that move on their own, and join in order.

use std::collections::BTreeMap;

use serde_json::Value;

use super::evaluate::{Seen, limit_size};
use super::{Failure, Move, Run, Trouble, mismatch};
use crate::command::Refusal;
use crate::definition::{Kind, StateDef};
use crate::effect::CloseReason;
use crate::event::EventKind;
use crate::evidence::Evidence;
use crate::payload::Payload;
use crate::state::{Branch, Position, ROOT, Thread, Visit};

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
        let seen = Seen {
            thread,
            visit: &visit,
            result: None,
            error_output: None,
        };
        let input = match arguments {
            None => Ok(visit.input.clone()),
            Some(template) => self.template(template, "Arguments", &seen).and_then(|it| {
                limit_size(&it, "the value of Arguments", &visit)?;
                Ok(it)
            }),
        };
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
        let parent = self.thread(thread)?;
        let (path, evidence) = (parent.path.clone(), parent.evidence.fork());
        let mut forked = Vec::with_capacity(branches.len());
        for (index, branch) in branches.iter().enumerate() {
            let id = self.state.n_threads;
            self.state.n_threads += 1;
            let mut path = path.clone();
            path.push((state_def.name.clone(), index));
            let child = Thread {
                parent: Some(thread),
                path,
                variables: BTreeMap::new(),
                evidence: evidence.clone(),
                previous: started,
                position: Position::Moving,
            };
            self.state.threads.insert(id, child);
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

    /// A branch has reached its end; the last one joins them all.
    pub(super) fn finish_branch(&mut self, thread: u32, output: Payload) -> Result<(), Refusal> {
        let Some(child) = self.state.threads.remove(&thread) else {
            return Ok(());
        };
        let parent = child
            .parent
            .ok_or_else(|| mismatch(format!("branch {thread} has no parent")))?;
        let Position::Forked { branches, .. } = &mut self.thread_mut(parent)?.position else {
            return Err(mismatch(format!("branch {parent} has not forked")));
        };
        for branch in branches
            .iter_mut()
            .filter(|it| **it == Branch::Running { thread })
        {
            *branch = Branch::Finished {
                output: output.clone(),
                evidence: child.evidence.clone(),
            };
        }
        let is_last = branches
            .iter()
            .all(|it| matches!(it, Branch::Finished { .. }));
        // What the join emits follows the branch that ended last.
        self.thread_mut(parent)?.previous = child.previous;
        if is_last { self.join(parent) } else { Ok(()) }
    }

    fn join(&mut self, thread: u32) -> Result<(), Refusal> {
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
            if let Branch::Finished {
                output,
                evidence: held,
            } = branch
            {
                outputs.push(output.to_value());
                evidence.push(held);
            }
        }
        self.thread_mut(thread)?.evidence.join(evidence.iter());
        let result: Payload = Value::Array(outputs).into();
        let state_def = self.state_def(thread, &visit.state)?;
        let seen = Seen {
            thread,
            visit: &visit,
            result: Some(&result),
            error_output: None,
        };
        let outcome = if let Err(failure) = limit_size(&result, "the result", &visit) {
            Err(Trouble::Failure(failure))
        } else {
            self.emit(
                thread,
                EventKind::ParallelStateSucceeded {
                    name: visit.state.clone(),
                },
            );
            self.leave(state_def.exit(), &seen, &result)
        };
        self.settle(thread, outcome)
    }

    /// A branch has failed: the root fails the workflow, any other fails its `Parallel`.
    pub(super) fn fail_branch(&mut self, thread: u32, failure: Failure) -> Result<(), Refusal> {
        if thread == ROOT {
            self.close_failed(failure);
            return Ok(());
        }
        let child = self.thread(thread)?;
        let (previous, parent) = (child.previous, child.parent);
        let parent = parent.ok_or_else(|| mismatch(format!("branch {thread} has no parent")))?;
        self.thread_mut(parent)?.previous = previous;
        let visit = self.abandon(parent, CloseReason::Withdrawn)?;
        self.thread_mut(parent)?.position = Position::Visiting {
            visit: visit.clone(),
        };
        let failed = EventKind::ParallelStateFailed {
            name: visit.state,
            error: failure.error.clone(),
            cause: failure.cause.clone(),
        };
        self.emit(parent, failed);
        // The expression that failed was a branch's; it has been written there.
        self.fail_state(
            parent,
            Failure {
                location: None,
                ..failure
            },
        )
    }

    /// Ends every branch of a `Parallel`; they contribute no evidence.
    fn abandon(&mut self, thread: u32, reason: CloseReason) -> Result<Visit, Refusal> {
        let position = std::mem::replace(&mut self.thread_mut(thread)?.position, Position::Moving);
        let Position::Forked { visit, branches } = position else {
            return Err(mismatch(format!("branch {thread} has not forked")));
        };
        let mut evidence: Vec<Evidence<String>> = Vec::with_capacity(branches.len());
        for branch in branches {
            match branch {
                Branch::Finished { evidence: held, .. } => evidence.push(held),
                Branch::Running { thread: child } => {
                    self.withdraw(child, reason)?;
                    evidence.extend(self.state.threads.remove(&child).map(|it| it.evidence));
                }
            }
        }
        self.thread_mut(thread)?.evidence.abandon(evidence.iter());
        for gained in evidence.iter().flat_map(Evidence::gained) {
            let (evidence, name) = (gained.clone(), visit.state.clone());
            self.emit(thread, EventKind::EvidenceRetracted { evidence, name });
        }
        Ok(visit)
    }

    /// Takes back what a branch, and every branch below it, has open.
    pub(super) fn withdraw(&mut self, thread: u32, reason: CloseReason) -> Result<(), Refusal> {
        match &self.thread(thread)?.position {
            Position::Task(_) => {
                self.withdraw_turn(thread)?;
                self.close_prompt(thread, reason)
            }
            Position::Forked { .. } => self.abandon(thread, reason).map(|_| ()),
            _ => Ok(()),
        }
    }
}
