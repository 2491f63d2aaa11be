//! Values as the proof knows them, and expressions over them.
//!
//! Outcomes are exact, because the proof takes every outcome in turn. `=`, `!=`, `in`, `and`, `or`,
//! `$not` and `$exists` over them are decided; everything else is unknown, so that nothing is ever
//! concluded that could be wrong.

use std::collections::BTreeMap;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep};
use serde_json::Value;

use crate::definition::Template;
use crate::expression::equal;
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
    /// An object; when it is open, other fields are unknown, otherwise there are none.
    Object {
        fields: BTreeMap<String, Abstract>,
        open: bool,
    },
}

/// What the expressions of one state see.
pub(super) struct Scope<'a> {
    pub input: &'a Abstract,
    pub result: &'a Abstract,
    pub error_output: &'a Abstract,
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
            Self::Known(Value::Array(_)) | Self::Unknown | Self::Not(_) => Self::Unknown,
            Self::Known(_) | Self::Undefined => Self::Undefined,
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
            Self::Known(Value::Array(_)) | Self::Unknown | Self::Not(_) | Self::Object { .. } => {
                None
            }
        }
    }

    /// Forgets what lies too deep, so that values in a loop stay finite in number.
    fn bounded(self, depth: usize) -> Self {
        match self {
            Self::Object { .. } if PROOF_VALUE_DEPTH_MAX <= depth => Self::Unknown,
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
        Template::Path(_) => Abstract::Unknown,
        Template::Array(items) => {
            for item in items {
                of_template(item, scope)?;
            }
            Abstract::Unknown
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

fn path(steps: &[PathStep], scope: &Scope<'_>) -> Abstract {
    let Some(names) = plain_names(steps) else {
        return Abstract::Unknown;
    };
    let Some(AstNode::Variable(first)) = steps.first().map(|it| &it.node) else {
        return Abstract::Unknown;
    };
    let (start, rest) = match (first.as_str(), names.as_slice()) {
        ("states", ["input", rest @ ..]) => (scope.input.clone(), rest),
        ("states", ["result", rest @ ..]) => (scope.result.clone(), rest),
        ("states", ["errorOutput", rest @ ..]) => (scope.error_output.clone(), rest),
        ("states", _) => return Abstract::Unknown,
        (name, rest) => (variable(name, scope), rest),
    };
    rest.iter().fold(start, |value, name| value.field(name))
}

/// The field names after the first step, if every step is just a field.
fn plain_names(steps: &[PathStep]) -> Option<Vec<&str>> {
    let is_plain = |step: &PathStep| {
        step.stages.is_empty() && step.focus.is_none() && step.index_var.is_none() && !step.is_tuple
    };
    if !steps.iter().all(is_plain) {
        return None;
    }
    steps
        .iter()
        .skip(1)
        .map(|step| match &step.node {
            AstNode::Name(name) => Some(name.as_str()),
            _ => None,
        })
        .collect()
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
        Abstract::Known(_) => Abstract::Known(Value::Bool(true)),
        Abstract::Unknown | Abstract::Not(_) | Abstract::Object { .. } => Abstract::Unknown,
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
