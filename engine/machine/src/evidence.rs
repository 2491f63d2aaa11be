//! Which proofs a branch of a workflow holds: one pure rule for run time and proof.
//!
//! An entry holds when its state's latest run ended with its outcome. The rule, exactly:
//!
//! - **Running again.** When a state that carries evidence runs again, by whatever edge, everything
//!   is retracted that its previous run had gained and that was gained since. The runs that came
//!   after that previous run are void with it: such a state begins anew, and does not retract what
//!   was gained in between.
//! - **Beside.** What another branch, or another item, gains beside a run counts as gained since,
//!   because no order can be told. The runs beside are not void. So the order in which branches
//!   happen to move never matters.
//! - **Fork.** A branch inherits what its parent holds, and what it retracts of that is retracted
//!   for all when the branches come together, however they ended.
//! - **Join.** `Parallel`: the union of what the branches have gained. Race: what the winner has
//!   gained. `Map`: what every item has gained, and at least one item; an item that has failed has
//!   gained nothing. Branches that were cancelled or caught have gained nothing.
//! - **Undo.** A run that was compensated is retracted like one that is replaced, and is void.

use serde::{Deserialize, Serialize};

/// The evidence that one branch holds; `N` names evidence and states.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence<N> {
    /// In the order in which it was gained.
    held: Vec<N>,
    /// For each of `held`, the index of the run that gained it.
    gained_by: Vec<usize>,
    /// The latest run of every carrying state, unless it is void.
    runs: Vec<Run<N>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Run<N> {
    state: N,
    /// Indexes of the runs that surely came before it, in rising order.
    after: Vec<usize>,
    /// Whether it began before the branch was forked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    inherited: bool,
}

/// Which evidence several branches have gained together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    /// What one of them has gained.
    Any,
    /// What each of them has gained.
    Every,
}

impl<N> Default for Evidence<N> {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            gained_by: Vec::new(),
            runs: Vec::new(),
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

    /// A carrying state begins to run: returns what is retracted by that.
    pub fn begin(&mut self, state: &N) -> Vec<N> {
        let retracted = self.undo(state);
        self.runs.push(Run {
            state: state.clone(),
            after: (0..self.runs.len()).collect(),
            inherited: false,
        });
        retracted
    }

    /// The run that began last in this branch has ended with the outcome that `name` asks for.
    pub fn gain(&mut self, name: N) {
        if let Some(by) = self.runs.len().checked_sub(1)
            && !self.holds(&name)
        {
            self.held.push(name);
            self.gained_by.push(by);
        }
    }

    /// The latest run of a state is void, as after its compensation: returns what is retracted by that.
    pub fn undo(&mut self, state: &N) -> Vec<N> {
        let Some(voided) = self.runs.iter().position(|it| it.state == *state) else {
            return Vec::new();
        };
        let before = self.runs[voided].after.clone();
        let is_void = |run: usize| run == voided || self.runs[run].after.contains(&voided);
        let keeps: Vec<bool> = (0..self.runs.len()).map(|run| !is_void(run)).collect();
        let retracted = self.retract(|_, by| !before.contains(&by));
        self.drop_runs(&keeps);
        retracted
    }

    /// What a new branch, or a new item, starts with.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut branch = self.clone();
        for run in &mut branch.runs {
            run.inherited = true;
        }
        branch
    }

    /// The branch was cancelled or caught, its item has failed, or it has lost the race: it
    /// contributes nothing, but what it retracted stays retracted. Returns what it had gained.
    pub fn forfeit(&mut self) -> Vec<N> {
        let own: Vec<bool> = self.runs.iter().map(|it| !it.inherited).collect();
        self.retract(|_, by| own[by])
    }

    /// All branches have joined: what all of them left of the inherited, and the union of what they have gained.
    ///
    /// For a race, the losers have to [`forfeit`](Self::forfeit) before.
    pub fn join<'a>(&mut self, branches: impl Iterator<Item = &'a Self>)
    where
        N: 'a,
    {
        let joined = branches.fold(None, |joined: Option<Self>, branch| match joined {
            None => Some(branch.clone()),
            Some(joined) => Some(joined.unite(branch)),
        });
        self.take_back(joined);
    }

    /// The branches were cancelled or caught: they contribute nothing, but what they retracted stays retracted.
    pub fn abandon<'a>(&mut self, branches: impl Iterator<Item = &'a Self>)
    where
        N: 'a,
    {
        let abandoned: Vec<Self> = branches
            .map(|branch| {
                let mut branch = branch.clone();
                branch.forfeit();
                branch
            })
            .collect();
        self.join(abandoned.iter());
    }

    /// All items of a `Map` have ended: what every item has gained; nothing when there are none.
    ///
    /// A failed item that is tolerated has to [`forfeit`](Self::forfeit) before, so that nothing is
    /// gained by all.
    pub fn join_items<'a>(&mut self, items: impl Iterator<Item = &'a Self>)
    where
        N: 'a,
    {
        let joined = items.fold(None, |joined: Option<Self>, item| match joined {
            None => Some(item.clone()),
            Some(joined) => Some(joined.meet(item)),
        });
        self.take_back(joined);
    }

    /// Two items of the same `Map` as one: so the ended items of a long list need no more room than one.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        self.with(other, Together::Every)
    }

    /// Two branches of the same `Parallel` as one.
    #[must_use]
    pub fn unite(&self, other: &Self) -> Self {
        self.with(other, Together::Any)
    }

    /// Forgets what can never matter again, in an order that does not depend on the way here: only
    /// the states that `can_run` names may still begin or be undone, and no run may be under way.
    pub fn settle(&mut self, can_run: impl Fn(&N) -> bool)
    where
        N: Ord,
    {
        let n_runs = self.runs.len();
        let mut order: Vec<usize> = (0..n_runs)
            .filter(|run| can_run(&self.runs[*run].state) || self.gained_by.contains(run))
            .collect();
        order.sort_by(|one, other| self.runs[*one].state.cmp(&self.runs[*other].state));
        let mut new: Vec<Option<usize>> = vec![None; n_runs];
        for (index, run) in order.iter().enumerate() {
            new[*run] = Some(index);
        }
        let settled = order.iter().map(|run| {
            let run = &self.runs[*run];
            let mut after: Vec<usize> = Vec::new();
            // What a run is after matters when it is replaced. That it came after one that is
            // replaced makes it void, but it has lost what it had gained in any case.
            if can_run(&run.state) {
                after.extend(run.after.iter().filter_map(|it| new[*it]));
                after.sort_unstable();
            }
            Run {
                after,
                ..run.clone()
            }
        });
        self.runs = settled.collect();
        let by = self.gained_by.iter().map(|by| new[*by].unwrap_or_default());
        let mut held: Vec<(N, usize)> = self.held.drain(..).zip(by).collect();
        held.sort();
        (self.held, self.gained_by) = held.into_iter().unzip();
    }

    /// Notes that a state began to run before everything else, if nothing is known of its runs.
    pub fn begin_before_all(&mut self, state: &N) {
        if self.runs.iter().any(|it| it.state == *state) {
            return;
        }
        for by in &mut self.gained_by {
            *by += 1;
        }
        for run in &mut self.runs {
            for before in &mut run.after {
                *before += 1;
            }
            run.after.insert(0, 0);
        }
        let run = Run {
            state: state.clone(),
            after: Vec::new(),
            inherited: false,
        };
        self.runs.insert(0, run);
    }

    /// Takes away what `keeps` does not name, and returns it; the runs stay.
    pub fn keep_only(&mut self, keeps: impl Fn(&N) -> bool) -> Vec<N> {
        self.retract(|name, _| !keeps(name))
    }

    /// The same with other names; what has none is left out.
    pub fn renamed<M: Clone + PartialEq>(
        &self,
        evidence: impl Fn(&N) -> Option<M>,
        state: impl Fn(&N) -> Option<M>,
    ) -> Evidence<M> {
        let states: Vec<Option<M>> = self.runs.iter().map(|it| state(&it.state)).collect();
        let mut new: Vec<Option<usize>> = Vec::with_capacity(states.len());
        for state in &states {
            let index = new.iter().flatten().count();
            new.push(state.as_ref().map(|_| index));
        }
        let mut renamed = Evidence::default();
        for (run, state) in self.runs.iter().zip(states) {
            renamed.runs.extend(state.map(|state| Run {
                state,
                after: run.after.iter().filter_map(|it| new[*it]).collect(),
                inherited: run.inherited,
            }));
        }
        for (name, by) in self.held.iter().zip(&self.gained_by) {
            if let (Some(name), Some(by)) = (evidence(name), new[*by]) {
                renamed.held.push(name);
                renamed.gained_by.push(by);
            }
        }
        renamed
    }

    /// Two branches of the same fork as one.
    fn with(&self, other: &Self, together: Together) -> Self {
        let mut both = self.clone();
        let survives: Vec<bool> = self
            .runs
            .iter()
            .map(|run| !run.inherited || other.run(&run.state, true).is_some())
            .collect();
        both.retract(|name, by| {
            self.runs[by].inherited && !(survives[by] && other.holds_from(name, true))
        });
        if together == Together::Every {
            both.retract(|name, by| !self.runs[by].inherited && !other.holds_from(name, false));
        }
        // A run beside another one of the same state is neither before nor after the rest.
        let is_beside: Vec<bool> = self
            .runs
            .iter()
            .map(|run| !run.inherited && other.run(&run.state, false).is_some())
            .collect();
        for index in 0..both.runs.len() {
            let loses_order = is_beside[index];
            both.runs[index].after.retain(|before| {
                self.runs[*before].inherited || !(loses_order || is_beside[*before])
            });
        }
        both.drop_runs(&survives);
        let is_new = |run: &&Run<N>| !run.inherited && self.run(&run.state, false).is_none();
        let n_before = both.runs.len();
        both.runs
            .extend(other.runs.iter().filter(is_new).map(|run| Run {
                state: run.state.clone(),
                after: Vec::new(),
                inherited: false,
            }));
        for (index, run) in (n_before..).zip(other.runs.iter().filter(is_new)) {
            let surely = |before: &usize| {
                let before = &other.runs[*before];
                let is_single = before.inherited || self.run(&before.state, false).is_none();
                both.run(&before.state, before.inherited)
                    .filter(|_| is_single)
            };
            let mut after: Vec<usize> = run.after.iter().filter_map(surely).collect();
            after.sort_unstable();
            both.runs[index].after = after;
        }
        if together == Together::Any {
            for (name, by) in other.held.iter().zip(&other.gained_by) {
                let by = &other.runs[*by];
                if !by.inherited
                    && !both.holds(name)
                    && let Some(by) = both.run(&by.state, false)
                {
                    both.held.push(name.clone());
                    both.gained_by.push(by);
                }
            }
        }
        both
    }

    /// The branches have come back as one.
    fn take_back(&mut self, joined: Option<Self>) {
        let Some(mut joined) = joined else { return };
        for run in &mut joined.runs {
            run.inherited = run.inherited && self.run(&run.state, true).is_some();
        }
        *self = joined;
    }

    /// The index of a state's latest run, if it is inherited as asked.
    fn run(&self, state: &N, inherited: bool) -> Option<usize> {
        let is_it = |run: &Run<N>| run.state == *state && run.inherited == inherited;
        self.runs.iter().position(is_it)
    }

    /// Whether a name is held that was inherited, or gained since the fork, as asked.
    fn holds_from(&self, name: &N, inherited: bool) -> bool {
        let mut held = self.held.iter().zip(&self.gained_by);
        held.any(|(it, by)| it == name && self.runs[*by].inherited == inherited)
    }

    /// Takes away what is named, and returns it.
    fn retract(&mut self, is_retracted: impl Fn(&N, usize) -> bool) -> Vec<N> {
        let mut retracted = Vec::new();
        let held = std::mem::take(&mut self.held);
        let gained_by = std::mem::take(&mut self.gained_by);
        for (name, by) in held.into_iter().zip(gained_by) {
            if is_retracted(&name, by) {
                retracted.push(name);
            } else {
                self.held.push(name);
                self.gained_by.push(by);
            }
        }
        retracted
    }

    /// Forgets runs; nothing may be held by them.
    fn drop_runs(&mut self, keeps: &[bool]) {
        let mut n_kept = 0;
        let new: Vec<Option<usize>> = keeps
            .iter()
            .map(|keeps| {
                n_kept += usize::from(*keeps);
                keeps.then_some(n_kept.wrapping_sub(1))
            })
            .collect();
        let mut index = 0;
        self.runs.retain(|_| {
            index += 1;
            keeps[index - 1]
        });
        for run in &mut self.runs {
            run.after = run.after.iter().filter_map(|it| new[*it]).collect();
        }
        for by in &mut self.gained_by {
            *by = new[*by].unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests;
