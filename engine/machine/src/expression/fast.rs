//! The expressions that most definitions consist of, evaluated without building an evaluator.
//!
//! Paths over variables and `$states`, literals, `=`, `!=`, `in`, `and`, `or`, `$not`, `$exists`, conditions
//! and objects. Whatever `JSONata` treats specially (arrays in paths, truthiness of anything but a
//! Boolean) is `Unsupported` here and goes to the full evaluator, so both always agree.

use std::borrow::Cow;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep};
use serde_json::{Map, Value};

use super::Scope;
use crate::payload::Payload;

pub(super) enum Answer {
    Value(Payload),
    Undefined,
    Unsupported,
}

/// Deepest expression handled here.
const DEPTH_MAX: usize = 32;

struct Unsupported;

type Fast<'a> = Result<Option<Found<'a>>, Unsupported>;

enum Found<'a> {
    Whole(Payload),
    Part(Cow<'a, Value>),
}

impl Found<'_> {
    fn value(&self) -> &Value {
        match self {
            Found::Whole(payload) => payload,
            Found::Part(value) => value,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Found::Whole(payload) => payload.to_value(),
            Found::Part(value) => value.into_owned(),
        }
    }
}

pub(super) fn evaluate(ast: &AstNode, scope: &dyn Scope) -> Answer {
    match find(ast, scope, 0) {
        Ok(Some(Found::Whole(payload))) => Answer::Value(payload),
        Ok(Some(Found::Part(value))) => Answer::Value(Payload::from(value.into_owned())),
        Ok(None) => Answer::Undefined,
        Err(Unsupported) => Answer::Unsupported,
    }
}

fn find<'a>(ast: &'a AstNode, scope: &'a dyn Scope, depth: usize) -> Fast<'a> {
    if DEPTH_MAX < depth {
        return Err(Unsupported);
    }
    let owned = |value: Value| Ok(Some(Found::Part(Cow::Owned(value))));
    match ast {
        AstNode::String(text) => owned(Value::String(text.clone())),
        AstNode::Number(number) => owned(super::number(*number).map_err(|_| Unsupported)?),
        AstNode::Boolean(it) => owned(Value::Bool(*it)),
        AstNode::Null => owned(Value::Null),
        AstNode::Variable(name) => variable(name, scope),
        AstNode::Path { steps } => path(steps, scope),
        AstNode::Binary { op, lhs, rhs } => binary(*op, lhs, rhs, scope, depth + 1),
        AstNode::Function {
            name,
            args,
            is_builtin: true,
        } => match (name.as_str(), args.as_slice()) {
            ("exists", [arg]) => owned(Value::Bool(find(arg, scope, depth + 1)?.is_some())),
            ("not", [arg]) => match find(arg, scope, depth + 1)? {
                Some(found) => owned(Value::Bool(!found.value().as_bool().ok_or(Unsupported)?)),
                None => Ok(None),
            },
            _ => Err(Unsupported),
        },
        AstNode::Conditional {
            condition,
            then_branch,
            else_branch,
        } => match (truth(condition, scope, depth + 1)?, else_branch) {
            (true, _) => find(then_branch, scope, depth + 1),
            (false, Some(branch)) => find(branch, scope, depth + 1),
            (false, None) => Ok(None),
        },
        AstNode::Object(pairs) => object(pairs, scope, depth + 1),
        _ => Err(Unsupported),
    }
}

fn variable<'a>(name: &str, scope: &'a dyn Scope) -> Fast<'a> {
    if name.is_empty() || name == "states" {
        return Err(Unsupported);
    }
    match scope.variable(name) {
        // An unbound name may still be a function.
        None => Err(Unsupported),
        Some(payload) if payload.is_array() => Err(Unsupported),
        Some(payload) => Ok(Some(Found::Whole(payload.clone()))),
    }
}

fn path<'a>(steps: &'a [PathStep], scope: &'a dyn Scope) -> Fast<'a> {
    let [first, rest @ ..] = steps else {
        return Err(Unsupported);
    };
    let AstNode::Variable(name) = plain(first)? else {
        return Err(Unsupported);
    };
    if name != "states" {
        let Some(payload) = scope.variable(name) else {
            return Ok(None);
        };
        return Ok(descend(payload, rest)?.map(|it| Found::Part(Cow::Borrowed(it))));
    }
    let [field, rest @ ..] = rest else {
        return Err(Unsupported);
    };
    let AstNode::Name(field) = plain(field)? else {
        return Err(Unsupported);
    };
    let Some(payload) = scope.states(field) else {
        return Ok(None);
    };
    if rest.is_empty() {
        return if payload.is_array() {
            Err(Unsupported)
        } else {
            Ok(Some(Found::Whole(payload)))
        };
    }
    Ok(descend(&payload, rest)?.map(|it| Found::Part(Cow::Owned(it.clone()))))
}

/// Follows field names through objects; an array on the way, or at its end, is `JSONata`'s business.
fn descend<'a>(payload: &'a Payload, steps: &[PathStep]) -> Result<Option<&'a Value>, Unsupported> {
    let mut value: &Value = payload;
    for step in steps {
        let AstNode::Name(name) = plain(step)? else {
            return Err(Unsupported);
        };
        value = match value {
            Value::Object(fields) => match fields.get(name) {
                Some(it) => it,
                None => return Ok(None),
            },
            Value::Array(_) => return Err(Unsupported),
            _ => return Ok(None),
        };
    }
    if value.is_array() {
        Err(Unsupported)
    } else {
        Ok(Some(value))
    }
}

/// The node of a step that has nothing attached.
fn plain(step: &PathStep) -> Result<&AstNode, Unsupported> {
    let is_plain = step.stages.is_empty()
        && step.focus.is_none()
        && step.index_var.is_none()
        && step.ancestor_label.is_none()
        && !step.is_tuple
        && !step.inner_tuple;
    if is_plain {
        Ok(&step.node)
    } else {
        Err(Unsupported)
    }
}

fn binary<'a>(
    op: BinaryOp,
    lhs: &'a AstNode,
    rhs: &'a AstNode,
    scope: &'a dyn Scope,
    depth: usize,
) -> Fast<'a> {
    let answer = match op {
        BinaryOp::And | BinaryOp::Or => {
            let (left, right) = (truth(lhs, scope, depth)?, truth(rhs, scope, depth)?);
            if op == BinaryOp::And {
                left && right
            } else {
                left || right
            }
        }
        BinaryOp::Equal | BinaryOp::NotEqual => {
            match (find(lhs, scope, depth)?, find(rhs, scope, depth)?) {
                (Some(left), Some(right)) => {
                    equal(left.value(), right.value()) == (op == BinaryOp::Equal)
                }
                _ => false,
            }
        }
        BinaryOp::In => {
            let AstNode::Array(items) = rhs else {
                return Err(Unsupported);
            };
            let Some(left) = find(lhs, scope, depth)? else {
                return Ok(Some(Found::Part(Cow::Owned(Value::Bool(false)))));
            };
            let mut is_in = false;
            for item in items {
                let AstNode::String(text) = item else {
                    return Err(Unsupported);
                };
                is_in |= left.value().as_str() == Some(text);
            }
            is_in
        }
        _ => return Err(Unsupported),
    };
    Ok(Some(Found::Part(Cow::Owned(Value::Bool(answer)))))
}

fn truth(ast: &AstNode, scope: &dyn Scope, depth: usize) -> Result<bool, Unsupported> {
    match find(ast, scope, depth)? {
        None => Ok(false),
        Some(found) => found.value().as_bool().ok_or(Unsupported),
    }
}

fn object<'a>(pairs: &'a [(AstNode, AstNode)], scope: &'a dyn Scope, depth: usize) -> Fast<'a> {
    let mut fields = Map::with_capacity(pairs.len());
    for (key, value) in pairs {
        let AstNode::String(key) = key else {
            return Err(Unsupported);
        };
        if let Some(found) = find(value, scope, depth)?
            && fields.insert(key.clone(), found.into_value()).is_some()
        {
            return Err(Unsupported);
        }
    }
    Ok(Some(Found::Part(Cow::Owned(Value::Object(fields)))))
}

/// Deep equality in which `1` and `1.0` are one number, as in JavaScript.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, it)| right.get(key).is_some_and(|other| equal(it, other)))
        }
        _ => left == right,
    }
}
