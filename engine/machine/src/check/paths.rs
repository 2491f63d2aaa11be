//! `JSONPath` over values as the proof knows them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::value::{Abstract, Scope};
use crate::definition::{Placement, Selection};
use crate::expression::equal;
use crate::jsonpath::{ChoiceRule, Operand, Path, PathExpression, Relation, Sort, Test};

/// How likely it is that something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fails {
    No,
    Maybe,
    Surely,
}

/// What is known about a condition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tested {
    /// `None` if it is not decided.
    pub holds: Option<bool>,
    pub fails: Fails,
}

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root<'p> {
    Data,
    Context,
    Variable(&'p str),
}

/// One step of a definite path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

impl Tested {
    pub const FAILS: Self = Self {
        holds: None,
        fails: Fails::Surely,
    };

    pub fn surely(holds: bool) -> Self {
        Self {
            holds: Some(holds),
            fails: Fails::No,
        }
    }
}

/// The steps of a path that is made of names and indexes only.
pub(super) fn plain(source: &str) -> Option<(Root<'_>, Vec<Step>)> {
    let rest = source.strip_prefix('$')?;
    let (root, mut rest) = if let Some(rest) = rest.strip_prefix('$') {
        (Root::Context, rest)
    } else {
        let end = rest
            .find(|it: char| !it.is_alphanumeric() && it != '_')
            .unwrap_or(rest.len());
        match rest.split_at(end) {
            ("", rest) => (Root::Data, rest),
            (name, rest) => (Root::Variable(name), rest),
        }
    };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("['") {
            let (name, after) = after.split_once("']")?;
            if name.contains(['\'', '\\', ',']) {
                return None;
            }
            steps.push(Step::Name(name.to_owned()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']')?;
            steps.push(Step::Index(index.parse().ok()?));
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let is_plain = |it: char| it.is_alphanumeric() || it == '_' || it == '-';
            if name.is_empty() || !name.chars().all(is_plain) {
                return None;
            }
            steps.push(Step::Name(name.to_owned()));
            rest = after;
        }
    }
    Some((root, steps))
}

/// The value of a path; undefined where it surely leads nowhere, which fails the state.
pub(super) fn of_path(path: &Path, scope: &Scope<'_>) -> Abstract {
    let Some((root, steps)) = plain(path.source()) else {
        return Abstract::Unknown;
    };
    let start = match root {
        Root::Data => scope.data.clone(),
        Root::Context => return Abstract::Unknown,
        Root::Variable(name) => match scope.variables.get(name) {
            Some(value) => value.clone(),
            None => return Abstract::Undefined,
        },
    };
    steps.iter().fold(start, |value, step| match (step, value) {
        (_, Abstract::Unknown | Abstract::Not(_)) => Abstract::Unknown,
        (Step::Name(name), Abstract::Object { fields, open }) => match fields.get(name) {
            Some(value) => value.clone(),
            None if open => Abstract::Unknown,
            None => Abstract::Undefined,
        },
        (Step::Name(name), Abstract::Known(Value::Object(fields))) => fields
            .get(name)
            .map_or(Abstract::Undefined, |it| Abstract::Known(it.clone())),
        // Past its end an array gives what depends on where the path is used.
        (Step::Index(index), Abstract::Array(items)) => {
            items.get(*index).cloned().unwrap_or(Abstract::Unknown)
        }
        (Step::Index(index), Abstract::Known(Value::Array(items))) => items
            .get(*index)
            .map_or(Abstract::Unknown, |it| Abstract::Known(it.clone())),
        _ => Abstract::Undefined,
    })
}

pub(super) fn of_path_expression(expression: &PathExpression, scope: &Scope<'_>) -> Abstract {
    match expression {
        PathExpression::Path(path) => of_path(path, scope),
        PathExpression::Call(_) => Abstract::Unknown,
    }
}

/// What `InputPath` or `OutputPath` selects from `$`.
pub(super) fn select(selection: &Selection, scope: &Scope<'_>) -> Abstract {
    match selection {
        Selection::Whole => scope.data.clone(),
        Selection::Nothing => Abstract::closed([]),
        Selection::Path(path) => of_path(path, scope),
    }
}

/// Puts a result where `ResultPath` says.
pub(super) fn place(placement: &Placement, input: &Abstract, result: Abstract) -> Abstract {
    match placement {
        Placement::Whole => result,
        Placement::Discard => input.clone(),
        Placement::At(path) => match plain(path.source()) {
            Some((Root::Data, steps)) => set(input, &steps, result),
            _ => Abstract::Unknown,
        },
    }
}

fn set(into: &Abstract, steps: &[Step], value: Abstract) -> Abstract {
    let Some((first, rest)) = steps.split_first() else {
        return value;
    };
    let Step::Name(name) = first else {
        return Abstract::Unknown;
    };
    let (mut fields, open) = match into {
        Abstract::Object { fields, open } => (fields.clone(), *open),
        Abstract::Known(Value::Object(known)) => {
            let known = known.iter();
            let fields = known.map(|(key, it)| (key.clone(), Abstract::Known(it.clone())));
            (fields.collect(), false)
        }
        // If it is no object, the state fails.
        Abstract::Unknown | Abstract::Not(_) => (BTreeMap::new(), true),
        _ => return Abstract::Undefined,
    };
    let inner = match fields.get(name) {
        Some(inner) => inner.clone(),
        None if open => Abstract::Unknown,
        None => Abstract::closed([]),
    };
    match set(&inner, rest, value) {
        Abstract::Undefined => Abstract::Undefined,
        inner => {
            fields.insert(name.clone(), inner);
            Abstract::Object { fields, open }
        }
    }
}

/// What is known about the condition of a `Choice` rule.
pub(super) fn of_rule(rule: &ChoiceRule, scope: &Scope<'_>) -> Tested {
    match rule {
        ChoiceRule::All(rules) => in_turn(rules, scope, false),
        ChoiceRule::Any(rules) => in_turn(rules, scope, true),
        ChoiceRule::Not(rule) => {
            let tested = of_rule(rule, scope);
            Tested {
                holds: tested.holds.map(|it| !it),
                ..tested
            }
        }
        ChoiceRule::Test { variable, test } => of_test(&of_path(variable, scope), test, scope),
    }
}

/// `And` and `Or`, which stop at the first that is `deciding`.
fn in_turn(rules: &[ChoiceRule], scope: &Scope<'_>, deciding: bool) -> Tested {
    let mut all = Tested::surely(!deciding);
    for rule in rules {
        let tested = of_rule(rule, scope);
        let is_reached = all.holds.is_some();
        let fails = if is_reached {
            tested.fails
        } else {
            tested.fails.min(Fails::Maybe)
        };
        all.fails = all.fails.max(fails);
        if tested.holds == Some(deciding) {
            // Whether it was reached or an earlier one has decided: the answer is the same.
            all.holds = Some(deciding);
            return all;
        }
        if tested.holds.is_none() {
            all.holds = None;
        }
        if is_reached && tested.fails == Fails::Surely {
            return Tested::FAILS;
        }
    }
    all
}

fn of_test(value: &Abstract, test: &Test, scope: &Scope<'_>) -> Tested {
    let undecided = Tested {
        holds: None,
        fails: Fails::Maybe,
    };
    match (test, value) {
        (Test::IsPresent(expected), Abstract::Undefined) => Tested::surely(!expected),
        (_, Abstract::Undefined) => Tested::FAILS,
        (Test::IsPresent(_), Abstract::Unknown | Abstract::Not(_)) => Tested {
            holds: None,
            fails: Fails::No,
        },
        (Test::IsPresent(expected), _) => Tested::surely(*expected),
        (Test::Compare(_, Relation::Equals, Operand::Literal(literal)), Abstract::Not(not))
            if equal(not, literal) =>
        {
            Tested {
                holds: Some(false),
                fails: Fails::Maybe,
            }
        }
        (_, Abstract::Unknown | Abstract::Not(_)) => undecided,
        (Test::Is(sort, expected), value) => match is_of(value, *sort) {
            Some(is) => Tested::surely(is == *expected),
            None => undecided,
        },
        (Test::Compare(sort, relation, operand), value) => {
            let other = match operand {
                Operand::Literal(literal) => Abstract::Known(literal.clone()),
                Operand::Path(path) => of_path(path, scope),
            };
            match (value, other) {
                (_, Abstract::Undefined) => Tested::FAILS,
                (Abstract::Known(value), Abstract::Known(other)) => Tested {
                    holds: compare(*sort, *relation, value, &other),
                    fails: Fails::No,
                },
                (Abstract::Object { .. } | Abstract::Array(_), Abstract::Known(_)) => {
                    Tested::surely(false)
                }
                _ => undecided,
            }
        }
        (Test::Matches(_), _) => Tested {
            holds: None,
            fails: Fails::No,
        },
    }
}

fn is_of(value: &Abstract, sort: Sort) -> Option<bool> {
    let Abstract::Known(value) = value else {
        return Some(false);
    };
    match sort {
        Sort::Null => Some(value.is_null()),
        Sort::Boolean => Some(value.is_boolean()),
        Sort::Numeric => Some(value.is_number()),
        Sort::String => Some(value.is_string()),
        Sort::Timestamp => None,
    }
}

fn compare(sort: Sort, relation: Relation, one: &Value, other: &Value) -> Option<bool> {
    let ordering = match sort {
        Sort::Numeric => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => one.partial_cmp(&other)?,
            _ => return Some(false),
        },
        Sort::Boolean | Sort::String => {
            let fits = match sort {
                Sort::String => one.is_string() && other.is_string(),
                _ => one.is_boolean() && other.is_boolean(),
            };
            // The order of texts is left to the machine.
            return (relation == Relation::Equals).then(|| fits && one == other);
        }
        Sort::Null | Sort::Timestamp => return None,
    };
    Some(match relation {
        Relation::Equals => ordering.is_eq(),
        Relation::LessThan => ordering.is_lt(),
        Relation::LessThanEquals => ordering.is_le(),
        Relation::GreaterThan => ordering.is_gt(),
        Relation::GreaterThanEquals => ordering.is_ge(),
    })
}
