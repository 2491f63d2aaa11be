//! What an expression reads and calls, found without evaluating it.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use jsonata_core::value::with_stack;

use super::STATES_FIELDS;

/// Functions that no definition may use, and why.
const FORBIDDEN: [(&str, &str); 2] = [
    (
        "eval",
        "`$eval` hides from every check what an expression reads and calls",
    ),
    (
        "pad",
        "`$pad` builds a text of any length at once, which no limit of an evaluation can stop",
    ),
];

#[derive(Default)]
pub(super) struct Names {
    pub variables: BTreeSet<String>,
    pub functions: BTreeSet<String>,
}

/// Collects the variables (bound ones too) and functions that an expression names.
pub(super) fn names(ast: &AstNode) -> Names {
    let mut names = Names::default();
    walk(ast, &mut |node| match node {
        AstNode::Variable(name) if !name.is_empty() => {
            names.variables.insert(name.clone());
            // `$map(list, $uuid)` passes a function by its name.
            names.functions.insert(name.clone());
        }
        AstNode::Function { name, .. } => {
            names.functions.insert(name.clone());
        }
        _ => {}
    });
    names
}

/// The fields of `$states` that are read; all of them where `$states` is used as a whole.
pub(super) fn states_fields(ast: &AstNode) -> Vec<&'static str> {
    let is_states = |node: &AstNode| matches!(node, AstNode::Variable(name) if name == "states");
    let (mut n_named, mut n_fields) = (0_usize, 0_usize);
    let mut fields = BTreeSet::new();
    walk(ast, &mut |node| {
        n_named += usize::from(is_states(node));
        if let AstNode::Path { steps } = node
            && let [first, second, ..] = steps.as_slice()
            && is_states(&first.node)
            && first.stages.is_empty()
            && let AstNode::Name(name) = &second.node
        {
            n_fields += 1;
            fields.extend(STATES_FIELDS.iter().find(|it| *it == name));
        }
    });
    if n_named == n_fields {
        fields.into_iter().copied().collect()
    } else {
        STATES_FIELDS.to_vec()
    }
}

/// Refuses what would make two runs differ, or hide from the proof.
pub(super) fn forbidden(ast: &AstNode, names: &Names) -> Result<(), String> {
    for (name, reason) in FORBIDDEN {
        if names.functions.contains(name) {
            return Err(reason.to_owned());
        }
    }
    let mut refused = None;
    walk(ast, &mut |node| {
        let with_picture = match node {
            AstNode::Function { name, args, .. } => {
                (name == "toMillis" && 1 < args.len()) || (name == "now" && !args.is_empty())
            }
            AstNode::Binary {
                op: BinaryOp::ChainPipe,
                rhs,
                ..
            } => {
                matches!(&**rhs, AstNode::Function { name, args, .. } if name == "now" || (name == "toMillis" && !args.is_empty()))
            }
            AstNode::Variable(name) => name == "toMillis",
            _ => false,
        };
        if with_picture {
            refused = Some("`$toMillis` with a picture and `$now` with arguments are not supported: pass an ISO 8601 time, or `$fromMillis($millis(), ..)`".to_owned());
        }
    });
    refused.map_or(Ok(()), Err)
}

/// Visits every node, parents first.
pub(crate) fn walk<'a>(node: &'a AstNode, visit: &mut dyn FnMut(&'a AstNode)) {
    with_stack(|| {
        visit(node);
        match node {
            AstNode::Path { steps } => steps.iter().for_each(|it| walk_step(it, visit)),
            AstNode::Binary { lhs, rhs, .. } => {
                walk(lhs, visit);
                walk(rhs, visit);
            }
            AstNode::Unary { operand, .. } => walk(operand, visit),
            AstNode::Function { args: items, .. }
            | AstNode::Array(items)
            | AstNode::Block(items)
            | AstNode::ArrayGroup(items) => items.iter().for_each(|it| walk(it, visit)),
            AstNode::Call { procedure, args } => {
                walk(procedure, visit);
                for arg in args {
                    walk(arg, visit);
                }
            }
            AstNode::Lambda { body, .. } => walk(body, visit),
            AstNode::Object(pairs) => walk_pairs(pairs, visit),
            AstNode::ObjectTransform { input, pattern } => {
                walk(input, visit);
                walk_pairs(pattern, visit);
            }
            AstNode::Conditional {
                condition,
                then_branch,
                else_branch,
            } => {
                walk(condition, visit);
                walk(then_branch, visit);
                if let Some(branch) = else_branch {
                    walk(branch, visit);
                }
            }
            AstNode::FunctionApplication(inner) => walk(inner, visit),
            AstNode::Sort { input, terms } => {
                walk(input, visit);
                for (term, _) in terms {
                    walk(term, visit);
                }
            }
            AstNode::Transform {
                location,
                update,
                delete,
            } => {
                walk(location, visit);
                walk(update, visit);
                if let Some(delete) = delete {
                    walk(delete, visit);
                }
            }
            AstNode::String(_)
            | AstNode::Name(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Regex { .. }
            | AstNode::Variable(_)
            | AstNode::ParentVariable(_)
            | AstNode::Wildcard
            | AstNode::Descendant
            | AstNode::Parent(_) => {}
        }
    });
}

fn walk_step<'a>(step: &'a PathStep, visit: &mut dyn FnMut(&'a AstNode)) {
    walk(&step.node, visit);
    for stage in &step.stages {
        if let Stage::Filter(filter) = stage {
            walk(filter, visit);
        }
    }
}

fn walk_pairs<'a>(pairs: &'a [(AstNode, AstNode)], visit: &mut dyn FnMut(&'a AstNode)) {
    for (key, value) in pairs {
        walk(key, visit);
        walk(value, visit);
    }
}
