//! Splits a history into its branches: the chain of each `Parallel` branch and each `Map` item.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::Value;

/// The way from the root to a branch; the root is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Branch(Vec<Step>);

/// One level deeper.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The item of a `Map` with this name.
    Item(String, u64),
    /// The branch of a `Parallel` with this name that begins with that state.
    Branch(String, String),
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                Step::Item(name, index) => write!(f, " / {name} {index}")?,
                Step::Branch(name, first) => write!(f, " / {name} {first}")?,
            }
        }
        Ok(())
    }
}

/// A state that has been entered and not yet left.
struct Open {
    name: String,
    branch: Branch,
    /// Whether it is a `Map` or `Parallel` that has not said yet how it ended.
    is_working: bool,
    word: String,
}

#[derive(Default)]
struct Splitter {
    branch_of: HashMap<u64, Branch>,
    type_of: HashMap<u64, String>,
    open: Vec<Open>,
}

/// Gives each branch its events, in their order.
pub(super) fn split(history: &[Value]) -> BTreeMap<Branch, Vec<&Value>> {
    let mut splitter = Splitter::default();
    let mut branches: BTreeMap<Branch, Vec<&Value>> = BTreeMap::new();
    for event in history {
        let branch = splitter.take(event);
        branches.entry(branch).or_default().push(event);
    }
    branches
}

/// The item of the innermost `Map` that an event belongs to.
pub(super) fn item_of(history: &[Value], id: u64) -> Option<usize> {
    let found = split(history)
        .into_iter()
        .find(|(_, events)| events.iter().any(|it| it["id"].as_u64() == Some(id)));
    let (Branch(steps), _) = found?;
    steps.iter().rev().find_map(|it| match it {
        Step::Item(_, index) => usize::try_from(*index).ok(),
        Step::Branch(..) => None,
    })
}

impl Splitter {
    /// The branch of an event; events come in the order of the history.
    fn take(&mut self, event: &Value) -> Branch {
        let number = |key: &str| event[key].as_u64().unwrap_or_default();
        let (id, previous) = (number("id"), number("previousEventId"));
        let kind = event["type"].as_str().unwrap_or_default();
        let before = self.branch_of.get(&previous).cloned().unwrap_or_default();
        let branch = self.branch(event, kind, previous, before);
        if let Some(word) = kind.strip_suffix("StateEntered") {
            self.open.push(Open {
                name: text(event, "stateEnteredEventDetails", "name"),
                branch: branch.clone(),
                is_working: word == "Map" || word == "Parallel",
                word: word.to_owned(),
            });
        }
        self.branch_of.insert(id, branch.clone());
        self.type_of.insert(id, kind.to_owned());
        branch
    }

    fn branch(&mut self, event: &Value, kind: &str, previous: u64, before: Branch) -> Branch {
        let after = self.type_of.get(&previous).map(String::as_str);
        if kind.starts_with("Execution") {
            return Branch::default();
        }
        if kind.ends_with("StateEntered") && after == Some("ParallelStateStarted") {
            let parallel = self
                .open
                .iter()
                .rfind(|it| it.branch == before && it.word == "Parallel");
            let name = parallel.map(|it| it.name.clone()).unwrap_or_default();
            let first = text(event, "stateEnteredEventDetails", "name");
            return before.below(Step::Branch(name, first));
        }
        if kind == "MapIterationStarted" {
            let details = &event["mapIterationStartedEventDetails"];
            let name = details["name"].as_str().unwrap_or_default();
            let index = details["index"].as_u64().unwrap_or_default();
            // An item may follow the end of another one of the same `Map`.
            let parent = self
                .deepest(&before, |it| it.name == name)
                .map(|it| it.branch.clone());
            let step = Step::Item(name.to_owned(), index);
            return parent.unwrap_or_default().below(step);
        }
        if let Some(name) = event
            .pointer("/stateExitedEventDetails/name")
            .and_then(Value::as_str)
        {
            let found = self.position(&before, |it| it.name == name);
            return match found {
                Some(index) => self.open.remove(index).branch,
                None => before,
            };
        }
        if let Some(name) = event
            .pointer("/evaluationFailedEventDetails/state")
            .and_then(Value::as_str)
        {
            let state = self.open.iter().rfind(|it| {
                it.name == name
                    && (before.is_prefix_of(&it.branch) || it.branch.is_prefix_of(&before))
            });
            return state.map_or(before, |it| it.branch.clone());
        }
        // How a `Map` or `Parallel` ended follows the last event of a branch, but belongs to the state.
        for word in ["Map", "Parallel"] {
            let is_end = ["Succeeded", "Failed", "Aborted"].iter().any(|end| {
                kind.strip_prefix(word)
                    .and_then(|it| it.strip_prefix("State"))
                    == Some(end)
            });
            let is_again = kind == format!("{word}StateStarted");
            if is_end || is_again {
                let found = self.position(&before, |it| it.is_working && it.word == word);
                let Some(index) = found else { return before };
                self.open[index].is_working = is_again;
                return self.open[index].branch.clone();
            }
        }
        before
    }

    fn deepest(&self, below: &Branch, is_meant: impl Fn(&Open) -> bool) -> Option<&Open> {
        self.position(below, is_meant).map(|it| &self.open[it])
    }

    /// The deepest state on the way to a branch, the latest first.
    fn position(&self, below: &Branch, is_meant: impl Fn(&Open) -> bool) -> Option<usize> {
        let meant = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, it)| it.branch.is_prefix_of(below) && is_meant(it));
        meant
            .max_by_key(|(index, it)| (it.branch.0.len(), *index))
            .map(|(index, _)| index)
    }
}

impl Branch {
    fn below(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

fn text(event: &Value, details: &str, field: &str) -> String {
    event[details][field]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
