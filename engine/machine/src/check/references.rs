//! Typed references: a field that is read must exist in the schema it comes from.
//!
//! Types are followed through variables, literals, inputs that are passed from state to state, and
//! what branches end with. What may come from several places has one of several types, and a
//! field is wrong only if none of them has it. What is not followed may be anything.

use std::collections::BTreeMap;
use std::rc::Rc;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage};
use serde_json::Value;

use super::arguments::dereference;
use crate::catalogue::{Catalogue, Contract};
use crate::definition::{Definition, Kind, Language, Machine, Next, StateDef, Template};
use crate::expression::walk;
use crate::finding::{Finding, Gate};

/// What is known about a value.
#[derive(Clone, PartialEq)]
enum Type<'c> {
    Anything,
    /// `{outcome, output}` of a step.
    Result(&'c Contract),
    Outcome(&'c Contract),
    /// A value of this schema; the second is the document that `$ref` points into.
    Schema(&'c Value, &'c Value),
    Object(Rc<BTreeMap<String, Type<'c>>>),
    Items(Rc<Vec<Type<'c>>>),
    OneOf(Rc<Vec<Type<'c>>>),
}

/// Types that one value may have at most; with more of them it may be anything.
const ALTERNATIVES_MAX: usize = 16;

/// Parts that a type may have; a larger one may be anything.
const PARTS_MAX: usize = 256;

/// Rounds after which types that still change are given up.
const ROUNDS_MAX: usize = 12;

#[derive(Clone, Default, PartialEq)]
struct Types<'c> {
    variables: BTreeMap<&'c str, Type<'c>>,
    /// By the name of the state, which is unique.
    inputs: BTreeMap<&'c str, Type<'c>>,
    /// What each level ends with, by the place of its definition.
    ends: BTreeMap<*const Machine, Type<'c>>,
}

struct Typing<'c> {
    catalogue: &'c Catalogue,
    input_schema: Option<&'c Value>,
    /// As the round before has left them.
    known: Types<'c>,
    next: Types<'c>,
}

pub(super) fn check<'c>(
    definition: &'c Definition,
    catalogue: &'c Catalogue,
    findings: &mut Vec<Finding>,
) {
    let mut typing = Typing {
        catalogue,
        input_schema: definition.input_schema.as_ref(),
        known: Types::default(),
        next: Types::default(),
    };
    if !typing.settle(&definition.machine) {
        typing.known = Types::default();
    }
    for state in definition.machine.all() {
        let look = typing.look(state);
        state.expressions(&mut |pointer, expression| {
            walk(expression.ast(), &mut |node| {
                look.check_node(node, pointer, findings);
            });
        });
    }
}

impl<'c> Type<'c> {
    /// What has one of two types.
    fn or(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        let mut all: Vec<Self> = Vec::new();
        for it in [self, other] {
            let alternatives = match it {
                Self::Anything => return Self::Anything,
                Self::OneOf(types) => types.to_vec(),
                it => vec![it],
            };
            for it in alternatives {
                if !all.contains(&it) {
                    all.push(it);
                }
            }
        }
        if ALTERNATIVES_MAX < all.len() {
            return Self::Anything;
        }
        Self::OneOf(Rc::new(all)).bounded()
    }

    /// The type itself, unless it is too large to be followed.
    fn bounded(self) -> Self {
        let mut left = PARTS_MAX;
        if self.fits(&mut left) {
            self
        } else {
            Self::Anything
        }
    }

    fn fits(&self, left: &mut usize) -> bool {
        let Some(fewer) = left.checked_sub(1) else {
            return false;
        };
        *left = fewer;
        match self {
            Self::Object(fields) => fields.values().all(|it| it.fits(left)),
            Self::Items(types) | Self::OneOf(types) => types.iter().all(|it| it.fits(left)),
            Self::Anything | Self::Result(_) | Self::Outcome(_) | Self::Schema(..) => true,
        }
    }

    fn of_schema(schema: Option<&'c Value>) -> Self {
        schema.map_or(Self::Anything, |it| Self::Schema(it, it))
    }

    fn item(&self, index: usize) -> Self {
        match self {
            Self::Items(items) => items.get(index).cloned().unwrap_or(Self::Anything),
            // What is no array is its own first item.
            Self::Object(_) | Self::Result(_) if index == 0 => self.clone(),
            _ => Self::Anything,
        }
    }
}

fn add<'c, K: Ord>(types: &mut BTreeMap<K, Type<'c>>, key: K, of: Type<'c>) {
    match types.remove(&key) {
        Some(known) => types.insert(key, known.or(of)),
        None => types.insert(key, of),
    };
}

impl<'c> Typing<'c> {
    /// Finds the types of variables and inputs; whether they have come to rest.
    fn settle(&mut self, machine: &'c Machine) -> bool {
        for _ in 0..ROUNDS_MAX {
            self.next = Types::default();
            let start = machine.start_at.as_str();
            let input = Type::of_schema(self.input_schema);
            add(&mut self.next.inputs, start, input);
            self.type_level(machine);
            let next = std::mem::take(&mut self.next);
            if next == self.known {
                return true;
            }
            self.known = next;
        }
        false
    }

    fn look(&self, state: &'c StateDef) -> Look<'_, 'c> {
        // Nothing is read by expressions here.
        let input = match state.language {
            Language::Jsonata => self.known.inputs.get(state.name.as_str()).cloned(),
            Language::JsonPath => None,
        };
        let result = match &state.kind {
            Kind::Task(task) if !task.waits_for_token => {
                let contract = self.catalogue.resolve(&task.resource);
                contract.map_or(Type::Anything, Type::Result)
            }
            Kind::Parallel { branches, race, .. } => {
                let mut ends = branches.iter().map(|it| {
                    let end = self.known.ends.get(&std::ptr::from_ref(it));
                    end.cloned().unwrap_or(Type::Anything)
                });
                if *race {
                    let first = ends.next().unwrap_or(Type::Anything);
                    ends.fold(first, Type::or)
                } else {
                    Type::Items(Rc::new(ends.collect())).bounded()
                }
            }
            _ => Type::Anything,
        };
        Look {
            types: &self.known,
            result,
            input: input.unwrap_or(Type::Anything),
            workflow_input: self.input_schema,
        }
    }

    fn type_level(&mut self, machine: &'c Machine) {
        for state in &machine.states {
            let look = self.look(state);
            let input = look.input.clone();
            let passes = match &state.kind {
                Kind::Task(_) | Kind::Parallel { .. } | Kind::Map(_) => look.result.clone(),
                _ => input.clone(),
            };
            let of = |template: Option<&'c Template>, default: &Type<'c>| match template {
                _ if state.language == Language::JsonPath => Type::Anything,
                None => default.clone(),
                Some(template) => look.of_template(template),
            };
            let mut leads: Vec<(Option<&'c str>, Type<'c>)> = Vec::new();
            let output = of(state.output.as_ref(), &passes);
            match &state.next {
                Next::State(next) => leads.push((Some(next.as_str()), output)),
                Next::End => leads.push((None, output)),
                Next::None if matches!(state.kind, Kind::Succeed { .. }) => {
                    leads.push((None, output));
                }
                Next::None => {}
            }
            if let Kind::Choice(rules) = &state.kind {
                for rule in rules {
                    leads.push((Some(rule.next.as_str()), of(rule.output.as_ref(), &input)));
                }
            }
            for catcher in state.handlers().into_iter().flat_map(|it| &it.catch) {
                let output = of(catcher.output.as_ref(), &Type::Anything);
                leads.push((Some(catcher.next.as_str()), output));
            }
            let mut given = Type::Anything;
            if let Kind::Parallel { arguments, .. } = &state.kind {
                given = of(arguments.as_ref(), &input);
            }
            let assigned: Vec<(&'c str, Type<'c>)> = all_assigned(state)
                .filter(|(_, template)| !is_null(template))
                .map(|(name, template)| (name, of(Some(template), &Type::Anything)))
                .collect();
            for (name, of) in assigned {
                add(&mut self.next.variables, name, of);
            }
            for (next, of) in leads {
                match next {
                    Some(next) => add(&mut self.next.inputs, next, of),
                    None => add(&mut self.next.ends, std::ptr::from_ref(machine), of),
                }
            }
            for inner in state.levels() {
                add(
                    &mut self.next.inputs,
                    inner.start_at.as_str(),
                    given.clone(),
                );
                self.type_level(inner);
            }
        }
    }
}

/// Everything that a state may assign.
fn all_assigned(state: &StateDef) -> impl Iterator<Item = (&str, &Template)> {
    let rules = match &state.kind {
        Kind::Choice(rules) => rules.as_slice(),
        _ => &[],
    };
    let catchers = state.handlers().into_iter().flat_map(|it| &it.catch);
    let by_rules = rules.iter().flat_map(|it| &it.assign);
    let by_catchers = catchers.flat_map(|it| &it.assign);
    let all = state.assign.iter().chain(by_rules).chain(by_catchers);
    all.map(|(name, template)| (name.as_str(), template))
}

/// A variable that is reset: it has no field, but will have those of what it is given next.
fn is_null(template: &Template) -> bool {
    matches!(template, Template::Literal(it) if it.is_null())
}

/// What the expressions of one state can see.
struct Look<'t, 'c> {
    types: &'t Types<'c>,
    result: Type<'c>,
    input: Type<'c>,
    workflow_input: Option<&'c Value>,
}

impl<'c> Look<'_, 'c> {
    fn of_template(&self, template: &Template) -> Type<'c> {
        match template {
            Template::Expression(expression) => self.type_of(expression.ast()),
            Template::Object(fields) => {
                let fields = fields.iter();
                let fields = fields.map(|(key, it)| (key.clone(), self.of_template(it)));
                Type::Object(Rc::new(fields.collect())).bounded()
            }
            Template::Array(items) => {
                let items = items.iter().map(|it| self.of_template(it));
                Type::Items(Rc::new(items.collect())).bounded()
            }
            Template::Literal(_) | Template::Path(_) => Type::Anything,
        }
    }

    fn type_of(&self, node: &AstNode) -> Type<'c> {
        match node {
            AstNode::Path { steps } => self.follow(steps).unwrap_or(Type::Anything),
            AstNode::Variable(name) => self.variable(name),
            AstNode::Object(pairs) => {
                let mut fields = BTreeMap::new();
                for (key, value) in pairs {
                    let AstNode::String(key) = key else {
                        return Type::Anything;
                    };
                    fields.insert(key.clone(), self.type_of(value));
                }
                Type::Object(Rc::new(fields)).bounded()
            }
            AstNode::Conditional {
                then_branch,
                else_branch: Some(else_branch),
                ..
            } => self.type_of(then_branch).or(self.type_of(else_branch)),
            AstNode::Block(items) => match items.as_slice() {
                [single] => self.type_of(single),
                _ => Type::Anything,
            },
            _ => Type::Anything,
        }
    }

    fn variable(&self, name: &str) -> Type<'c> {
        let found = self.types.variables.get(name);
        found.cloned().unwrap_or(Type::Anything)
    }

    /// The type at the end of a path; the error is the field that does not exist, and where.
    fn follow(&self, steps: &[PathStep]) -> Result<Type<'c>, (String, Vec<String>)> {
        let Some(AstNode::Variable(variable)) = steps.first().map(|it| &it.node) else {
            return Ok(Type::Anything);
        };
        let names: Option<Vec<&str>> = steps.iter().skip(1).map(name_of).collect();
        let Some(names) = names else {
            return Ok(Type::Anything);
        };
        let (mut current, n_used) = match (variable.as_str(), names.as_slice()) {
            ("states", ["result", ..]) => (self.result.clone(), 1),
            ("states", ["input", ..]) => (self.input.clone(), 1),
            ("states", ["context", "Execution", "Input", ..]) => {
                (Type::of_schema(self.workflow_input), 3)
            }
            ("states", _) => return Ok(Type::Anything),
            (name, _) => (self.variable(name), 0),
        };
        for (index, step) in steps.iter().enumerate().skip(n_used) {
            if n_used < index {
                current = field(&current, names[index - 1])?;
            }
            for stage in &step.stages {
                current = match stage {
                    Stage::Filter(filter) => match index_of(filter) {
                        Some(index) => current.item(index),
                        None => Type::Anything,
                    },
                    _ => Type::Anything,
                };
            }
        }
        Ok(current)
    }

    fn check_node(&self, node: &AstNode, pointer: &str, findings: &mut Vec<Finding>) {
        match node {
            AstNode::Path { steps } => {
                if let Err((name, known)) = self.follow(steps) {
                    findings.push(Finding::error(
                        Gate::Lint,
                        "field_unknown",
                        pointer,
                        format!("there is no field `{name}` here"),
                        format!("the fields are {}", known.join(", ")),
                    ));
                }
            }
            AstNode::Binary {
                op: BinaryOp::Equal | BinaryOp::NotEqual,
                lhs,
                rhs,
            } => {
                self.check_words(lhs, std::slice::from_ref(&**rhs), pointer, findings);
                self.check_words(rhs, std::slice::from_ref(&**lhs), pointer, findings);
            }
            AstNode::Binary {
                op: BinaryOp::In,
                lhs,
                rhs,
            } => {
                if let AstNode::Array(items) = &**rhs {
                    self.check_words(lhs, items, pointer, findings);
                }
            }
            _ => {}
        }
    }

    /// An outcome is compared with words: each must be one that the step can end with.
    fn check_words(
        &self,
        compared: &AstNode,
        words: &[AstNode],
        pointer: &str,
        findings: &mut Vec<Finding>,
    ) {
        let Type::Outcome(contract) = self.type_of(compared) else {
            return;
        };
        for word in words {
            let AstNode::String(word) = word else {
                continue;
            };
            if !contract.outcomes.contains(word) {
                findings.push(Finding::error(
                    Gate::Lint,
                    "outcome_unknown",
                    pointer,
                    format!("`{}` never ends with `{word}`", contract.resource()),
                    format!("its outcomes are {}", contract.outcomes.join(", ")),
                ));
            }
        }
    }
}

/// The field that a step of a path reads, if it reads just a field, or items of it.
fn name_of(step: &PathStep) -> Option<&str> {
    match &step.node {
        AstNode::Name(name) if step.focus.is_none() && step.index_var.is_none() => Some(name),
        _ => None,
    }
}

/// A literal index.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is a small whole number"
)]
fn index_of(node: &AstNode) -> Option<usize> {
    match node {
        AstNode::Number(it) if 0.0 <= *it && *it < 1e6 && it.fract() == 0.0 => Some(*it as usize),
        _ => None,
    }
}

fn field<'c>(of: &Type<'c>, name: &str) -> Result<Type<'c>, (String, Vec<String>)> {
    match of {
        Type::Anything | Type::Items(_) => Ok(Type::Anything),
        Type::Object(fields) => match fields.get(name) {
            Some(found) => Ok(found.clone()),
            None => Err((name.to_owned(), fields.keys().cloned().collect())),
        },
        Type::OneOf(types) => {
            let found: Vec<_> = types.iter().map(|it| field(it, name)).collect();
            let mut known = Vec::new();
            let mut all: Option<Type<'c>> = None;
            for it in found {
                match it {
                    Ok(it) => all = Some(all.map_or(it.clone(), |all| all.or(it))),
                    Err((_, fields)) => known.extend(fields),
                }
            }
            all.ok_or_else(|| (name.to_owned(), known))
        }
        Type::Result(contract) => match name {
            "outcome" => Ok(Type::Outcome(contract)),
            "output" => Ok(Type::of_schema(Some(&contract.output_schema))),
            _ => Err((
                name.to_owned(),
                vec!["outcome".to_owned(), "output".to_owned()],
            )),
        },
        Type::Outcome(_) => Err((
            name.to_owned(),
            vec!["none: an outcome is a text".to_owned()],
        )),
        Type::Schema(schema, root) => field_of_schema(schema, root, name),
    }
}

fn field_of_schema<'c>(
    schema: &'c Value,
    root: &'c Value,
    name: &str,
) -> Result<Type<'c>, (String, Vec<String>)> {
    let schema = dereference(schema, root);
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(Type::Anything);
    };
    if let Some(found) = properties.get(name) {
        return Ok(Type::Schema(found, root));
    }
    let is_open = schema
        .get("additionalProperties")
        .is_some_and(|it| *it != Value::Bool(false))
        || ["patternProperties", "anyOf", "oneOf", "allOf", "if"]
            .iter()
            .any(|it| schema.get(*it).is_some());
    if is_open {
        Ok(Type::Anything)
    } else {
        Err((name.to_owned(), properties.keys().cloned().collect()))
    }
}
