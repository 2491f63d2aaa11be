//! Puts the counting of work into an expression.
//!
//! The evaluator has no hook that counts, and a clock would end the same expression here but not
//! there. So every place where work can multiply calls one of our own functions: the body of a
//! function, each argument, each result that may grow, each step of a path that is more than a name.
//! All of them give back the value that they are given, so an expression means what it meant before.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage, StepId, UnaryOp};
use jsonata_core::value::with_stack;

use super::budget::{Cost, names};
use super::regex;

/// Functions that work through everything inside their first argument.
const DEEP: [&str; 6] = ["string", "merge", "spread", "keys", "sort", "zip"];

/// Functions that match a pattern.
const MATCHING: [&str; 4] = ["match", "contains", "split", "replace"];

/// Functions whose second argument is a picture.
const PICTURED: [&str; 5] = [
    "formatNumber",
    "formatInteger",
    "fromMillis",
    "parseInteger",
    "toMillis",
];

/// Functions that call a function for each item.
const HIGHER: [&str; 7] = ["map", "filter", "reduce", "each", "sift", "single", "sort"];

/// Functions that give an answer without looking into their argument.
const CONSTANT: [&str; 2] = ["exists", "type"];

/// Functions that take the context for a missing first argument, and their least arguments without it.
const CONTEXTUAL: &str = "abs1 base64decode1 base64encode1 boolean1 ceil1 contains2 decodeUrl1 \
    decodeUrlComponent1 each2 encodeUrl1 encodeUrlComponent1 floor1 formatBase1 formatInteger2 \
    formatNumber2 fromMillis1 keys1 length1 lookup2 lowercase1 match2 not1 number1 parseInteger2 \
    power2 replace3 round1 sift2 split2 spread1 sqrt1 string1 substring2 substringAfter2 \
    substringBefore2 toMillis1 trim1 uppercase1";

/// Those of them that find their context soon; the others compare signatures, which takes long.
const SOON: [&str; 4] = ["string", "uppercase", "lowercase", "number"];

/// Functions that are counted by how they are called, so they may neither be passed on nor redefined.
pub(super) const CALLED_ONLY: [&str; 6] =
    ["join", "replace", "match", "split", "contains", "distinct"];

struct Meter {
    /// Variables that only ever hold a function that is written in the expression.
    lambdas: BTreeSet<String>,
    regex_weight: u64,
}

/// The metered form of an expression.
pub(super) fn meter(ast: &AstNode, regex_weight: u64) -> AstNode {
    let meter = Meter {
        lambdas: lambdas(ast),
        regex_weight,
    };
    meter.value(ast)
}

fn lambdas(ast: &AstNode) -> BTreeSet<String> {
    let (mut lambdas, mut others) = (BTreeSet::new(), BTreeSet::new());
    super::walk(ast, &mut |node| match node {
        AstNode::Binary {
            op: BinaryOp::ColonEqual,
            lhs,
            rhs,
        } => {
            if let AstNode::Variable(name) = &**lhs {
                let is_lambda = matches!(**rhs, AstNode::Lambda { .. });
                if is_lambda { &mut lambdas } else { &mut others }.insert(name.clone());
            }
        }
        AstNode::Lambda { params, .. } => others.extend(params.iter().cloned()),
        AstNode::Path { steps } => {
            for step in steps {
                others.extend(step.focus.clone());
                others.extend(step.index_var.clone());
            }
        }
        _ => {}
    });
    lambdas.difference(&others).cloned().collect()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn count(number: u64) -> AstNode {
    AstNode::Number(number as f64)
}

fn call(name: &str, args: Vec<AstNode>) -> AstNode {
    AstNode::Function {
        name: name.to_owned(),
        args,
        is_builtin: true,
    }
}

fn charge(node: AstNode, cost: Cost, factor: u64) -> AstNode {
    let code = AstNode::Number(cost.code());
    call(names::CHARGE, vec![node, code, count(factor)])
}

fn pair(first: AstNode, second: AstNode) -> AstNode {
    call(names::PAIR, vec![first, second])
}

fn touch(head: &AstNode, factor: u64, names: Vec<AstNode>) -> AstNode {
    let args = [head.clone(), count(factor)].into_iter().chain(names);
    call(names::TOUCH, args.collect())
}

fn context() -> AstNode {
    AstNode::Variable(String::new())
}

/// Steps of a call, above those of its body.
const CALL_STEPS: u64 = 20;

/// How much more an item costs that is sorted or grouped.
const ORDERING_FACTOR: u64 = 24;

/// How much more an item costs that carries bindings from step to step.
const BINDING_FACTOR: u64 = 32;

/// How much more an item costs that is combined with others.
const JOIN_FACTOR: u64 = 32;

/// Steps of a call of a function of the language.
const BUILTIN_STEPS: u64 = 5;

/// Steps of a block that is evaluated for an item of a path, above those of what it holds.
const BLOCK_STEPS: u64 = 8;

/// Takes what it costs to enter a body.
fn tick(base: u64, body: &AstNode) -> AstNode {
    call(names::TICK, vec![count(base + straight(body))])
}

/// Steps to go through the nodes of a body once, and to make the functions in it.
fn straight(body: &AstNode) -> u64 {
    let (mut nodes, mut calls) = (0_u64, 0_u64);
    super::walk(body, &mut |node| {
        nodes += 1;
        calls += u64::from(matches!(node, AstNode::Function { .. }));
    });
    nodes / 2 + calls * BUILTIN_STEPS
}

/// A step of a join: each of its items is combined with what was found before.
fn joined(node: AstNode, index: usize) -> AstNode {
    let costly = |it: AstNode| charge(it, Cost::Items, JOIN_FACTOR);
    match node {
        AstNode::Function { .. }
        | AstNode::Call { .. }
        | AstNode::Conditional { .. }
        | AstNode::Binary { .. } => costly(node),
        AstNode::Variable(ref name) if 0 < index && !name.is_empty() => costly(node),
        AstNode::Array(items) => AstNode::Array(items.into_iter().map(costly).collect()),
        AstNode::Block(mut items) => {
            if let Some(last) = items.pop() {
                items.push(costly(last));
            }
            AstNode::Block(items)
        }
        AstNode::FunctionApplication(inner) => {
            AstNode::FunctionApplication(Box::new(joined(*inner, index)))
        }
        other => other,
    }
}

/// A path up to the first name that binds something, without what is attached to its steps.
fn plain_start(head: AstNode, rest: &[PathStep]) -> AstNode {
    let plain = |node: AstNode| PathStep {
        node,
        stages: Vec::new(),
        focus: None,
        index_var: None,
        ancestor_label: None,
        is_tuple: false,
        inner_tuple: false,
        id: StepId::default(),
    };
    let mut steps = vec![plain(head.clone())];
    for step in rest {
        if !matches!(step.node, AstNode::Name(_)) {
            break;
        }
        steps.push(plain(step.node.clone()));
        if binds(step) {
            break;
        }
    }
    if steps.len() == 1 {
        return head;
    }
    AstNode::Path { steps }
}

fn takes_context(name: &str, n_args: usize) -> bool {
    CONTEXTUAL
        .split_ascii_whitespace()
        .filter_map(|it| it.split_at_checked(it.len() - 1))
        .any(|(contextual, least)| contextual == name && least.parse().is_ok_and(|it| n_args < it))
}

fn is_literal(node: &AstNode) -> bool {
    matches!(
        node,
        AstNode::String(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Regex { .. }
            | AstNode::Lambda { .. }
    )
}

fn is_constructor(node: &AstNode) -> bool {
    matches!(
        node,
        AstNode::Array(_) | AstNode::ArrayGroup(_) | AstNode::Object(_)
    )
}

impl Meter {
    /// A node whose value is consumed by the node above.
    fn value(&self, node: &AstNode) -> AstNode {
        with_stack(|| match node {
            AstNode::Path { .. } | AstNode::Sort { .. } | AstNode::ObjectTransform { .. } => {
                let raw = self.raw(node);
                match before(node) {
                    Some(before) => pair(before, raw),
                    None => raw,
                }
            }
            AstNode::Wildcard => pair(charge(context(), Cost::Shallow, 1), node.clone()),
            AstNode::Descendant => pair(charge(context(), Cost::Deep, 1), node.clone()),
            AstNode::Regex { pattern, flags } => AstNode::Regex {
                pattern: regex::translate(pattern),
                flags: flags.clone(),
            },
            AstNode::Binary { op, lhs, rhs } => self.binary(*op, lhs, rhs),
            AstNode::Unary { op, operand } => AstNode::Unary {
                op: *op,
                operand: Box::new(self.value(operand)),
            },
            AstNode::Function {
                name,
                args,
                is_builtin,
            } => self.function(name, args, *is_builtin, None),
            AstNode::Call { procedure, args } => AstNode::Call {
                procedure: Box::new(self.value(procedure)),
                args: args
                    .iter()
                    .map(|it| self.charged(it, Cost::Deep, 1))
                    .collect(),
            },
            AstNode::Lambda {
                params,
                body,
                signature,
                thunk,
            } => AstNode::Lambda {
                params: params.clone(),
                body: Box::new(self.body(body)),
                signature: signature.clone(),
                thunk: *thunk,
            },
            AstNode::Array(items) => AstNode::Array(self.elements(items, Cost::Items)),
            AstNode::ArrayGroup(items) => AstNode::ArrayGroup(self.elements(items, Cost::Items)),
            AstNode::Object(pairs) => AstNode::Object(self.pairs(pairs)),
            AstNode::Block(items) => {
                AstNode::Block(items.iter().map(|it| self.value(it)).collect())
            }
            AstNode::Conditional {
                condition,
                then_branch,
                else_branch,
            } => AstNode::Conditional {
                condition: Box::new(self.value(condition)),
                then_branch: Box::new(self.value(then_branch)),
                else_branch: else_branch.as_ref().map(|it| Box::new(self.value(it))),
            },
            AstNode::FunctionApplication(inner) => {
                AstNode::FunctionApplication(Box::new(self.body(inner)))
            }
            AstNode::Transform {
                location,
                update,
                delete,
            } => AstNode::Transform {
                location: Box::new(call(names::TARGETS, vec![context(), self.value(location)])),
                update: Box::new(self.charged(update, Cost::Shallow, 1)),
                delete: delete.as_ref().map(|it| Box::new(self.value(it))),
            },
            AstNode::String(_)
            | AstNode::Name(_)
            | AstNode::Number(_)
            | AstNode::Boolean(_)
            | AstNode::Null
            | AstNode::Undefined
            | AstNode::Placeholder
            | AstNode::Variable(_)
            | AstNode::ParentVariable(_)
            | AstNode::Parent(_) => node.clone(),
        })
    }

    /// A node that the node above looks into: its own form must stay.
    fn raw(&self, node: &AstNode) -> AstNode {
        match node {
            AstNode::Path { steps } => self.path(steps),
            AstNode::Sort { input, terms } => AstNode::Sort {
                input: Box::new(self.raw(input)),
                terms: terms
                    .iter()
                    .map(|(term, is_ascending)| {
                        let is_name = matches!(term, AstNode::Path { steps } if steps.len() == 1);
                        let term = if is_name {
                            self.raw(term)
                        } else {
                            self.charged(term, Cost::Shallow, 2 + straight(term))
                        };
                        (term, *is_ascending)
                    })
                    .collect(),
            },
            AstNode::ObjectTransform { input, pattern } => AstNode::ObjectTransform {
                input: Box::new(self.raw(input)),
                pattern: self.pairs(pattern),
            },
            AstNode::Block(items) => {
                let mut block = vec![tick(BLOCK_STEPS, node)];
                if let Some((last, others)) = items.split_last() {
                    block.extend(others.iter().map(|it| self.value(it)));
                    block.extend(before(last));
                    block.push(self.raw(last));
                }
                AstNode::Block(block)
            }
            AstNode::FunctionApplication(inner) => {
                AstNode::FunctionApplication(Box::new(self.raw(inner)))
            }
            other => self.value(other),
        }
    }

    fn path(&self, steps: &[PathStep]) -> AstNode {
        let joins = steps.iter().any(|it| it.focus.is_some());
        let mut metered = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            let is_followed =
                matches!(steps.get(index + 1), Some(next) if matches!(next.node, AstNode::Name(_)));
            let node = match &step.node {
                node if step.inner_tuple => self.raw(node),
                AstNode::Name(_) | AstNode::Variable(_) if index == 0 => step.node.clone(),
                AstNode::Name(_) => step.node.clone(),
                AstNode::Variable(name) if name.is_empty() => step.node.clone(),
                AstNode::Variable(_) if is_followed => charge(step.node.clone(), Cost::Deep, 1),
                AstNode::Variable(_) => step.node.clone(),
                node @ (AstNode::Sort { .. } | AstNode::ObjectTransform { .. }) => self.raw(node),
                node @ (AstNode::Function { .. }
                | AstNode::Call { .. }
                | AstNode::Conditional { .. })
                    if is_followed =>
                {
                    charge(self.value(node), Cost::Deep, 1)
                }
                AstNode::Array(items) if is_followed => {
                    AstNode::Array(self.elements(items, Cost::Deep))
                }
                AstNode::Block(items) => self.block(items, is_followed),
                AstNode::FunctionApplication(inner) => {
                    let inner = match &**inner {
                        AstNode::Block(items) => self.block(items, is_followed),
                        other => self.body(other),
                    };
                    AstNode::FunctionApplication(Box::new(inner))
                }
                AstNode::Wildcard | AstNode::Descendant if step.is_tuple && !joins => {
                    step.node.clone()
                }
                node => self.value(node),
            };
            let node = if joins && !step.inner_tuple {
                joined(node, index)
            } else {
                node
            };
            let stages = step.stages.iter().map(|it| self.stage(it)).collect();
            metered.push(PathStep {
                node,
                stages,
                id: StepId::default(),
                ..step.clone()
            });
        }
        AstNode::Path { steps: metered }
    }

    fn stage(&self, stage: &Stage) -> Stage {
        let Stage::Filter(predicate) = stage else {
            return stage.clone();
        };
        let is_index = match &**predicate {
            AstNode::Number(_) => true,
            AstNode::Unary { op, operand } => {
                *op == UnaryOp::Negate && matches!(**operand, AstNode::Number(_))
            }
            _ => false,
        };
        if is_index {
            return stage.clone();
        }
        Stage::Filter(Box::new(charge(
            self.value(predicate),
            Cost::Items,
            10 + straight(predicate),
        )))
    }

    /// A block that is evaluated for each item.
    fn block(&self, items: &[AstNode], is_followed: bool) -> AstNode {
        let mut block = Vec::with_capacity(items.len() + 1);
        block.extend(items.first().map(|it| tick(BLOCK_STEPS, it)));
        block.extend(items.iter().map(|it| self.value(it)));
        if is_followed && let Some(last) = block.pop() {
            let is_shaped = is_constructor(&last) || is_literal(&last);
            block.push(if is_shaped {
                last
            } else {
                charge(last, Cost::Deep, 1)
            });
        }
        AstNode::Block(block)
    }

    /// The body of a function or an application: it takes its steps each time.
    fn body(&self, body: &AstNode) -> AstNode {
        let mut block = vec![tick(CALL_STEPS, body)];
        match body {
            AstNode::Block(items) if !items.is_empty() => {
                block.extend(items.iter().map(|it| self.value(it)));
            }
            other => block.push(self.value(other)),
        }
        AstNode::Block(block)
    }

    fn charged(&self, node: &AstNode, cost: Cost, factor: u64) -> AstNode {
        let metered = self.value(node);
        if is_literal(node) {
            metered
        } else {
            charge(metered, cost, factor)
        }
    }

    fn elements(&self, items: &[AstNode], cost: Cost) -> Vec<AstNode> {
        let element = |it: &AstNode| {
            if is_constructor(it) {
                self.value(it)
            } else {
                self.charged(it, cost, 1)
            }
        };
        items.iter().map(element).collect()
    }

    fn pairs(&self, pairs: &[(AstNode, AstNode)]) -> Vec<(AstNode, AstNode)> {
        let side = |it: &AstNode| {
            if is_constructor(it) {
                self.value(it)
            } else {
                self.charged(it, Cost::Items, 1 + straight(it))
            }
        };
        pairs
            .iter()
            .map(|(key, value)| (side(key), side(value)))
            .collect()
    }

    fn binary(&self, op: BinaryOp, lhs: &AstNode, rhs: &AstNode) -> AstNode {
        let both = |cost: Cost| {
            let is_cheap = is_literal(lhs) || is_literal(rhs);
            let side = |it: &AstNode| {
                Box::new(if is_cheap {
                    self.value(it)
                } else {
                    self.charged(it, cost, 1)
                })
            };
            (side(lhs), side(rhs))
        };
        let (left, right) = match op {
            BinaryOp::ChainPipe => return self.chain(lhs, rhs),
            BinaryOp::ColonEqual => (Box::new(lhs.clone()), Box::new(self.value(rhs))),
            BinaryOp::Equal | BinaryOp::NotEqual => both(Cost::Deep),
            BinaryOp::LessThan
            | BinaryOp::LessThanOrEqual
            | BinaryOp::GreaterThan
            | BinaryOp::GreaterThanOrEqual => both(Cost::Shallow),
            BinaryOp::In if !is_constructor(rhs) => (
                Box::new(self.value(lhs)),
                Box::new(self.charged(rhs, Cost::Shallow, 1)),
            ),
            BinaryOp::Range => (
                Box::new(charge(self.value(lhs), Cost::Bound, 1)),
                Box::new(charge(self.value(rhs), Cost::Bound, 1)),
            ),
            _ => (Box::new(self.value(lhs)), Box::new(self.value(rhs))),
        };
        let node = AstNode::Binary {
            op,
            lhs: left,
            rhs: right,
        };
        match op {
            BinaryOp::Concatenate => charge(node, Cost::Shallow, 1),
            BinaryOp::Range => charge(node, Cost::Shallow, 1),
            _ => node,
        }
    }

    /// `lhs ~> rhs`: a call on the right gets the left side as its first argument.
    fn chain(&self, lhs: &AstNode, rhs: &AstNode) -> AstNode {
        let has_gap = |args: &[AstNode]| args.iter().any(|it| matches!(it, AstNode::Placeholder));
        let called = match rhs {
            AstNode::Path { steps } if steps.len() == 1 => &steps[0].node,
            other => other,
        };
        let (lhs, rhs) = match called {
            AstNode::Function {
                name,
                args,
                is_builtin,
            } if !has_gap(args) => {
                let function = self.function(name, args, *is_builtin, Some(lhs));
                let AstNode::Function {
                    name,
                    mut args,
                    is_builtin,
                } = function
                else {
                    return function;
                };
                let first = args.remove(0);
                let node = AstNode::Function {
                    name,
                    args,
                    is_builtin,
                };
                let rhs = match rhs {
                    AstNode::Path { steps } => {
                        let stages = steps[0].stages.iter().map(|it| self.stage(it)).collect();
                        let step = PathStep {
                            node,
                            stages,
                            id: StepId::default(),
                            ..steps[0].clone()
                        };
                        AstNode::Path { steps: vec![step] }
                    }
                    _ => node,
                };
                (first, rhs)
            }
            _ => (self.charged(lhs, Cost::Deep, 1), self.value(rhs)),
        };
        AstNode::Binary {
            op: BinaryOp::ChainPipe,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
        }
    }

    /// A call; `chained` is the first argument that `~>` gives it.
    fn function(
        &self,
        name: &str,
        args: &[AstNode],
        is_builtin: bool,
        chained: Option<&AstNode>,
    ) -> AstNode {
        let all: Vec<&AstNode> = chained.into_iter().chain(args).collect();
        let takes_context = chained.is_none() && takes_context(name, all.len());
        let replaces_inline =
            name == "replace" && all.iter().any(|it| matches!(it, AstNode::Lambda { .. }));
        let mut metered = Vec::with_capacity(all.len());
        for (index, arg) in all.iter().enumerate() {
            metered.push(self.argument(name, index, arg, &all));
        }
        if replaces_inline {
            for arg in &mut metered {
                limit_result(arg);
            }
        }
        let is_text_replace = name == "replace" && !replaces_inline;
        if is_text_replace && metered.len() == 2 && chained.is_none() {
            metered.insert(0, context());
        }
        let host_name = match name {
            "join" => names::JOIN,
            "replace" if is_text_replace => names::REPLACE,
            other => other,
        };
        let call = AstNode::Function {
            name: host_name.to_owned(),
            args: metered,
            is_builtin,
        };
        if takes_context && !is_text_replace {
            let (cost, factor) = self.cost(name, 0, &all);
            let steps = if SOON.contains(&name) { 20 } else { 200 };
            let tick = self::call(names::TICK, vec![count(steps)]);
            return pair(tick, pair(charge(context(), cost, factor), call));
        }
        call
    }

    fn argument(&self, name: &str, index: usize, arg: &AstNode, all: &[&AstNode]) -> AstNode {
        let is_variable = matches!(arg, AstNode::Variable(_));
        let is_callback = is_variable && HIGHER.contains(&name) && 0 < index;
        if CONSTANT.contains(&name) || self.lambdas.contains(name) || is_callback {
            return self.value(arg);
        }
        let (cost, factor) = self.cost(name, index, all);
        if cost == Cost::Matched {
            // Whatever the text is, the pattern is compiled for it.
            return charge(self.value(arg), cost, factor);
        }
        self.charged(arg, cost, factor)
    }

    /// What an argument of a function costs.
    fn cost(&self, name: &str, index: usize, all: &[&AstNode]) -> (Cost, u64) {
        let passes_on =
            |it: &&&AstNode| matches!(it, AstNode::Variable(name) if !self.lambdas.contains(name));
        let has_pattern = self.regex_weight != 0
            && !all
                .iter()
                .skip(1)
                .any(|it| matches!(it, AstNode::String(_)));
        match (name, index) {
            ("lookup", 0) => (Cost::Items, 1),
            ("distinct", _) => (Cost::Square, 1),
            ("string", 0) if 1 < all.len() => (Cost::Indented, 1),
            (names::JOIN | names::REPLACE | "join" | "replace", _) if !has_lambda(all) => {
                (Cost::Shallow, 1)
            }
            (name, 0) if MATCHING.contains(&name) && has_pattern => {
                (Cost::Matched, self.regex_weight)
            }
            ("split", 0) => (Cost::Shallow, 16),
            ("reduce", 0) if all.iter().skip(1).find(passes_on).is_some() => (Cost::Square, 1),
            (name, 0) if HIGHER.contains(&name) => {
                let is_passed_on = all.iter().skip(1).find(passes_on).is_some();
                if is_passed_on {
                    (Cost::Deep, 2)
                } else {
                    (Cost::Shallow, 2)
                }
            }
            (name, 1) if PICTURED.contains(&name) => (Cost::Picture, 32),
            (name, _) if DEEP.contains(&name) => (Cost::Deep, 2),
            (name, _) if is_known(name) => (Cost::Shallow, 2),
            _ => (Cost::Deep, 3 * self.regex_weight.max(1)),
        }
    }
}

fn has_lambda(all: &[&AstNode]) -> bool {
    all.iter().any(|it| matches!(it, AstNode::Lambda { .. }))
}

/// What is taken before a path, a sort or a grouping is evaluated.
fn before(node: &AstNode) -> Option<AstNode> {
    let mut factor = 2;
    let mut node = node;
    let mut steps = loop {
        match node {
            AstNode::Path { steps } => break steps,
            AstNode::Sort { input, .. } | AstNode::ObjectTransform { input, .. } => {
                factor = ORDERING_FACTOR;
                node = input;
            }
            _ => return None,
        }
    };
    let is_tuple = steps.iter().any(binds);
    let n_steps = u64::try_from(steps.len()).unwrap_or(u64::MAX);
    while let Some(AstNode::Sort { input, .. }) = steps.first().map(|it| &it.node) {
        let AstNode::Path { steps: inner } = &**input else {
            return None;
        };
        steps = inner;
        factor = ORDERING_FACTOR;
    }
    let (head, rest) = match steps.split_first() {
        Some((first, rest)) if matches!(first.node, AstNode::Variable(_) | AstNode::Parent(_)) => {
            (first.node.clone(), rest)
        }
        Some((first, _)) if matches!(first.node, AstNode::Name(_)) => (context(), steps.as_slice()),
        _ => return None,
    };
    let names: Vec<AstNode> = rest
        .iter()
        .map_while(|step| match &step.node {
            AstNode::Name(name) => Some(AstNode::String(name.clone())),
            _ => None,
        })
        .collect();
    if is_tuple {
        let touched = touch(&head, BINDING_FACTOR * n_steps, names);
        // What follows a focus is found anew for each of its items, and what is above an item leads
        // to all items again: both combine each with each.
        let focus = steps.iter().position(|it| it.focus.is_some());
        let n_after = match focus {
            Some(focus) => {
                let expands = |it: &&PathStep| !is_constructor(&it.node);
                steps[focus + 1..].iter().filter(expands).count()
            }
            None => steps
                .iter()
                .filter(|it| matches!(it.node, AstNode::Parent(_)))
                .count(),
        };
        if n_after == 0 {
            return Some(touched);
        }
        let power = 1 + u64::try_from(n_after).unwrap_or(u64::MAX);
        let head_binds = rest.len() < steps.len() && binds(&steps[0]);
        let start = plain_start(head, if head_binds { &[] } else { rest });
        return Some(pair(touched, charge(start, Cost::Joined, power)));
    }
    // `$states.input` is no more than two look-ups.
    let is_short = matches!(&head, AstNode::Variable(name) if name == "states");
    if names.is_empty() || (is_short && names.len() < 2) {
        return None;
    }
    Some(touch(&head, factor, names))
}

/// Whether a path carries bindings (`@`, `#`, `%`) from step to step.
fn binds(step: &PathStep) -> bool {
    step.is_tuple
        || step.inner_tuple
        || step.focus.is_some()
        || step.index_var.is_some()
        || step.ancestor_label.is_some()
        || step.stages.iter().any(|it| matches!(it, Stage::Index(_)))
}

/// What the inline function of `$replace` gives is limited: it is put in for every match.
fn limit_result(arg: &mut AstNode) {
    if let AstNode::Lambda { body, thunk, .. } = arg {
        let whole = std::mem::replace(&mut **body, AstNode::Null);
        **body = charge(whole, Cost::Replacement, 1);
        *thunk = false;
    }
}

/// Functions whose work grows with the items or the length of what they are given.
fn is_known(name: &str) -> bool {
    const KNOWN: &str = "abs append assert average base64decode base64encode boolean ceil contains count \
        decodeUrl decodeUrlComponent distinct encodeUrl encodeUrlComponent error floor \
        formatBase formatInteger formatNumber fromMillis hash length lowercase match max \
        millis min not now number parse parseInteger partition power random range reverse \
        round shuffle sift single split sqrt substring substringAfter substringBefore \
        toMillis trim type uppercase uuid map filter pad";
    KNOWN.split_ascii_whitespace().any(|it| it == name)
}
