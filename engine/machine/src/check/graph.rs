//! The states of one level as a graph.

use crate::definition::{Kind, Machine, Next};

pub(super) struct Graph {
    /// Indexes of the states that may follow each state.
    pub next: Vec<Vec<usize>>,
    /// For each state, whether each other can be reached from it by at least one edge.
    reach: Vec<Vec<bool>>,
}

impl Graph {
    pub fn of(machine: &Machine) -> Self {
        let next: Vec<Vec<usize>> = machine
            .states
            .iter()
            .map(|it| it.successors().into_iter().filter_map(|name| machine.by_name.get(name).copied()).collect())
            .collect();
        let reach = (0..next.len()).map(|from| reachable(&next, &next[from])).collect();
        Self { next, reach }
    }

    /// The states that `from` reaches, itself included.
    pub fn from(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.next.len()).filter(move |it| *it == from || self.reach[from][*it])
    }

    /// The loops: sets of states that lead to each other.
    pub fn loops(&self) -> Vec<Vec<usize>> {
        let mut found: Vec<Vec<usize>> = Vec::new();
        for state in (0..self.next.len()).filter(|it| self.reach[*it][*it]) {
            if found.iter().any(|it| it.contains(&state)) {
                continue;
            }
            let both = |other: &usize| self.reach[state][*other] && self.reach[*other][state];
            found.push((0..self.next.len()).filter(both).collect());
        }
        found
    }
}

fn reachable(next: &[Vec<usize>], from: &[usize]) -> Vec<bool> {
    let mut seen = vec![false; next.len()];
    let mut open: Vec<usize> = from.to_vec();
    while let Some(state) = open.pop() {
        if !seen[state] {
            seen[state] = true;
            open.extend(&next[state]);
        }
    }
    seen
}

/// Whether a state ends its level.
pub(super) fn is_end(machine: &Machine, index: usize) -> bool {
    let state = &machine.states[index];
    match state.kind {
        Kind::Succeed { .. } | Kind::Fail { .. } => true,
        _ => state.next == Next::End,
    }
}
