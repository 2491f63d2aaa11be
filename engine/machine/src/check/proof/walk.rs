//! Explores one level from what it is entered with, the nearest abstract states first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::hash::Hash;
use std::rc::Rc;

use super::errors::ErrorName;
use super::trail::Trail;
use super::{Prover, TooLarge};
use crate::check::value::Abstract;
use crate::evidence::Evidence;

/// One abstract state of a level.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub state: usize,
    pub input: Abstract,
    pub variables: BTreeMap<String, Abstract>,
    pub evidence: Evidence<u16>,
    /// Carrying states that have registered a compensation.
    pub undoable: BTreeSet<u16>,
    /// How often each entry of the `Retry` of a state with branches has been used.
    pub tries: Vec<u32>,
}

/// What a branch holds, as the states around it see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Standing {
    pub evidence: Evidence<u16>,
    pub undoable: BTreeSet<u16>,
}

/// A level that has ended well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ending {
    pub output: Abstract,
    pub standing: Standing,
}

/// A level that has failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Failing {
    pub error: ErrorName,
    /// Forfeited: only what it has retracted.
    pub standing: Standing,
}

/// Everything that can come of a level, each with its shortest trail.
#[derive(Debug)]
pub(super) struct Walked {
    /// Before anything has happened, forfeited.
    pub unbegun: Standing,
    pub ended: Kept<Ending>,
    pub failed: Kept<Failing>,
    /// Where it may stand while it waits, forfeited.
    pub resting: Kept<Standing>,
}

/// Where a state leads.
pub(super) enum Onward {
    To(Box<Node>),
    Ended(Ending),
    Failed(Failing),
    Resting(Standing),
    /// A `Choice` that has no way for what it found.
    Stuck(String),
}

/// Distinct things in the order in which they were found, each with its shortest trail.
#[derive(Debug)]
pub(super) struct Kept<K> {
    index: HashMap<K, usize>,
    pub all: Vec<(K, Trail)>,
}

impl<K: Clone + Eq + Hash> Kept<K> {
    pub fn new() -> Self {
        Self {
            index: HashMap::new(),
            all: Vec::new(),
        }
    }

    /// Whether it is new.
    pub fn insert(&mut self, found: K, trail: Trail, n_steps: impl Fn(Trail) -> usize) -> bool {
        if let Some(index) = self.index.get(&found) {
            let known = &mut self.all[*index].1;
            if n_steps(trail) < n_steps(*known) {
                *known = trail;
            }
            return false;
        }
        self.index.insert(found.clone(), self.all.len());
        self.all.push((found, trail));
        true
    }
}

impl Standing {
    /// Without what it contributes; what it has retracted stays retracted.
    pub fn forfeited(mut self) -> Self {
        self.evidence.forfeit();
        self
    }
}

/// The abstract states of one walk that have been reached.
struct Reached {
    nodes: Vec<(Rc<Node>, Trail)>,
    /// The fewest steps to each, and whether it has been visited.
    known: HashMap<Rc<Node>, (usize, bool)>,
    /// Fewest steps first, then in the order in which they were reached.
    open: BinaryHeap<Reverse<(usize, usize)>>,
}

impl Reached {
    fn reach(&mut self, node: Node, trail: Trail, n_steps: usize) {
        let node = Rc::new(node);
        if let Some((fewest, _)) = self.known.get(&node)
            && *fewest <= n_steps
        {
            return;
        }
        self.known.insert(Rc::clone(&node), (n_steps, false));
        self.open.push(Reverse((n_steps, self.nodes.len())));
        self.nodes.push((node, trail));
    }

    fn next(&mut self) -> Option<(Rc<Node>, Trail)> {
        while let Some(Reverse((n_steps, index))) = self.open.pop() {
            let (node, trail) = &self.nodes[index];
            if let Some(known) = self.known.get_mut(node)
                && *known == (n_steps, false)
            {
                known.1 = true;
                return Some((Rc::clone(node), *trail));
            }
        }
        None
    }
}

impl Prover<'_> {
    /// Everything that can come of a level that is entered so.
    pub(super) fn walk(&mut self, level: usize, first: Node) -> Result<Rc<Walked>, TooLarge> {
        let entry = (level, first);
        if let Some(walked) = self.walked.get(&entry) {
            return Ok(Rc::clone(walked));
        }
        let unbegun = Standing {
            evidence: entry.1.evidence.clone(),
            undoable: BTreeSet::new(),
        };
        let mut walked = Walked {
            unbegun: self.after_level(level, unbegun.forfeited()),
            ended: Kept::new(),
            failed: Kept::new(),
            resting: Kept::new(),
        };
        let mut reached = Reached {
            nodes: Vec::new(),
            known: HashMap::new(),
            open: BinaryHeap::new(),
        };
        reached.reach(entry.1.clone(), Trail::START, 0);
        while let Some((node, trail)) = reached.next() {
            self.count()?;
            let state = &self.levels.all[level].machine.states[node.state];
            if level == 0 {
                self.judge(state, &node.evidence, trail);
            }
            for (onward, trail) in self.steps(level, &node, trail)? {
                let n_steps = |trail| self.trails.n_steps(trail);
                match onward {
                    Onward::To(node) => reached.reach(*node, trail, n_steps(trail)),
                    Onward::Stuck(reason) => self.note_stuck(state, &reason, trail),
                    // How the whole workflow ends is judged above.
                    _ if level == 0 => {}
                    Onward::Ended(mut it) => {
                        it.standing = self.after_level(level, it.standing);
                        walked.ended.insert(it, trail, n_steps);
                    }
                    Onward::Failed(mut it) => {
                        it.standing = self.after_level(level, it.standing.forfeited());
                        walked.failed.insert(it, trail, n_steps);
                    }
                    Onward::Resting(it) => {
                        let it = self.after_level(level, it.forfeited());
                        walked.resting.insert(it, trail, n_steps);
                    }
                }
            }
        }
        let walked = Rc::new(walked);
        self.walked.insert(entry, Rc::clone(&walked));
        Ok(walked)
    }

    /// Forgets what cannot matter any more once the level has ended.
    fn after_level(&self, level: usize, mut standing: Standing) -> Standing {
        let can_run = &self.levels.all[level].can_run_after;
        standing.evidence.settle(|it| can_run[usize::from(*it)]);
        standing
    }
}
