//! Which errors a state can fail with, and who catches them.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::definition::{Definition, Kind, StateDef};
use crate::error_name::{
    self, ALL, DATA_LIMIT_EXCEEDED, RUNTIME, TASK_FAILED, TIMEOUT, is_terminal,
};

/// An error as `Retry` and `Catch` see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ErrorName {
    pub name: Rc<str>,
    /// Whether it is exactly this one, or any that no handler of the definition names.
    pub is_exact: bool,
}

/// The errors that the handlers of a definition tell apart; the first is any other.
pub(super) struct Errors {
    pub all: Vec<ErrorName>,
}

impl Errors {
    pub fn of(definition: &Definition) -> Self {
        let states = definition.machine.all();
        let mut named: BTreeSet<&str> = states.iter().flat_map(|it| names(it)).collect();
        // It takes another way than a failed task only where the two are told apart.
        if named.contains(TASK_FAILED) {
            named.insert(TIMEOUT);
        }
        named.remove(ALL);
        named.remove(TASK_FAILED);
        if states.iter().any(|it| outlives_any_failure(it)) {
            named.insert(RUNTIME);
        }
        let other = ErrorName {
            name: TASK_FAILED.into(),
            is_exact: false,
        };
        let named = named.into_iter().map(ErrorName::exactly);
        Self {
            all: std::iter::once(other).chain(named).collect(),
        }
    }

    /// What an error is here; `None` if nothing of the definition outlives it.
    pub fn find(&self, name: &str) -> Option<ErrorName> {
        let found = self.all.iter().find(|it| it.is_exact && *it.name == *name);
        match found {
            Some(found) => Some(found.clone()),
            None if is_terminal(name) => None,
            None => self.all.first().cloned(),
        }
    }

    /// What data that is too large fails with; `None` if nothing of the definition outlives it.
    pub fn limit_exceeded(&self) -> Option<ErrorName> {
        // Where no handler names it, it fails as any other error does that nothing catches.
        let found = self.find(DATA_LIMIT_EXCEEDED);
        found.or_else(|| self.find(RUNTIME))
    }
}

impl ErrorName {
    pub fn exactly(name: &str) -> Self {
        Self {
            name: name.into(),
            is_exact: true,
        }
    }

    /// Whether `ErrorEquals` names the error.
    pub fn is_among(&self, names: &[String]) -> bool {
        error_name::is_among(&self.name, names)
    }
}

/// Every error that the handlers of a state name.
fn names(state: &StateDef) -> Vec<&str> {
    let Some(handlers) = state.handlers() else {
        return Vec::new();
    };
    let retried = handlers.retry.iter().flat_map(|it| &it.errors);
    let caught = handlers.catch.iter().flat_map(|it| &it.errors);
    retried.chain(caught).map(String::as_str).collect()
}

/// Whether a branch or an item may fail with any error and the state goes on, or fails with another.
fn outlives_any_failure(state: &StateDef) -> bool {
    match &state.kind {
        Kind::Parallel { race, .. } => *race,
        Kind::Map(map) => {
            map.is_distributed
                || map.tolerated_count.is_some()
                || map.tolerated_percentage.is_some()
        }
        _ => false,
    }
}
