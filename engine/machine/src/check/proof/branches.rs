//! What may follow a state with branches: every combination of what they have come to.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::steps::{Here, Onwards, step};
use super::trail::Trail;
use super::walk::{Kept, Node, Onward, Standing, Walked};
use super::{Prover, TooLarge};
use crate::check::value::{Abstract, is_sure, of_template};
use crate::definition::{Kind, Template};

/// What one branch may have come to, and how.
#[derive(Clone)]
pub(super) struct Reach {
    pub output: Abstract,
    pub standing: Standing,
    pub trail: Trail,
}

/// What several branches together have come to.
pub(super) struct Combined {
    pub outputs: Vec<Abstract>,
    pub standing: Standing,
    pub trail: Trail,
}

impl Prover<'_> {
    pub(super) fn parallel_steps(
        &mut self,
        here: Here<'_>,
        is_race: bool,
    ) -> Result<Onwards, TooLarge> {
        let Kind::Parallel { arguments, .. } = &here.state.kind else {
            return Ok(Vec::new());
        };
        let mut onwards = Vec::new();
        let input = match arguments {
            None => here.data.clone(),
            Some(template) => match self.given(here, template, &mut onwards) {
                Some(input) => input,
                None => return Ok(onwards),
            },
        };
        let inner = self.levels.all[here.level].inner[here.node.state].clone();
        let mut walked = Vec::with_capacity(inner.len());
        for level in &inner {
            walked.push(self.walk(*level, self.first_node(*level, here, &input, true))?);
        }
        let starts = step(here.state, "starts its branches", false);
        let here = Here {
            trail: self.trails.step(here.trail, starts),
            ..here
        };
        let level = inner.first().copied().unwrap_or_default();
        if is_race {
            self.winning_steps(here, level, &walked, &mut onwards)?;
            self.losing_steps(here, level, &walked, &mut onwards)?;
        } else {
            self.join_steps(here, level, &walked, &mut onwards)?;
            self.failing_steps(here, level, &walked, &mut onwards)?;
        }
        if here.level != 0 {
            for index in 0..walked.len() {
                // The first that rests: those before it have come to an end.
                let at_rest = |(at, it): (usize, &Rc<Walked>)| {
                    let gone = if is_race {
                        failed(it)
                    } else {
                        self.ended_for_nothing(level, it)
                    };
                    match at.cmp(&index) {
                        Ordering::Less => gone,
                        Ordering::Equal => resting(it),
                        Ordering::Greater => [resting(it), gone].concat(),
                    }
                };
                let options: Vec<Vec<Reach>> = walked.iter().enumerate().map(at_rest).collect();
                for combined in self.combine(level, &options)? {
                    let trail = self.trails.beside(here.trail, vec![combined.trail]);
                    onwards.push((Onward::Resting(back(here, &combined.standing)), trail));
                }
            }
        }
        Ok(onwards)
    }

    /// The value of a template that the levels inside are given; `None` if it surely has none.
    pub(super) fn given(
        &mut self,
        here: Here<'_>,
        template: &Template,
        onwards: &mut Onwards,
    ) -> Option<Abstract> {
        let scope = here.scope(&Abstract::Undefined);
        let input = of_template(template, &scope);
        if !is_sure(template, &scope) {
            let (standing, assumed) = (here.standing(), input.is_some());
            onwards.extend(self.fail_to_evaluate(here, standing, here.trail, assumed));
        }
        input
    }

    /// What a level inside a state is entered with.
    pub(super) fn first_node(
        &self,
        level: usize,
        here: Here<'_>,
        input: &Abstract,
        sees_around: bool,
    ) -> Node {
        let level = &self.levels.all[level];
        let start = level.start;
        let mut variables = here.node.variables.clone();
        variables.retain(|name, _| sees_around && level.live[start].contains(name.as_str()));
        let mut evidence = here.node.evidence.fork();
        evidence.settle(|it| level.can_run[start][usize::from(*it)]);
        Node {
            state: start,
            input: if level.reads_input[start] {
                input.clone()
            } else {
                Abstract::Unknown
            },
            variables,
            evidence,
            undoable: BTreeSet::new(),
            tries: Vec::new(),
        }
    }

    /// One branch of a race ends well, while the others run or have failed.
    fn winning_steps(
        &mut self,
        here: Here<'_>,
        level: usize,
        walked: &[Rc<Walked>],
        onwards: &mut Onwards,
    ) -> Result<(), TooLarge> {
        for (index, winner) in walked.iter().enumerate() {
            for won in ended(winner) {
                let takes_time = self.trails.summary(won.trail).takes_time;
                let others = walked.iter().enumerate().filter(|it| it.0 != index);
                let mut options = Vec::with_capacity(walked.len());
                for (_, other) in others {
                    let mut of_other = [resting(other), failed(other)].concat();
                    if !takes_time {
                        of_other.insert(0, unbegun(other));
                    }
                    options.push(of_other);
                }
                options.push(vec![won.clone()]);
                for combined in self.combine(level, &options)? {
                    let is_early = !takes_time && 1 < walked.len();
                    let has_others = 1 < walked.len();
                    let trail = self.interrupted(here, &combined, is_early, has_others);
                    let standing = back(here, &combined.standing);
                    onwards.extend(self.exit(here, &won.output, &won.output, standing, trail));
                }
            }
        }
        Ok(())
    }

    /// All branches of a race fail, one of them last.
    fn losing_steps(
        &mut self,
        here: Here<'_>,
        level: usize,
        walked: &[Rc<Walked>],
        onwards: &mut Onwards,
    ) -> Result<(), TooLarge> {
        for (index, last) in walked.iter().enumerate() {
            for (failure, trail) in &last.failed.all {
                let others = walked.iter().enumerate().filter(|it| it.0 != index);
                let mut options: Vec<Vec<Reach>> = others.map(|it| failed(it.1)).collect();
                options.push(vec![Reach {
                    output: Abstract::Unknown,
                    standing: failure.standing.clone(),
                    trail: *trail,
                }]);
                let is_early = 1 < walked.len() && !self.trails.summary(*trail).takes_time;
                for combined in self.combine(level, &options)? {
                    let trail = self.interrupted(here, &combined, is_early, 1 < walked.len());
                    let standing = back(here, &combined.standing);
                    onwards.extend(self.fail(here, &failure.error, standing, trail));
                }
            }
        }
        Ok(())
    }

    /// All branches have ended well.
    fn join_steps(
        &mut self,
        here: Here<'_>,
        level: usize,
        walked: &[Rc<Walked>],
        onwards: &mut Onwards,
    ) -> Result<(), TooLarge> {
        let options: Vec<Vec<Reach>> = walked.iter().map(|it| ended(it)).collect();
        for combined in self.combine(level, &options)? {
            let trail = self.trails.beside(here.trail, vec![combined.trail]);
            let trail = self
                .trails
                .step(trail, step(here.state, "joins its branches", false));
            let result = Abstract::Array(combined.outputs);
            let standing = back(here, &combined.standing);
            onwards.extend(self.exit(here, &result, &result, standing, trail));
        }
        Ok(())
    }

    /// One branch fails, wherever the others are.
    fn failing_steps(
        &mut self,
        here: Here<'_>,
        level: usize,
        walked: &[Rc<Walked>],
        onwards: &mut Onwards,
    ) -> Result<(), TooLarge> {
        for (index, failing) in walked.iter().enumerate() {
            for (failure, trail) in &failing.failed.all {
                let takes_time = self.trails.summary(*trail).takes_time;
                let failed = Reach {
                    output: Abstract::Unknown,
                    standing: failure.standing.clone(),
                    trail: *trail,
                };
                let mut options = Vec::with_capacity(walked.len());
                let mut nothing_else = failure.standing.clone();
                for other in walked
                    .iter()
                    .enumerate()
                    .filter(|it| it.0 != index)
                    .map(|it| it.1)
                {
                    let mut of_other = resting(other);
                    of_other.extend(self.ended_for_nothing(level, other));
                    if !takes_time {
                        of_other.insert(0, unbegun(other));
                    }
                    nothing_else = self.unite(level, &other.unbegun, &nothing_else);
                    options.push(of_other);
                }
                options.push(vec![failed]);
                for combined in self.combine(level, &options)? {
                    // Which of two comes first is decided by more than the proof follows.
                    let is_early = !takes_time && combined.standing != nothing_else;
                    let trail = self.interrupted(here, &combined, is_early, 1 < walked.len());
                    let standing = back(here, &combined.standing);
                    onwards.extend(self.fail(here, &failure.error, standing, trail));
                }
            }
        }
        Ok(())
    }

    /// The trail of branches that one of them has ended for all.
    fn interrupted(
        &mut self,
        here: Here<'_>,
        combined: &Combined,
        is_early: bool,
        has_others: bool,
    ) -> Trail {
        let in_time = has_others && self.trails.summary(combined.trail).depends_on_time;
        let trail = self.trails.beside(here.trail, vec![combined.trail]);
        let event = step(here.state, "ends its branches", is_early || in_time);
        self.trails.step(trail, event)
    }

    /// Every way to choose one of the options of each branch.
    fn combine(&mut self, level: usize, options: &[Vec<Reach>]) -> Result<Vec<Combined>, TooLarge> {
        let Some((first, others)) = options.split_first() else {
            return Ok(Vec::new());
        };
        let mut combined: Vec<Combined> = first
            .iter()
            .map(|it| Combined {
                outputs: vec![it.output.clone()],
                standing: it.standing.clone(),
                trail: it.trail,
            })
            .collect();
        for options in others {
            let mut found = Kept::new();
            for one in &combined {
                for other in options {
                    self.count()?;
                    let mut outputs = one.outputs.clone();
                    outputs.push(other.output.clone());
                    let standing = self.unite(level, &one.standing, &other.standing);
                    let trail = self.trails.beside(one.trail, vec![other.trail]);
                    let n_steps = |trail| self.trails.n_steps(trail);
                    found.insert((outputs, standing), trail, n_steps);
                }
            }
            let found = found.all.into_iter();
            combined = found
                .map(|((outputs, standing), trail)| Combined {
                    outputs,
                    standing,
                    trail,
                })
                .collect();
        }
        Ok(combined)
    }

    pub(super) fn unite(&self, level: usize, one: &Standing, other: &Standing) -> Standing {
        let can_run = &self.levels.all[level].can_run_after;
        let mut evidence = one.evidence.unite(&other.evidence);
        evidence.settle(|it| can_run[usize::from(*it)]);
        Standing {
            evidence,
            undoable: one.undoable.union(&other.undoable).copied().collect(),
        }
    }

    /// A branch that has ended well, in vain because another one has failed.
    pub(super) fn ended_for_nothing(&self, level: usize, walked: &Walked) -> Vec<Reach> {
        let can_run = &self.levels.all[level].can_run_after;
        let mut options = ended(walked);
        for option in &mut options {
            option.output = Abstract::Unknown;
            option.standing.evidence.forfeit();
            option
                .standing
                .evidence
                .settle(|it| can_run[usize::from(*it)]);
        }
        options
    }
}

pub(super) fn ended(walked: &Walked) -> Vec<Reach> {
    let ended = walked.ended.all.iter();
    ended
        .map(|(ending, trail)| Reach {
            output: ending.output.clone(),
            standing: ending.standing.clone(),
            trail: *trail,
        })
        .collect()
}

pub(super) fn resting(walked: &Walked) -> Vec<Reach> {
    let resting = walked.resting.all.iter();
    resting
        .map(|(standing, trail)| Reach {
            output: Abstract::Unknown,
            standing: standing.clone(),
            trail: *trail,
        })
        .collect()
}

/// A branch that has failed, forfeited.
pub(super) fn failed(walked: &Walked) -> Vec<Reach> {
    let failed = walked.failed.all.iter();
    failed
        .map(|(failure, trail)| Reach {
            output: Abstract::Unknown,
            standing: failure.standing.clone(),
            trail: *trail,
        })
        .collect()
}

pub(super) fn unbegun(walked: &Walked) -> Reach {
    Reach {
        output: Abstract::Unknown,
        standing: walked.unbegun.clone(),
        trail: Trail::START,
    }
}

/// What the state holds after its branches have come back.
pub(super) fn back(here: Here<'_>, joined: &Standing) -> Standing {
    let mut standing = here.standing();
    standing.evidence.join(std::iter::once(&joined.evidence));
    standing.undoable.extend(&joined.undoable);
    standing
}
