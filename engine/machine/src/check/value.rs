//! Values as the proof knows them, and expressions over them.
//!
//! Outcomes are exact, because the proof takes every outcome in turn. `=`, `!=`, `in`, `and`, `or`,
//! `$not` and `$exists` over them are decided; everything else is unknown, so that nothing is ever
//! concluded that could be wrong.

use std::collections::BTreeMap;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use serde_json::Value;

use super::paths::{Fails, Tested, of_path_expression};
use crate::definition::Template;
use crate::expression::{Expression, equal};
use crate::limits::PROOF_VALUE_DEPTH_MAX;

/// What is known about a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Abstract {
    /// Anything, or nothing.
    Unknown,
    Undefined,
    Known(Value),
    /// Anything, or nothing, but not this.
    Not(Value),
    /// Exactly these items.
    Array(Vec<Abstract>),
    /// An object; when it is open, other fields are unknown, otherwise there are none.
    Object {
        fields: BTreeMap<String, Abstract>,
        open: bool,
    },
}

/// What the expressions of one state see.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub input: &'a Abstract,
    pub result: &'a Abstract,
    pub error_output: &'a Abstract,
    /// What `$` stands for in `JSONPath`.
    pub data: &'a Abstract,
    pub variables: &'a BTreeMap<String, Abstract>,
}

/// Deepest expression that is followed; below it everything is unknown.
const DEPTH_MAX: usize = 64;

impl Abstract {
    pub fn closed(fields: impl IntoIterator<Item = (&'static str, Abstract)>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(key, it)| (key.to_owned(), it))
            .collect();
        Self::Object {
            fields,
            open: false,
        }
    }

    pub fn text(text: &str) -> Self {
        Self::Known(Value::String(text.to_owned()))
    }

    /// The value of a field.
    fn field(&self, name: &str) -> Self {
        match self {
            Self::Object { fields, open } => match fields.get(name) {
                Some(it) => it.clone(),
                None if *open => Self::Unknown,
                None => Self::Undefined,
            },
            Self::Known(Value::Object(fields)) => fields
                .get(name)
                .map_or(Self::Undefined, |it| Self::Known(it.clone())),
            // JSONata maps a path over an array.
            Self::Known(Value::Array(_)) | Self::Array(_) | Self::Unknown | Self::Not(_) => {
                Self::Unknown
            }
            Self::Known(_) | Self::Undefined => Self::Undefined,
        }
    }

    /// The value at an index; to `JSONata` what is no array is its own first item.
    fn item(&self, index: usize) -> Self {
        match self {
            Self::Array(items) => items.get(index).cloned().unwrap_or(Self::Undefined),
            Self::Known(Value::Array(items)) => items
                .get(index)
                .map_or(Self::Undefined, |it| Self::Known(it.clone())),
            Self::Known(_) | Self::Object { .. } if index == 0 => self.clone(),
            Self::Known(_) | Self::Object { .. } | Self::Undefined => Self::Undefined,
            Self::Unknown | Self::Not(_) => Self::Unknown,
        }
    }

    /// Whether it surely is something, and no array.
    fn is_single(&self) -> bool {
        match self {
            Self::Known(value) => !value.is_array(),
            Self::Object { .. } => true,
            Self::Array(_) | Self::Unknown | Self::Undefined | Self::Not(_) => false,
        }
    }

    /// Whether `JSONata` takes the value for true; `None` if that is not known.
    fn truth(&self) -> Option<bool> {
        match self {
            Self::Undefined | Self::Known(Value::Null) => Some(false),
            Self::Known(Value::Bool(it)) => Some(*it),
            Self::Known(Value::String(text)) => Some(!text.is_empty()),
            Self::Known(Value::Number(number)) => number.as_f64().map(|it| it != 0.0),
            Self::Known(Value::Object(fields)) => Some(!fields.is_empty()),
            Self::Known(Value::Array(_))
            | Self::Array(_)
            | Self::Unknown
            | Self::Not(_)
            | Self::Object { .. } => None,
        }
    }

    /// Forgets what lies too deep, so that values in a loop stay finite in number.
    pub fn bounded(self, depth: usize) -> Self {
        match self {
            Self::Object { .. } | Self::Array(_) if PROOF_VALUE_DEPTH_MAX <= depth => Self::Unknown,
            Self::Array(items) => {
                let items = items.into_iter().map(|it| it.bounded(depth + 1));
                Self::Array(items.collect())
            }
            Self::Object { fields, open } => {
                let fields = fields
                    .into_iter()
                    .map(|(key, it)| (key, it.bounded(depth + 1)))
                    .collect();
                Self::Object { fields, open }
            }
            other => other,
        }
    }
}

/// The value of a template; `None` when an expression in it surely gives nothing, which fails the state.
pub(super) fn of_template(template: &Template, scope: &Scope<'_>) -> Option<Abstract> {
    let value = match template {
        Template::Literal(value) => Abstract::Known(value.to_value()),
        Template::Expression(expression) => match evaluate(expression.ast(), scope, 0) {
            Abstract::Undefined => return None,
            value => value,
        },
        Template::Path(expression) => match of_path_expression(expression, scope) {
            Abstract::Undefined => return None,
            value => value,
        },
        Template::Array(items) => {
            let items = items.iter().map(|it| of_template(it, scope));
            Abstract::Array(items.collect::<Option<Vec<_>>>()?)
        }
        Template::Object(fields) => {
            let mut values = BTreeMap::new();
            for (key, it) in fields {
                values.insert(key.clone(), of_template(it, scope)?);
            }
            Abstract::Object {
                fields: values,
                open: false,
            }
        }
    };
    Some(value.bounded(0))
}

/// Whether a template surely has a value: nothing in it may be undefined, or an error.
pub(super) fn is_sure(template: &Template, scope: &Scope<'_>) -> bool {
    match template {
        Template::Literal(_) => true,
        Template::Expression(expression) => {
            is_total(expression.ast())
                && !matches!(
                    evaluate(expression.ast(), scope, 0),
                    Abstract::Undefined | Abstract::Unknown | Abstract::Not(_)
                )
        }
        Template::Path(expression) => !matches!(
            of_path_expression(expression, scope),
            Abstract::Undefined | Abstract::Unknown | Abstract::Not(_)
        ),
        Template::Array(items) => items.iter().all(|it| is_sure(it, scope)),
        Template::Object(fields) => fields.iter().all(|(_, it)| is_sure(it, scope)),
    }
}

/// Whether an expression can never be an error, whatever it reads.
pub(super) fn is_total(ast: &AstNode) -> bool {
    let mut is_total = true;
    crate::expression::walk(ast, &mut |node| {
        is_total &= match node {
            AstNode::String(_)
            | AstNode::Name(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Variable(_)
            | AstNode::Path { .. }
            | AstNode::Array(_)
            | AstNode::Conditional { .. } => true,
            AstNode::Block(items) => items.len() == 1,
            AstNode::Object(pairs) => pairs
                .iter()
                .all(|(key, _)| matches!(key, AstNode::String(_))),
            AstNode::Binary { op, .. } => matches!(
                op,
                BinaryOp::And | BinaryOp::Or | BinaryOp::Equal | BinaryOp::NotEqual | BinaryOp::In
            ),
            AstNode::Function {
                name, is_builtin, ..
            } => *is_builtin && matches!(name.as_str(), "exists" | "not" | "boolean"),
            _ => false,
        };
    });
    is_total
}

/// What is known about a condition, which must be a Boolean.
pub(super) fn of_condition(expression: &Expression, scope: &Scope<'_>) -> Tested {
    let may_fail = if is_total(expression.ast()) {
        Fails::No
    } else {
        Fails::Maybe
    };
    match evaluate(expression.ast(), scope, 0) {
        Abstract::Known(Value::Bool(holds)) => Tested {
            holds: Some(holds),
            fails: may_fail,
        },
        Abstract::Unknown | Abstract::Not(_) => Tested {
            holds: None,
            fails: Fails::Maybe,
        },
        _ => Tested::FAILS,
    }
}

/// The value of an expression.
pub(super) fn evaluate(ast: &AstNode, scope: &Scope<'_>, depth: usize) -> Abstract {
    if DEPTH_MAX < depth {
        return Abstract::Unknown;
    }
    let depth = depth + 1;
    match ast {
        AstNode::String(text) => Abstract::text(text),
        AstNode::Number(number) => {
            crate::expression::number(*number).map_or(Abstract::Unknown, Abstract::Known)
        }
        AstNode::Boolean(it) => Abstract::Known(Value::Bool(*it)),
        AstNode::Null => Abstract::Known(Value::Null),
        AstNode::Variable(name) => variable(name, scope),
        AstNode::Path { steps } => path(steps, scope),
        AstNode::Binary { op, lhs, rhs } => binary(*op, lhs, rhs, scope, depth),
        AstNode::Function {
            name,
            args,
            is_builtin: true,
        } => match (name.as_str(), args.as_slice()) {
            ("exists", [arg]) => exists(arg, scope, depth),
            ("not", [arg]) => match evaluate(arg, scope, depth) {
                Abstract::Undefined => Abstract::Undefined,
                value => decided(value.truth().map(|it| !it)),
            },
            ("boolean", [arg]) => match evaluate(arg, scope, depth) {
                Abstract::Undefined => Abstract::Undefined,
                value => decided(value.truth()),
            },
            _ => Abstract::Unknown,
        },
        AstNode::Conditional {
            condition,
            then_branch,
            else_branch,
        } => {
            let otherwise = || match else_branch {
                Some(branch) => evaluate(branch, scope, depth),
                None => Abstract::Undefined,
            };
            match evaluate(condition, scope, depth).truth() {
                Some(true) => evaluate(then_branch, scope, depth),
                Some(false) => otherwise(),
                None => {
                    let (then, other) = (evaluate(then_branch, scope, depth), otherwise());
                    if then == other {
                        then
                    } else {
                        Abstract::Unknown
                    }
                }
            }
        }
        AstNode::Object(pairs) => object(pairs, scope, depth),
        AstNode::Array(items) => {
            let items: Vec<Abstract> = items.iter().map(|it| evaluate(it, scope, depth)).collect();
            // `JSONata` drops what is nothing, and lays out the items of an array.
            if items.iter().all(Abstract::is_single) {
                Abstract::Array(items)
            } else {
                Abstract::Unknown
            }
        }
        AstNode::Block(items) => match items.as_slice() {
            [single] => evaluate(single, scope, depth),
            _ => Abstract::Unknown,
        },
        _ => Abstract::Unknown,
    }
}

fn variable(name: &str, scope: &Scope<'_>) -> Abstract {
    if name.is_empty() || name == "states" {
        return Abstract::Unknown;
    }
    scope
        .variables
        .get(name)
        .cloned()
        .unwrap_or(Abstract::Undefined)
}

/// One step of a path: into a field, or to an item.
#[derive(Clone, Copy)]
enum Access<'a> {
    Field(&'a str),
    Item(usize),
}

fn path(steps: &[PathStep], scope: &Scope<'_>) -> Abstract {
    let Some((AstNode::Variable(first), accesses)) = plain_accesses(steps) else {
        return Abstract::Unknown;
    };
    let (start, rest) = match (first.as_str(), accesses.as_slice()) {
        ("states", [Access::Field("input"), rest @ ..]) => (scope.input.clone(), rest),
        ("states", [Access::Field("result"), rest @ ..]) => (scope.result.clone(), rest),
        ("states", [Access::Field("errorOutput"), rest @ ..]) => (scope.error_output.clone(), rest),
        ("states", _) => return Abstract::Unknown,
        (name, rest) => (variable(name, scope), rest),
    };
    rest.iter().fold(start, |value, access| match access {
        Access::Field(name) => value.field(name),
        Access::Item(index) => value.item(*index),
    })
}

/// The first step and the way on from it, if every step is just a field or an item.
fn plain_accesses(steps: &[PathStep]) -> Option<(&AstNode, Vec<Access<'_>>)> {
    let mut accesses = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if step.focus.is_some() || step.index_var.is_some() || step.is_tuple {
            return None;
        }
        match &step.node {
            _ if index == 0 => {}
            AstNode::Name(name) => accesses.push(Access::Field(name)),
            _ => return None,
        }
        for stage in &step.stages {
            let Stage::Filter(filter) = stage else {
                return None;
            };
            accesses.push(Access::Item(whole(filter)?));
        }
    }
    Some((&steps.first()?.node, accesses))
}

/// A literal whole number that may be an index.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is compared with the number that it came from"
)]
fn whole(node: &AstNode) -> Option<usize> {
    let AstNode::Number(number) = node else {
        return None;
    };
    let is_index = 0.0 <= *number && *number < 1e9 && number.fract() == 0.0;
    is_index.then_some(*number as usize)
}

/// A variable that was assigned exists, whatever it holds: `Assign` refuses nothing.
fn exists(arg: &AstNode, scope: &Scope<'_>, depth: usize) -> Abstract {
    if let AstNode::Variable(name) = arg
        && name != "states"
        && !name.is_empty()
    {
        return Abstract::Known(Value::Bool(scope.variables.contains_key(name)));
    }
    match evaluate(arg, scope, depth) {
        Abstract::Undefined => Abstract::Known(Value::Bool(false)),
        Abstract::Known(_) | Abstract::Object { .. } | Abstract::Array(_) => {
            Abstract::Known(Value::Bool(true))
        }
        Abstract::Unknown | Abstract::Not(_) => Abstract::Unknown,
    }
}

fn binary(op: BinaryOp, lhs: &AstNode, rhs: &AstNode, scope: &Scope<'_>, depth: usize) -> Abstract {
    match op {
        BinaryOp::And | BinaryOp::Or => {
            let left = evaluate(lhs, scope, depth).truth();
            let right = evaluate(rhs, scope, depth).truth();
            // One side may decide alone.
            let deciding = Some(op == BinaryOp::Or);
            if left == deciding || right == deciding {
                return decided(deciding);
            }
            if left.is_some() && right.is_some() {
                decided(left)
            } else {
                Abstract::Unknown
            }
        }
        BinaryOp::Equal | BinaryOp::NotEqual => {
            let (left, right) = (evaluate(lhs, scope, depth), evaluate(rhs, scope, depth));
            if left == Abstract::Undefined || right == Abstract::Undefined {
                return decided(Some(false));
            }
            match same(&left, &right) {
                // Not equal, or one side is nothing: `=` is false either way, `!=` is not known.
                Some((false, false)) if op == BinaryOp::NotEqual => Abstract::Unknown,
                Some((same, _)) => decided(Some(same == (op == BinaryOp::Equal))),
                None => Abstract::Unknown,
            }
        }
        BinaryOp::In => {
            let AstNode::Array(items) = rhs else {
                return Abstract::Unknown;
            };
            let left = evaluate(lhs, scope, depth);
            if left == Abstract::Undefined {
                return decided(Some(false));
            }
            let found: Vec<Option<bool>> = items
                .iter()
                .map(|it| same(&left, &evaluate(it, scope, depth)).map(|(same, _)| same))
                .collect();
            if found.contains(&Some(true)) {
                decided(Some(true))
            } else if found.iter().all(|it| *it == Some(false)) {
                decided(Some(false))
            } else {
                Abstract::Unknown
            }
        }
        _ => Abstract::Unknown,
    }
}

/// Whether two values are equal, and whether both surely exist; `None` if that is not known.
fn same(left: &Abstract, right: &Abstract) -> Option<(bool, bool)> {
    match (left, right) {
        (Abstract::Known(Value::Array(_)), _) | (_, Abstract::Known(Value::Array(_))) => None,
        (Abstract::Known(left), Abstract::Known(right)) => Some((equal(left, right), true)),
        (Abstract::Not(not), Abstract::Known(it)) | (Abstract::Known(it), Abstract::Not(not))
            if equal(not, it) =>
        {
            Some((false, false))
        }
        _ => None,
    }
}

fn decided(answer: Option<bool>) -> Abstract {
    answer.map_or(Abstract::Unknown, |it| Abstract::Known(Value::Bool(it)))
}

fn object(pairs: &[(AstNode, AstNode)], scope: &Scope<'_>, depth: usize) -> Abstract {
    let mut fields = BTreeMap::new();
    for (key, value) in pairs {
        let AstNode::String(key) = key else {
            return Abstract::Unknown;
        };
        match evaluate(value, scope, depth) {
            Abstract::Undefined => {}
            value => {
                if fields.insert(key.clone(), value).is_some() {
                    return Abstract::Unknown;
                }
            }
        }
    }
    Abstract::Object {
        fields,
        open: false,
    }
}
