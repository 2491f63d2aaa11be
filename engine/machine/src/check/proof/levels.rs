//! What can be said about every level of a definition before its states are explored.

use std::collections::BTreeSet;

use super::super::graph::Graph;
use crate::definition::{Definition, Items, Kind, Language, Machine, Next, StateDef};

/// The states of one level, and what still matters at each.
pub(super) struct Level<'d> {
    pub machine: &'d Machine,
    pub start: usize,
    graph: Graph,
    /// The level and the state that this level lies in.
    parent: Option<(usize, usize)>,
    /// For each state, the levels inside it.
    pub inner: Vec<Vec<usize>>,
    /// For each state, the variables that it, or something that may follow, reads.
    pub live: Vec<BTreeSet<&'d str>>,
    /// For each state, whether its input can matter.
    pub reads_input: Vec<bool>,
    /// Whether it matters what the level ends with.
    pub needs_output: bool,
    /// For each state, the carrying states that may begin, or be undone, from then on.
    pub can_run: Vec<Vec<bool>>,
    /// The carrying states that may begin, or be undone, after the level has ended.
    pub can_run_after: Vec<bool>,
}

pub(super) struct Levels<'d> {
    pub all: Vec<Level<'d>>,
    /// The states that carry evidence; their index names them in `Evidence`.
    pub carriers: Vec<&'d str>,
    /// Whether some way goes back for a rework.
    pub has_rework: bool,
    /// Whether some catcher undoes what has been done.
    pub has_compensation: bool,
}

impl<'d> Levels<'d> {
    /// `None` when a level does not know where to start, which the gate `valid` has refused.
    pub fn of(definition: &'d Definition) -> Option<Self> {
        let mut carriers: Vec<&str> = Vec::new();
        for rule in &definition.evidence {
            if !carriers.contains(&rule.state.as_str()) {
                carriers.push(&rule.state);
            }
        }
        let states = definition.machine.all();
        let catchers = || {
            let handlers = states.iter().filter_map(|it| it.handlers());
            handlers.flat_map(|it| &it.catch)
        };
        let rules = states.iter().flat_map(|it| match &it.kind {
            Kind::Choice(rules) => rules.as_slice(),
            _ => &[],
        });
        let mut levels = Self {
            all: Vec::new(),
            carriers,
            has_rework: states.iter().any(|it| it.rework)
                || rules.into_iter().any(|it| it.rework)
                || catchers().any(|it| it.rework),
            has_compensation: catchers().any(|it| it.compensate),
        };
        levels.add(&definition.machine, None)?;
        levels.find_live();
        levels.find_runs();
        levels.find_inputs();
        Some(levels)
    }

    pub fn carrier(&self, state: &StateDef) -> Option<u16> {
        let index = self.carriers.iter().position(|it| *it == state.name)?;
        u16::try_from(index).ok()
    }

    fn add(&mut self, machine: &'d Machine, parent: Option<(usize, usize)>) -> Option<usize> {
        let level = self.all.len();
        self.all.push(Level {
            machine,
            start: *machine.by_name.get(&machine.start_at)?,
            graph: Graph::of(machine),
            parent,
            inner: Vec::new(),
            live: Vec::new(),
            reads_input: vec![false; machine.states.len()],
            needs_output: false,
            can_run: Vec::new(),
            can_run_after: Vec::new(),
        });
        for (index, state) in machine.states.iter().enumerate() {
            let mut inner = Vec::new();
            for machine in state.levels() {
                inner.push(self.add(machine, Some((level, index)))?);
            }
            self.all[level].inner.push(inner);
        }
        Some(level)
    }

    /// What is found in a state and in the levels inside it, for every state that may follow each.
    fn gather<T>(&self, of: &dyn Fn(&'d StateDef, &mut T)) -> Vec<Vec<T>>
    where
        T: Default + Clone + Extend<<T as IntoIterator>::Item> + IntoIterator,
    {
        let own = |state: &'d StateDef| {
            let mut found = T::default();
            of(state, &mut found);
            for inner in state.levels().into_iter().flat_map(Machine::all) {
                of(inner, &mut found);
            }
            found
        };
        let levels = self.all.iter().map(|level| {
            let own: Vec<T> = level.machine.states.iter().map(own).collect();
            let following = (0..own.len()).map(|from| {
                let mut all = T::default();
                for state in level.graph.from(from) {
                    all.extend(own[state].clone());
                }
                all
            });
            following.collect()
        });
        levels.collect()
    }

    fn find_live(&mut self) {
        let live = self.gather::<BTreeSet<&'d str>>(&|state, names| names.extend(state.reads()));
        for (level, live) in self.all.iter_mut().zip(live) {
            level.live = live;
        }
    }

    fn find_runs(&mut self) {
        let carriers = self.carriers.clone();
        let position = |state: &StateDef| carriers.iter().position(|it| *it == state.name);
        let runs = self.gather::<BTreeSet<usize>>(&|state, found| found.extend(position(state)));
        let mut undoable = vec![false; carriers.len()];
        for level in &self.all {
            for state in &level.machine.states {
                let has_compensation =
                    matches!(&state.kind, Kind::Task(it) if it.compensation.is_some());
                if let Some(carrier) = position(state).filter(|_| has_compensation) {
                    undoable[carrier] = true;
                }
            }
        }
        // Levels come after the ones around them.
        for level in 0..self.all.len() {
            let mut after = undoable.clone();
            if let Some((around, state)) = self.all[level].parent {
                after.clone_from(&self.all[around].can_run_after);
                for next in &self.all[around].graph.next[state] {
                    for it in &runs[around][*next] {
                        after[*it] = true;
                    }
                }
                let outer = &self.all[around].machine.states[state];
                if outer.handlers().is_some_and(|it| !it.retry.is_empty()) {
                    for inner in &self.all[around].inner[state] {
                        let start = self.all[*inner].start;
                        for it in &runs[*inner][start] {
                            after[*it] = true;
                        }
                    }
                }
            }
            let with_after = runs[level].iter().map(|runs| {
                let mut can_run = after.clone();
                for it in runs {
                    can_run[*it] = true;
                }
                can_run
            });
            self.all[level].can_run = with_after.collect();
            self.all[level].can_run_after = after;
        }
    }

    /// A state's input matters when it reads it, or passes it on to where it matters.
    fn find_inputs(&mut self) {
        loop {
            let mut changed = false;
            for level in 0..self.all.len() {
                let needs_output = self.all[level]
                    .parent
                    .is_some_and(|it| self.needs_result(it));
                changed |= needs_output != self.all[level].needs_output;
                self.all[level].needs_output = needs_output;
                for state in 0..self.all[level].machine.states.len() {
                    if !self.all[level].reads_input[state] && self.input_matters(level, state) {
                        self.all[level].reads_input[state] = true;
                        changed = true;
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn input_matters(&self, level: usize, index: usize) -> bool {
        let here = &self.all[level];
        let state = &here.machine.states[index];
        let mut reads = false;
        state.expressions(&mut |_, expression| reads |= expression.reads_states("input"));
        if reads || state.language == Language::JsonPath {
            return true;
        }
        match &state.kind {
            Kind::Task(_) | Kind::Fail { .. } => false,
            Kind::Map(map) => matches!(map.items, Items::Input),
            Kind::Succeed { .. } => here.needs_output,
            Kind::Parallel { arguments, .. } => {
                let starts = here.inner[index].iter().map(|it| &self.all[*it]);
                let mut read = starts.map(|it| it.reads_input[it.start]);
                arguments.is_none() && read.any(|it| it)
            }
            Kind::Pass { .. } | Kind::Wait(_) | Kind::Choice(_) => {
                here.graph.next[index]
                    .iter()
                    .any(|it| here.reads_input[*it])
                    || (state.next == Next::End && here.needs_output)
            }
        }
    }

    /// Whether it matters what the levels inside a state end with.
    fn needs_result(&self, (level, index): (usize, usize)) -> bool {
        let here = &self.all[level];
        let state = &here.machine.states[index];
        let mut reads = false;
        state.expressions(&mut |_, expression| reads |= expression.reads_states("result"));
        let passes_on = || match &state.next {
            Next::State(next) => {
                let next = here.machine.by_name.get(next);
                next.is_some_and(|it| here.reads_input[*it])
            }
            Next::End => here.needs_output,
            Next::None => false,
        };
        reads || state.language == Language::JsonPath || (state.output.is_none() && passes_on())
    }
}
