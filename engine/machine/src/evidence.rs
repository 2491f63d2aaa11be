//! Which proofs a branch of a workflow holds: one pure rule for run time and proof.
//!
//! An entry holds when its state's latest run ended with its outcome. When a state that carries
//! evidence runs again, its own evidence and every evidence gained since its previous run is
//! retracted. So what is held is a stack: each carrying state remembers the height at which its
//! latest run began, and running it again cuts the stack back to that height.

use serde::{Deserialize, Serialize};

/// The evidence that one branch holds; `N` names evidence and states.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence<N> {
    /// In the order in which it was gained.
    held: Vec<N>,
    /// Carrying state -> the height of `held` at which its latest run began.
    runs: Vec<(N, usize)>,
    /// The lowest height since the fork: what is below it was inherited and never retracted.
    inherited: usize,
}

impl<N> Default for Evidence<N> {
    fn default() -> Self {
        Self { held: Vec::new(), runs: Vec::new(), inherited: 0 }
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
        &self.held[self.inherited.min(self.held.len())..]
    }

    /// A carrying state begins to run: returns what is retracted by that.
    pub fn begin(&mut self, state: &N) -> Vec<N> {
        let retracted = match self.runs.iter().find(|(it, _)| it == state) {
            Some(&(_, height)) => self.cut(height),
            None => Vec::new(),
        };
        self.mark(state.clone(), self.held.len());
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
        Self { inherited: self.held.len(), ..self.clone() }
    }

    /// All branches have joined: what every branch left of the inherited, and the union of what each has gained.
    pub fn join<'a>(&mut self, branches: impl Iterator<Item = &'a Self> + Clone) -> Vec<N>
    where
        N: 'a,
    {
        let retracted = self.abandon(branches.clone());
        for branch in branches {
            for name in branch.gained() {
                self.gain(name.clone());
            }
        }
        retracted
    }

    /// The branches were cancelled or caught: they contribute nothing, but what they retracted stays retracted.
    pub fn abandon<'a>(&mut self, branches: impl Iterator<Item = &'a Self> + Clone) -> Vec<N>
    where
        N: 'a,
    {
        let kept = branches.clone().map(|it| it.inherited).min().unwrap_or(self.held.len());
        let retracted = self.cut(kept);
        for (state, height) in branches.flat_map(|it| it.runs.iter()) {
            let height = (*height).min(self.held.len());
            self.mark(state.clone(), height);
        }
        retracted
    }

    fn cut(&mut self, height: usize) -> Vec<N> {
        let height = height.min(self.held.len());
        for (_, it) in &mut self.runs {
            *it = (*it).min(height);
        }
        self.inherited = self.inherited.min(height);
        self.held.split_off(height)
    }

    /// Running a state again cuts back to its height first, so a height can only fall.
    fn mark(&mut self, state: N, height: usize) {
        match self.runs.iter_mut().find(|(it, _)| *it == state) {
            Some((_, it)) => *it = (*it).min(height),
            None => self.runs.push((state, height)),
        }
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
        assert!(parent.join([&left, &right].into_iter()).is_empty());
        assert_eq!(parent.held(), ["phone", "document", "live"]);
    }

    #[test]
    fn a_branch_that_retracts_what_it_inherited_retracts_it_for_all() {
        let mut parent = gained(&[("Doc", "document"), ("Faces", "match")]);
        let (mut left, right) = (parent.fork(), parent.fork());
        left.begin(&"Doc");
        left.gain("document");
        assert_eq!(parent.join([&left, &right].into_iter()), ["document", "match"]);
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
