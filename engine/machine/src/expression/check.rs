//! What an expression reads and calls, found without evaluating it.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, Stage};
use jsonata_core::value::with_stack;

use super::STATES_FIELDS;
use super::meter::CALLED_ONLY;
use super::regex;

/// Functions that no definition may use, and why.
const FORBIDDEN: [(&str, &str); 1] = [(
    "eval",
    "`$eval` hides from every check what an expression reads and calls",
)];

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
    if let Some(message) = counted_otherwise(ast) {
        return Err(message);
    }
    if maps_a_pattern(ast) {
        return Err(
            "a pattern is no function for items: use `function($x) { $contains($x, /../) }`"
                .to_owned(),
        );
    }
    if combines_what_it_makes(ast) {
        return Err("`@` and `#` together number combinations of fields only: what is made on the way could be combined without end".to_owned());
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

/// Whether a pattern is used as a function that is called for every item: each call compiles it.
fn maps_a_pattern(ast: &AstNode) -> bool {
    const HIGHER: [&str; 7] = ["map", "filter", "reduce", "each", "sift", "single", "sort"];
    let mut found = false;
    walk(ast, &mut |node| {
        if let AstNode::Function { name, args, .. } = node {
            found |= HIGHER.contains(&name.as_str())
                && args.iter().any(|it| matches!(it, AstNode::Regex { .. }));
        }
    });
    found
}

/// Whether items are combined (`@`) and others than fields are numbered (`#`).
fn combines_what_it_makes(ast: &AstNode) -> bool {
    let (mut combines, mut numbers) = (false, false);
    walk(ast, &mut |node| {
        let AstNode::Path { steps } = node else {
            return;
        };
        for step in steps {
            combines |= step.focus.is_some();
            let is_numbered = step.index_var.is_some()
                || step.stages.iter().any(|it| matches!(it, Stage::Index(_)));
            numbers |= is_numbered && !matches!(step.node, AstNode::Name(_) | AstNode::Variable(_));
        }
    });
    combines && numbers
}

/// A function that is counted by how it is called, but passed on or redefined.
fn counted_otherwise(ast: &AstNode) -> Option<String> {
    let mut refused = None;
    walk(ast, &mut |node| {
        let named: Vec<&String> = match node {
            AstNode::Variable(name) => vec![name],
            AstNode::Lambda { params, .. } => params.iter().collect(),
            AstNode::Path { steps } => steps
                .iter()
                .flat_map(|it| it.focus.iter().chain(&it.index_var))
                .collect(),
            AstNode::Function { name, args, .. }
                if args.iter().any(|it| matches!(it, AstNode::Placeholder)) =>
            {
                vec![name]
            }
            _ => Vec::new(),
        };
        if let Some(name) = named
            .into_iter()
            .find(|it| CALLED_ONLY.contains(&it.as_str()))
        {
            refused = Some(format!(
                "`${name}` can only be called: write `function($it) {{ ${name}($it, ..) }}` to pass it on"
            ));
        }
    });
    refused
}

/// How much the largest pattern of an expression costs for each byte of text; 0 without a pattern.
pub(super) fn regex_weight(ast: &AstNode) -> Result<u64, String> {
    let mut weight = Ok(0);
    walk(ast, &mut |node| {
        if let (AstNode::Regex { pattern, flags }, Ok(largest)) = (node, &weight) {
            let own = regex::weight(&regex::translate(pattern), flags);
            weight = own.map(|it| it.max(*largest));
        }
    });
    weight
}

/// The deepest nesting of an expression.
pub(super) fn depth(ast: &AstNode) -> usize {
    let mut deepest = 0;
    let mut open = vec![(ast, 1_usize)];
    while let Some((node, level)) = open.pop() {
        deepest = deepest.max(level);
        children(node, &mut |child| open.push((child, level + 1)));
    }
    deepest
}

/// Visits every node, parents first.
pub(crate) fn walk<'a>(node: &'a AstNode, visit: &mut dyn FnMut(&'a AstNode)) {
    with_stack(|| {
        visit(node);
        children(node, &mut |child| walk(child, visit));
    });
}

/// Visits the nodes directly below a node, in order.
fn children<'a>(node: &'a AstNode, visit: &mut dyn FnMut(&'a AstNode)) {
    match node {
        AstNode::Path { steps } => {
            for step in steps {
                visit(&step.node);
                for stage in &step.stages {
                    if let Stage::Filter(filter) = stage {
                        visit(filter);
                    }
                }
            }
        }
        AstNode::Binary { lhs, rhs, .. } => {
            visit(lhs);
            visit(rhs);
        }
        AstNode::Unary { operand: inner, .. }
        | AstNode::Lambda { body: inner, .. }
        | AstNode::FunctionApplication(inner) => visit(inner),
        AstNode::Function { args: items, .. }
        | AstNode::Array(items)
        | AstNode::Block(items)
        | AstNode::ArrayGroup(items) => items.iter().for_each(visit),
        AstNode::Call { procedure, args } => {
            visit(procedure);
            args.iter().for_each(visit);
        }
        AstNode::Object(pairs) => pair_children(pairs, visit),
        AstNode::ObjectTransform { input, pattern } => {
            visit(input);
            pair_children(pattern, visit);
        }
        AstNode::Conditional {
            condition,
            then_branch,
            else_branch,
        } => {
            visit(condition);
            visit(then_branch);
            if let Some(branch) = else_branch {
                visit(branch);
            }
        }
        AstNode::Sort { input, terms } => {
            visit(input);
            for (term, _) in terms {
                visit(term);
            }
        }
        AstNode::Transform {
            location,
            update,
            delete,
        } => {
            visit(location);
            visit(update);
            if let Some(delete) = delete {
                visit(delete);
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
}

fn pair_children<'a>(pairs: &'a [(AstNode, AstNode)], visit: &mut dyn FnMut(&'a AstNode)) {
    for (key, value) in pairs {
        visit(key);
        visit(value);
    }
}
