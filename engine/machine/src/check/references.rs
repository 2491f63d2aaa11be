//! Typed references: a field that is read must exist in the schema it comes from.

use std::collections::BTreeMap;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep};
use serde_json::Value;

use super::arguments::dereference;
use crate::catalogue::{Catalogue, Contract};
use crate::definition::{Definition, Kind, StateDef, Template};
use crate::expression::walk;
use crate::finding::{Finding, Gate};

/// What is known about a value.
#[derive(Clone, Copy, PartialEq)]
enum Type<'c> {
    Anything,
    /// `{outcome, output}` of a step.
    Result(&'c Contract),
    Outcome(&'c Contract),
    /// A value of this schema; the second is the document that `$ref` points into.
    Schema(&'c Value, &'c Value),
}

struct Types<'c> {
    variables: BTreeMap<&'c str, Type<'c>>,
    input: Option<&'c Value>,
}

pub(super) fn check(definition: &Definition, catalogue: &Catalogue, findings: &mut Vec<Finding>) {
    let states = definition.machine.all();
    let mut types = Types {
        variables: BTreeMap::new(),
        input: definition.input_schema.as_ref(),
    };
    // A variable may take its type from another one; two rounds settle what definitions do.
    for _ in 0..2 {
        types.variables = variables(&states, catalogue, &types);
    }
    // Only the first state surely gets the workflow's input, and only if nothing leads back to it.
    let start = definition.machine.start_at.as_str();
    let is_led_to = definition
        .machine
        .states
        .iter()
        .any(|it| it.successors().contains(&start));
    for state in states {
        let result = result_type(state, catalogue);
        state.expressions(&mut |pointer, expression| {
            let input = if state.name == start && !is_led_to {
                types.input
            } else {
                None
            };
            let look = Look {
                types: &types,
                result,
                input,
            };
            walk(expression.ast(), &mut |node| {
                look.check_node(node, pointer, findings);
            });
        });
    }
}

fn result_type<'c>(state: &StateDef, catalogue: &'c Catalogue) -> Type<'c> {
    match &state.kind {
        Kind::Task(task) => catalogue
            .resolve(&task.resource)
            .map_or(Type::Anything, Type::Result),
        _ => Type::Anything,
    }
}

/// The type of every variable; one that is assigned values of different types can be anything.
fn variables<'c>(
    states: &[&'c StateDef],
    catalogue: &'c Catalogue,
    known: &Types<'c>,
) -> BTreeMap<&'c str, Type<'c>> {
    let mut found: BTreeMap<&str, Type<'_>> = BTreeMap::new();
    let mut note = |name: &'c str, of: Type<'c>| {
        found
            .entry(name)
            .and_modify(|it| {
                if *it != of {
                    *it = Type::Anything;
                }
            })
            .or_insert(of);
    };
    for state in states {
        let look = Look {
            types: known,
            result: result_type(state, catalogue),
            input: None,
        };
        for (name, template) in &state.assign {
            let of = match template {
                Template::Expression(expression) => look.type_of(expression.ast()),
                _ => Type::Anything,
            };
            note(name, of);
        }
        let own: Vec<&str> = state.assign.iter().map(|(name, _)| name.as_str()).collect();
        for name in state.assigned().into_iter().skip(own.len()) {
            note(name, Type::Anything);
        }
    }
    found
}

/// What one expression can see.
struct Look<'t, 'c> {
    types: &'t Types<'c>,
    result: Type<'c>,
    input: Option<&'c Value>,
}

impl<'c> Look<'_, 'c> {
    fn type_of(&self, node: &AstNode) -> Type<'c> {
        match node {
            AstNode::Path { steps } => self.follow(steps).unwrap_or(Type::Anything),
            AstNode::Variable(name) => self
                .types
                .variables
                .get(name.as_str())
                .copied()
                .unwrap_or(Type::Anything),
            _ => Type::Anything,
        }
    }

    /// The type at the end of a path; the error is the field that does not exist, and where.
    fn follow(&self, steps: &[PathStep]) -> Result<Type<'c>, (String, Vec<String>)> {
        let names: Option<Vec<&str>> = steps.iter().skip(1).map(name_of).collect();
        let (Some(AstNode::Variable(variable)), Some(names)) =
            (steps.first().map(|it| &it.node), names)
        else {
            return Ok(Type::Anything);
        };
        let (mut current, rest) = match (variable.as_str(), names.as_slice()) {
            ("states", ["result", rest @ ..]) => (self.result, rest),
            ("states", ["input", rest @ ..]) => (Self::schema(self.input), rest),
            ("states", ["context", "Execution", "Input", rest @ ..]) => {
                (Self::schema(self.types.input), rest)
            }
            ("states", _) => return Ok(Type::Anything),
            (_, rest) => (
                self.types
                    .variables
                    .get(variable.as_str())
                    .copied()
                    .unwrap_or(Type::Anything),
                rest,
            ),
        };
        for name in rest {
            current = field(current, name)?;
        }
        Ok(current)
    }

    fn schema(schema: Option<&'c Value>) -> Type<'c> {
        schema.map_or(Type::Anything, |it| Type::Schema(it, it))
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

/// The field that a step of a path reads, if it reads just a field.
fn name_of(step: &PathStep) -> Option<&str> {
    match &step.node {
        AstNode::Name(name)
            if step.stages.is_empty() && step.focus.is_none() && step.index_var.is_none() =>
        {
            Some(name)
        }
        _ => None,
    }
}

fn field<'c>(of: Type<'c>, name: &str) -> Result<Type<'c>, (String, Vec<String>)> {
    match of {
        Type::Anything => Ok(Type::Anything),
        Type::Result(contract) => match name {
            "outcome" => Ok(Type::Outcome(contract)),
            "output" => Ok(Type::Schema(
                &contract.output_schema,
                &contract.output_schema,
            )),
            _ => Err((
                name.to_owned(),
                vec!["outcome".to_owned(), "output".to_owned()],
            )),
        },
        Type::Outcome(_) => Err((
            name.to_owned(),
            vec!["none: an outcome is a text".to_owned()],
        )),
        Type::Schema(schema, root) => {
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
    }
}
