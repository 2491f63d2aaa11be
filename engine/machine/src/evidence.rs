//! Which proofs a branch of a workflow holds: one pure rule for run time and proof.
//!
//! An entry holds when its state's latest run ended with its outcome. When a state that carries
//! evidence runs again, its own evidence and every evidence gained since its previous run is
//! retracted. What happened after that previous run is void with it: a state that ran after it
//! begins anew, and does not retract what was gained in between. So both are stacks: going back
//! to a state cuts them back to where its previous run began.

use serde::{Deserialize, Serialize};

/// The evidence that one branch holds; `N` names evidence and states.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence<N> {
    /// In the order in which it was gained.
    held: Vec<N>,
    /// Carrying states in the order in which they began, with the height of `held` at that time.
    runs: Vec<(N, usize)>,
    /// What of `held` was inherited at the fork and has never been retracted.
    inherited_held: usize,
    /// What of `runs` was inherited at the fork and is not void.
    inherited_runs: usize,
}

impl<N> Default for Evidence<N> {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            runs: Vec::new(),
            inherited_held: 0,
            inherited_runs: 0,
        }
    }
}

impl<N: Clone + PartialEq> Evidence<N> {
    pub fn held(&self) -> &[N] {
        &self.held
    }

    pub fn holds(&self, name: &N) -> bool {
        self.held.contains(name)
    }

    /// What this branch has gained itself since it was forked.
    pub fn gained(&self) -> &[N] {
        &self.held[self.inherited_held.min(self.held.len())..]
    }

    /// A carrying state begins to run: returns what is retracted by that.
    pub fn begin(&mut self, state: &N) -> Vec<N> {
        let retracted = match self.runs.iter().position(|(it, _)| it == state) {
            Some(index) => self.cut(index, self.runs[index].1),
            None => Vec::new(),
        };
        self.runs.push((state.clone(), self.held.len()));
        retracted
    }

    /// The run that began last has ended with the outcome that `name` asks for.
    pub fn gain(&mut self, name: N) {
        if !self.holds(&name) {
            self.held.push(name);
        }
    }

    /// What a new branch starts with.
    pub fn fork(&self) -> Self {
        Self {
            inherited_held: self.held.len(),
            inherited_runs: self.runs.len(),
            ..self.clone()
        }
    }

    /// All branches have joined: what every branch left of the inherited, and the union of what each has gained.
    pub fn join<'a>(&mut self, branches: impl Iterator<Item = &'a Self> + Clone)
    where
        N: 'a,
    {
        self.abandon(branches.clone());
        for branch in branches {
            for name in branch.gained() {
                self.gain(name.clone());
            }
        }
    }

    /// The branches were cancelled or caught: they contribute nothing, but what they retracted stays retracted.
    pub fn abandon<'a>(&mut self, branches: impl Iterator<Item = &'a Self> + Clone)
    where
        N: 'a,
    {
        for branch in branches.clone() {
            self.cut(branch.inherited_runs, branch.inherited_held);
        }
        for branch in branches {
            for (state, _) in &branch.runs[branch.inherited_runs.min(branch.runs.len())..] {
                // Running it again must retract what any branch gained beside it.
                self.runs.push((state.clone(), self.held.len()));
            }
        }
    }

    fn cut(&mut self, n_runs: usize, height: usize) -> Vec<N> {
        let height = height.min(self.held.len());
        self.runs.truncate(n_runs);
        self.inherited_runs = self.inherited_runs.min(n_runs);
        self.inherited_held = self.inherited_held.min(height);
        self.held.split_off(height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gained(names: &[(&'static str, &'static str)]) -> Evidence<&'static str> {
        let mut evidence = Evidence::default();
        for (state, name) in names {
            evidence.begin(state);
            evidence.gain(*name);
        }
        evidence
    }

    #[test]
    fn running_a_state_again_retracts_its_own_evidence_and_all_gained_since() {
        let mut evidence = gained(&[("Phone", "phone"), ("Doc", "document"), ("Faces", "match")]);
        assert_eq!(evidence.begin(&"Doc"), ["document", "match"]);
        assert_eq!(evidence.held(), ["phone"]);
        evidence.gain("document");
        assert_eq!(evidence.begin(&"Faces"), [] as [&str; 0]);
        assert_eq!(evidence.held(), ["phone", "document"]);
    }

    #[test]
    fn a_join_is_the_union_of_the_branches() {
        let mut parent = gained(&[("Phone", "phone")]);
        let (mut left, mut right) = (parent.fork(), parent.fork());
        left.begin(&"Doc");
        left.gain("document");
        right.begin(&"Live");
        right.gain("live");
        parent.join([&left, &right].into_iter());
        assert_eq!(parent.held(), ["phone", "document", "live"]);
    }

    #[test]
    fn a_branch_that_retracts_what_it_inherited_retracts_it_for_all() {
        let mut parent = gained(&[("Doc", "document"), ("Faces", "match")]);
        let (mut left, right) = (parent.fork(), parent.fork());
        left.begin(&"Doc");
        left.gain("document");
        parent.join([&left, &right].into_iter());
        assert_eq!(parent.held(), ["document"]);
    }

    #[test]
    fn abandoned_branches_contribute_nothing() {
        let mut parent = gained(&[("Phone", "phone")]);
        let mut left = parent.fork();
        left.begin(&"Doc");
        left.gain("document");
        parent.abandon([&left].into_iter());
        assert_eq!(parent.held(), ["phone"]);
    }
}
