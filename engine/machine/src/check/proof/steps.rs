//! What may follow one abstract state.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::PathStep;
use super::super::value::{Abstract, Scope, evaluate, of_template};
use super::{Explorer, Node, Onward};
use crate::definition::{Condition, EvidenceRule, Kind, Next, Rule, StateDef, TaskDef, Template};
use crate::evidence::Evidence;
use crate::expression::equal;

/// How a state is left.
struct Leaving<'s> {
    assign: &'s [(String, Template)],
    output: Option<&'s Template>,
    /// The output where there is no template.
    default: &'s Abstract,
    next: &'s str,
}

impl Explorer<'_> {
    pub(super) fn steps(&self, node: &Node, state: &StateDef) -> Vec<Onward> {
        match &state.kind {
            Kind::Task(task) => self.task_steps(node, state, task),
            Kind::Choice(rules) => self.choice_steps(node, state, rules),
            Kind::Pass { .. } | Kind::Wait(_) => {
                let scope = Scope::of(node, &Abstract::Undefined, &Abstract::Undefined);
                self.exit(
                    node,
                    state,
                    &scope,
                    &node.input,
                    node.evidence.clone(),
                    step(state, "passes", false),
                )
            }
            Kind::Succeed { .. } | Kind::Fail { .. } | Kind::Parallel { .. } | Kind::Map(_) => {
                Vec::new()
            }
        }
    }

    /// Leaves by the state's own `Next`.
    fn exit(
        &self,
        node: &Node,
        state: &StateDef,
        scope: &Scope<'_>,
        default: &Abstract,
        evidence: Evidence<u16>,
        step: PathStep,
    ) -> Vec<Onward> {
        let Next::State(next) = &state.next else {
            return Vec::new();
        };
        let leaving = Leaving {
            assign: &state.assign,
            output: state.output.as_ref(),
            default,
            next,
        };
        self.leave(node, scope, &leaving, evidence, step)
            .into_iter()
            .collect()
    }

    fn leave(
        &self,
        node: &Node,
        scope: &Scope<'_>,
        leaving: &Leaving<'_>,
        evidence: Evidence<u16>,
        step: PathStep,
    ) -> Option<Onward> {
        let to = *self.definition.machine.by_name.get(leaving.next)?;
        let mut variables = node.variables.clone();
        for (name, template) in leaving.assign {
            variables.insert(name.clone(), of_template(template, scope)?);
        }
        variables.retain(|name, _| self.live[to].contains(name.as_str()));
        let output = match leaving.output {
            Some(template) => of_template(template, scope)?,
            None => leaving.default.clone(),
        };
        let input = if self.reads_input[to] {
            output
        } else {
            Abstract::Unknown
        };
        let node = Node {
            state: to,
            input,
            variables,
            evidence,
        };
        Some(Onward::To(Box::new(node), step))
    }

    fn task_steps(&self, node: &Node, state: &StateDef, task: &TaskDef) -> Vec<Onward> {
        let rules: Vec<(u16, &EvidenceRule)> = (0_u16..)
            .zip(&self.definition.evidence)
            .filter(|(_, rule)| rule.state == state.name)
            .collect();
        let mut begun = node.evidence.clone();
        if !rules.is_empty() {
            begun.begin(&u16::try_from(node.state).unwrap_or(u16::MAX));
        }
        let mut onward = Vec::new();
        for outcome in task.outcomes.iter().flatten() {
            let gained: Vec<(u16, &EvidenceRule)> = rules
                .iter()
                .copied()
                .filter(|(_, rule)| rule.outcome == *outcome)
                .collect();
            for (evidence, output, note) in self.runs(task, &begun, &gained) {
                let result =
                    Abstract::closed([("outcome", Abstract::text(outcome)), ("output", output)]);
                let scope = Scope::of(node, &result, &Abstract::Undefined);
                let step = step(state, &format!("ends with {outcome}{note}"), false);
                onward.extend(self.exit(node, state, &scope, &result, evidence, step));
            }
        }
        let error_output =
            Abstract::closed([("Error", Abstract::Unknown), ("Cause", Abstract::Unknown)]);
        for catcher in &task.handlers.catch {
            let scope = Scope::of(node, &Abstract::Undefined, &error_output);
            let leaving = Leaving {
                assign: &catcher.assign,
                output: catcher.output.as_ref(),
                default: &error_output,
                next: &catcher.next,
            };
            let step = step(
                state,
                &format!("fails with {}", catcher.errors.join(" or ")),
                false,
            );
            onward.extend(self.leave(node, &scope, &leaving, begun.clone(), step));
        }
        onward
    }

    /// The ways in which a run with one outcome can end: with and without the fields that evidence asks for.
    fn runs(
        &self,
        task: &TaskDef,
        begun: &Evidence<u16>,
        rules: &[(u16, &EvidenceRule)],
    ) -> Vec<(Evidence<u16>, Abstract, String)> {
        let mut runs = vec![(
            begun.clone(),
            BTreeMap::<String, Abstract>::new(),
            String::new(),
        )];
        for (index, rule) in rules {
            let mut next = Vec::new();
            for (evidence, fields, note) in runs {
                if let Some(fields) = agree(&fields, &rule.with) {
                    let mut evidence = evidence.clone();
                    evidence.gain(*index);
                    next.push((evidence, fields, note.clone()));
                }
                if let Some(fields) = self.disagree(task, &fields, &rule.with) {
                    let wanted = Value::Object(rule.with.clone());
                    next.push((evidence, fields, format!("{note} without {wanted}")));
                }
            }
            runs = next;
        }
        runs.into_iter()
            .map(|(evidence, fields, note)| {
                (evidence, Abstract::Object { fields, open: true }, note)
            })
            .collect()
    }

    /// What is known of an output that does not have these fields; `None` if it must have them.
    fn disagree(
        &self,
        task: &TaskDef,
        fields: &BTreeMap<String, Abstract>,
        with: &Map<String, Value>,
    ) -> Option<BTreeMap<String, Abstract>> {
        let has_all = with
            .iter()
            .all(|(name, value)| is_known(fields.get(name), value));
        if has_all {
            return None;
        }
        let mut fields = fields.clone();
        if with.len() == 1 {
            for (name, value) in with
                .iter()
                .filter(|(name, _)| !fields.contains_key(*name))
                .collect::<Vec<_>>()
            {
                let is_required = self.is_required_boolean(task, name);
                let other = match value {
                    Value::Bool(value) if is_required => Abstract::Known(Value::Bool(!value)),
                    value => Abstract::Not(value.clone()),
                };
                fields.insert(name.clone(), other);
            }
        }
        Some(fields)
    }

    fn is_required_boolean(&self, task: &TaskDef, name: &str) -> bool {
        let Some(contract) = self.catalogue.resolve(&task.resource) else {
            return false;
        };
        let schema = &contract.output_schema;
        let is_required = schema
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|it| it.iter().any(|it| it == name));
        let property = schema.get("properties").and_then(|it| it.get(name));
        is_required
            && property
                .and_then(|it| it.get("type"))
                .is_some_and(|it| it == "boolean")
    }

    fn choice_steps(&self, node: &Node, state: &StateDef, rules: &[Rule]) -> Vec<Onward> {
        let scope = Scope::of(node, &Abstract::Undefined, &Abstract::Undefined);
        let mut onward = Vec::new();
        let mut assumed = false;
        for rule in rules {
            let (holds, source) = match &rule.condition {
                Condition::Literal(holds) => {
                    (Abstract::Known(Value::Bool(*holds)), holds.to_string())
                }
                Condition::Computed(expression) => (
                    evaluate(expression.ast(), &scope, 0),
                    expression.source().to_owned(),
                ),
                Condition::Compared(_) => (Abstract::Unknown, "what the rule asks for".to_owned()),
            };
            let is_decided = match holds {
                Abstract::Known(Value::Bool(false)) => continue,
                Abstract::Known(Value::Bool(true)) => true,
                // The state fails: a condition is a Boolean.
                Abstract::Known(_) | Abstract::Undefined | Abstract::Object { .. } => {
                    return onward;
                }
                Abstract::Unknown | Abstract::Not(_) => false,
            };
            let leaving = Leaving {
                assign: &rule.assign,
                output: rule.output.as_ref(),
                default: &node.input,
                next: &rule.next,
            };
            let step = step(state, &format!("finds {source}"), assumed || !is_decided);
            onward.extend(self.leave(node, &scope, &leaving, node.evidence.clone(), step));
            if is_decided {
                return onward;
            }
            assumed = true;
        }
        if state.next != Next::None {
            let step = step(state, "finds nothing else", assumed);
            onward.extend(self.exit(
                node,
                state,
                &scope,
                &node.input,
                node.evidence.clone(),
                step,
            ));
        } else if !assumed {
            onward.push(Onward::Stuck(
                "has no rule that matches, and no `Default`".to_owned(),
            ));
        }
        onward
    }
}

impl<'a> Scope<'a> {
    fn of(node: &'a Node, result: &'a Abstract, error_output: &'a Abstract) -> Self {
        Self {
            input: &node.input,
            result,
            error_output,
            variables: &node.variables,
        }
    }
}

fn step(state: &StateDef, event: &str, assumed: bool) -> PathStep {
    PathStep {
        state: state.name.clone(),
        event: event.to_owned(),
        assumed,
    }
}

/// The known fields of an output that has `with` as well; `None` if it cannot.
fn agree(
    fields: &BTreeMap<String, Abstract>,
    with: &Map<String, Value>,
) -> Option<BTreeMap<String, Abstract>> {
    let mut fields = fields.clone();
    for (name, value) in with {
        match fields.get(name) {
            Some(Abstract::Known(known)) if !equal(known, value) => return None,
            Some(Abstract::Not(not)) if equal(not, value) => return None,
            _ => {
                fields.insert(name.clone(), Abstract::Known(value.clone()));
            }
        }
    }
    Some(fields)
}

fn is_known(field: Option<&Abstract>, value: &Value) -> bool {
    matches!(field, Some(Abstract::Known(known)) if equal(known, value))
}
