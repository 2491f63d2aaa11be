//! How an abstract state was reached: shared lists of steps.

use super::super::PathStep;
use crate::limits::PROOF_PATH_STEPS_MAX;

/// A way through a level, from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trail(usize);

/// What is known of a whole trail.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(super) struct Summary {
    pub n_steps: usize,
    /// Whether it rests on something that could not be decided.
    pub is_assumed: bool,
    /// Whether something was waited for on the way, so that other branches could move.
    pub takes_time: bool,
    /// Whether it depends on how long something takes.
    pub depends_on_time: bool,
    /// Whether it went back for a rework, so that results may be kept.
    pub has_rework: bool,
}

enum Part {
    Step(PathStep),
    /// What happened in several branches.
    Beside(Vec<Trail>),
}

struct Link {
    before: Trail,
    part: Part,
    summary: Summary,
}

/// Every trail of one proof; the links refer to each other by index.
pub(super) struct Trails {
    links: Vec<Link>,
}

impl Trail {
    pub const START: Self = Self(0);
}

impl Trails {
    pub fn new() -> Self {
        let start = Link {
            before: Trail::START,
            part: Part::Beside(Vec::new()),
            summary: Summary::default(),
        };
        Self { links: vec![start] }
    }

    pub fn summary(&self, trail: Trail) -> Summary {
        self.links[trail.0].summary
    }

    pub fn n_steps(&self, trail: Trail) -> usize {
        self.summary(trail).n_steps
    }

    /// Goes on by a step that takes no time.
    pub fn step(&mut self, before: Trail, step: PathStep) -> Trail {
        let mut summary = self.summary(before);
        summary.n_steps = summary.n_steps.saturating_add(1);
        summary.is_assumed |= step.assumed;
        self.push(before, Part::Step(step), summary)
    }

    /// Goes on by a step that ends a wait for somebody, or for a time.
    pub fn wait(&mut self, before: Trail, step: PathStep, for_a_time: bool) -> Trail {
        let trail = self.step(before, step);
        let summary = &mut self.links[trail.0].summary;
        summary.takes_time = true;
        summary.depends_on_time |= for_a_time;
        trail
    }

    /// Goes on by what only happens after very many steps, so that any other way is shorter.
    pub fn at_last(&mut self, before: Trail, step: PathStep) -> Trail {
        let trail = self.step(before, step);
        let n_steps = &mut self.links[trail.0].summary.n_steps;
        *n_steps = n_steps.saturating_add(PROOF_PATH_STEPS_MAX);
        trail
    }

    /// The latest step went back for a rework.
    pub fn note_rework(&mut self, trail: Trail) {
        self.links[trail.0].summary.has_rework = true;
    }

    /// Goes on by what branches have done, one after the other.
    pub fn beside(&mut self, before: Trail, trails: Vec<Trail>) -> Trail {
        let mut summary = self.summary(before);
        for trail in &trails {
            let other = self.summary(*trail);
            summary.n_steps = summary.n_steps.saturating_add(other.n_steps);
            summary.is_assumed |= other.is_assumed;
            summary.takes_time |= other.takes_time;
            summary.depends_on_time |= other.depends_on_time;
            summary.has_rework |= other.has_rework;
        }
        self.push(before, Part::Beside(trails), summary)
    }

    /// The steps of a trail in their order; of an endless one only the last.
    pub fn steps(&self, trail: Trail) -> Vec<PathStep> {
        let mut backwards = Vec::new();
        let mut open = vec![trail];
        while let Some(trail) = open.pop() {
            if trail == Trail::START || PROOF_PATH_STEPS_MAX <= backwards.len() {
                continue;
            }
            let link = &self.links[trail.0];
            open.push(link.before);
            match &link.part {
                Part::Step(step) => backwards.push(step.clone()),
                Part::Beside(trails) => open.extend(trails),
            }
        }
        backwards.reverse();
        backwards
    }

    fn push(&mut self, before: Trail, part: Part, summary: Summary) -> Trail {
        self.links.push(Link {
            before,
            part,
            summary,
        });
        Trail(self.links.len() - 1)
    }
}
