//! What may follow one abstract state.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::errors::ErrorName;
use super::trail::Trail;
use super::walk::{Ending, Failing, Node, Onward, Standing};
use super::{Prover, TooLarge};
use crate::check::PathStep;
use crate::check::value::{Abstract, Scope, evaluate, is_sure, of_template};
use crate::definition::{
    Catcher, Condition, EvidenceRule, Kind, Next, Rule, StateDef, TaskDef, Template,
};
use crate::evidence::Evidence;
use crate::expression::equal;

pub(super) const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";
const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";

/// Retries of a state with branches that are counted one by one; with more, any number is tried.
const TRIES_MAX: u32 = 3;

/// Where an abstract state leads, and how.
pub(super) type Onwards = Vec<(Onward, Trail)>;

/// The state that is left, and how it was reached.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub level: usize,
    pub node: &'a Node,
    pub state: &'a StateDef,
    pub trail: Trail,
}

/// How a state is left.
pub(super) struct Leaving<'s> {
    pub assign: &'s [(String, Template)],
    pub output: Option<&'s Template>,
    /// The output where there is no template.
    pub default: &'s Abstract,
    pub next: &'s Next,
}

impl<'d> Prover<'d> {
    pub(super) fn steps(
        &mut self,
        level: usize,
        node: &Node,
        trail: Trail,
    ) -> Result<Onwards, TooLarge> {
        let state: &'d StateDef = &self.levels.all[level].machine.states[node.state];
        let here = Here {
            level,
            node,
            state,
            trail,
        };
        Ok(match &state.kind {
            Kind::Task(task) => self.task_steps(here, task),
            Kind::Choice(rules) => self.choice_steps(here, rules),
            Kind::Pass => {
                let trail = self.trails.step(trail, step(state, "passes", false));
                self.exit(
                    here,
                    &Abstract::Undefined,
                    &node.input,
                    here.standing(),
                    trail,
                )
            }
            Kind::Wait(_) => {
                let resting = (Onward::Resting(here.standing()), trail);
                let trail = self.trails.wait(trail, step(state, "passes", false), true);
                let mut onward = self.exit(
                    here,
                    &Abstract::Undefined,
                    &node.input,
                    here.standing(),
                    trail,
                );
                onward.push(resting);
                onward
            }
            Kind::Succeed { .. } => {
                let trail = self.trails.step(trail, step(state, "succeeds", false));
                self.exit(
                    here,
                    &Abstract::Undefined,
                    &node.input,
                    here.standing(),
                    trail,
                )
            }
            Kind::Fail { error, .. } => self.fail_steps(here, error.as_ref()),
            Kind::Parallel { .. } => self.parallel_steps(here)?,
        })
    }

    /// Leaves by the state's own `Next`.
    pub(super) fn exit(
        &mut self,
        here: Here<'_>,
        result: &Abstract,
        default: &Abstract,
        standing: Standing,
        trail: Trail,
    ) -> Onwards {
        let leaving = Leaving {
            assign: &here.state.assign,
            output: here.state.output.as_ref(),
            default,
            next: match here.state.kind {
                Kind::Succeed { .. } => &Next::End,
                _ => &here.state.next,
            },
        };
        let scope = Scope::of(here.node, result, &Abstract::Undefined);
        let (onward, is_sure) = self.leave(here, &scope, &leaving, standing.clone());
        let mut onwards: Onwards = onward.map(|it| (it, trail)).into_iter().collect();
        // A task can fail with any error in any case.
        if !is_sure && !matches!(here.state.kind, Kind::Task(_)) {
            let assumed = !onwards.is_empty();
            onwards.extend(self.fail_to_evaluate(here, standing, trail, assumed));
        }
        onwards
    }

    /// An expression of a state gives nothing, or an error.
    pub(super) fn fail_to_evaluate(
        &mut self,
        here: Here<'_>,
        standing: Standing,
        trail: Trail,
        assumed: bool,
    ) -> Onwards {
        if here.level == 0 && here.state.handlers().is_none() {
            return Vec::new();
        }
        let Some(error) = self.errors.find(QUERY_EVALUATION_ERROR) else {
            return Vec::new();
        };
        let trail = self
            .trails
            .step(trail, step(here.state, "cannot be evaluated", assumed));
        self.fail(here, &error, standing, trail)
    }

    /// Where a state that is left leads, if it can be left, and whether it surely can.
    fn leave(
        &self,
        here: Here<'_>,
        scope: &Scope<'_>,
        leaving: &Leaving<'_>,
        mut standing: Standing,
    ) -> (Option<Onward>, bool) {
        let level = &self.levels.all[here.level];
        let templates = leaving.assign.iter().map(|(_, it)| it);
        let mut all_templates = templates.clone().chain(leaving.output);
        let is_sure = all_templates.all(|it| is_sure(it, scope));
        let mut assigned = Vec::with_capacity(leaving.assign.len());
        for (name, template) in leaving.assign {
            match of_template(template, scope) {
                Some(value) => assigned.push((name.clone(), value)),
                None => return (None, false),
            }
        }
        let output = match leaving.output {
            None => leaving.default.clone(),
            Some(template) => match of_template(template, scope) {
                Some(value) => value,
                None => return (None, false),
            },
        };
        let to = match leaving.next {
            Next::State(next) => level.machine.by_name.get(next).copied(),
            Next::End => None,
            Next::None => return (None, true),
        };
        let Some(to) = to else {
            let output = if level.needs_output {
                output
            } else {
                Abstract::Unknown
            };
            return (Some(Onward::Ended(Ending { output, standing })), is_sure);
        };
        let mut variables = here.node.variables.clone();
        variables.extend(assigned);
        variables.retain(|name, _| level.live[to].contains(name.as_str()));
        let input = if level.reads_input[to] {
            output
        } else {
            Abstract::Unknown
        };
        let can_run = &level.can_run[to];
        standing.evidence.settle(|it| can_run[usize::from(*it)]);
        let node = Node {
            state: to,
            input,
            variables,
            evidence: standing.evidence,
            undoable: standing.undoable,
            tries: Vec::new(),
        };
        (Some(Onward::To(Box::new(node))), is_sure)
    }

    /// A state has failed: its `Retry` and `Catch` decide, or its level fails.
    pub(super) fn fail(
        &mut self,
        here: Here<'_>,
        error: &ErrorName,
        standing: Standing,
        trail: Trail,
    ) -> Onwards {
        let mut onwards = Vec::new();
        let mut catch: &[Catcher] = &[];
        if let Some(handlers) = here.state.handlers() {
            let mut retriers = handlers.retry.iter().enumerate();
            let retrier = retriers.find(|(_, it)| error.is_among(&it.errors));
            // A retried task has the evidence that it would have without its retries.
            if let Some((index, retrier)) = retrier
                && !matches!(here.state.kind, Kind::Task(_))
            {
                let n_used = here.node.tries.get(index).copied().unwrap_or(0);
                if n_used < retrier.attempts_max {
                    onwards.extend(self.retry(here, index, standing.clone(), trail));
                    if retrier.attempts_max <= TRIES_MAX {
                        return onwards;
                    }
                }
            }
            catch = &handlers.catch;
        }
        match catch.iter().find(|it| error.is_among(&it.errors)) {
            Some(catcher) => onwards.extend(self.catch(here, catcher, error, standing, trail)),
            None => onwards.extend(self.fail_level(here, error, standing, trail)),
        }
        onwards
    }

    /// The state runs again, from its own input.
    fn retry(
        &mut self,
        here: Here<'_>,
        index: usize,
        mut standing: Standing,
        trail: Trail,
    ) -> Onwards {
        let can_run = &self.levels.all[here.level].can_run[here.node.state];
        standing.evidence.settle(|it| can_run[usize::from(*it)]);
        let mut tries = here.node.tries.clone();
        tries.resize(tries.len().max(index + 1), 0);
        tries[index] = (tries[index] + 1).min(TRIES_MAX);
        let again = Node {
            evidence: standing.evidence.clone(),
            undoable: standing.undoable.clone(),
            tries,
            ..here.node.clone()
        };
        let trail = self
            .trails
            .wait(trail, step(here.state, "is tried again", false), true);
        vec![
            (Onward::Resting(standing), trail),
            (Onward::To(Box::new(again)), trail),
        ]
    }

    fn catch(
        &mut self,
        here: Here<'_>,
        catcher: &Catcher,
        error: &ErrorName,
        standing: Standing,
        trail: Trail,
    ) -> Onwards {
        let name = if error.is_exact {
            Abstract::text(&error.name)
        } else {
            Abstract::Unknown
        };
        let error_output = Abstract::closed([("Error", name), ("Cause", Abstract::Unknown)]);
        let next = Next::State(catcher.next.clone());
        let leaving = Leaving {
            assign: &catcher.assign,
            output: catcher.output.as_ref(),
            default: &error_output,
            next: &next,
        };
        let scope = Scope::of(here.node, &Abstract::Undefined, &error_output);
        let (onward, is_sure) = self.leave(here, &scope, &leaving, standing.clone());
        let mut onwards: Onwards = onward.map(|it| (it, trail)).into_iter().collect();
        // What a catcher itself gets wrong is not caught.
        if !is_sure && let Some(error) = self.errors.find(QUERY_EVALUATION_ERROR) {
            let event = step(
                here.state,
                "cannot evaluate its catcher",
                !onwards.is_empty(),
            );
            let trail = self.trails.step(trail, event);
            onwards.extend(self.fail_level(here, &error, standing, trail));
        }
        onwards
    }

    fn fail_level(
        &mut self,
        here: Here<'_>,
        error: &ErrorName,
        standing: Standing,
        trail: Trail,
    ) -> Onwards {
        if here.level == 0 {
            return Vec::new();
        }
        let error = error.clone();
        vec![(Onward::Failed(Failing { error, standing }), trail)]
    }

    fn fail_steps(&mut self, here: Here<'_>, error: Option<&Template>) -> Onwards {
        let scope = Scope::of(here.node, &Abstract::Undefined, &Abstract::Undefined);
        let value = match error {
            None => Some(Abstract::text("")),
            Some(template) => of_template(template, &scope),
        };
        let errors = match &value {
            Some(Abstract::Known(Value::String(name))) => vec![ErrorName::exactly(name)],
            _ => self.errors.all.clone(),
        };
        let assumed = 1 < errors.len();
        let mut onwards = Vec::new();
        for error in errors {
            let event = step(here.state, &format!("fails with {}", error.name), assumed);
            let trail = self.trails.step(here.trail, event);
            onwards.extend(self.fail_level(here, &error, here.standing(), trail));
        }
        onwards
    }

    fn task_steps(&mut self, here: Here<'_>, task: &TaskDef) -> Onwards {
        let Here { state, trail, .. } = here;
        let rules: Vec<(u16, &EvidenceRule)> = (0_u16..)
            .zip(&self.definition.evidence)
            .filter(|(_, rule)| rule.state == state.name)
            .collect();
        let mut begun = here.standing();
        if let Some(carrier) = self.levels.carrier(state) {
            begun.evidence.begin(&carrier);
        }
        let begins = self.trails.step(trail, step(state, "begins", false));
        let mut onwards = vec![(Onward::Resting(begun.clone()), begins)];
        for outcome in task.outcomes.iter().flatten() {
            let gained: Vec<(u16, &EvidenceRule)> = rules
                .iter()
                .copied()
                .filter(|(_, rule)| rule.outcome == *outcome)
                .collect();
            for (evidence, output, note) in self.runs(task, &begun.evidence, &gained) {
                let result =
                    Abstract::closed([("outcome", Abstract::text(outcome)), ("output", output)]);
                let event = step(state, &format!("ends with {outcome}{note}"), false);
                let trail = self.trails.wait(trail, event, false);
                let standing = Standing {
                    evidence,
                    undoable: begun.undoable.clone(),
                };
                onwards.extend(self.exit(here, &result, &result, standing, trail));
            }
        }
        for error in self.errors.all.clone() {
            let event = step(state, &format!("fails with {}", error.name), false);
            let trail = self.trails.wait(trail, event, false);
            onwards.extend(self.fail(here, &error, begun.clone(), trail));
        }
        onwards
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

    fn choice_steps(&mut self, here: Here<'_>, rules: &[Rule]) -> Onwards {
        let Here { node, state, .. } = here;
        let scope = Scope::of(node, &Abstract::Undefined, &Abstract::Undefined);
        let mut onwards = Vec::new();
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
            };
            let is_decided = match holds {
                Abstract::Known(Value::Bool(false)) => continue,
                Abstract::Known(Value::Bool(true)) => true,
                // The state fails: a condition is a Boolean.
                Abstract::Known(_)
                | Abstract::Undefined
                | Abstract::Object { .. }
                | Abstract::Array(_) => {
                    onwards.extend(self.fail_to_evaluate(
                        here,
                        here.standing(),
                        here.trail,
                        assumed,
                    ));
                    return onwards;
                }
                Abstract::Unknown | Abstract::Not(_) => false,
            };
            if !is_decided {
                onwards.extend(self.fail_to_evaluate(here, here.standing(), here.trail, true));
            }
            let next = Next::State(rule.next.clone());
            let leaving = Leaving {
                assign: &rule.assign,
                output: rule.output.as_ref(),
                default: &node.input,
                next: &next,
            };
            let event = step(state, &format!("finds {source}"), assumed || !is_decided);
            let trail = self.trails.step(here.trail, event);
            let (onward, is_sure) = self.leave(here, &scope, &leaving, here.standing());
            if !is_sure {
                let assumed = onward.is_some();
                onwards.extend(self.fail_to_evaluate(here, here.standing(), trail, assumed));
            }
            onwards.extend(onward.map(|it| (it, trail)));
            if is_decided {
                return onwards;
            }
            assumed = true;
        }
        if state.next != Next::None {
            let event = step(state, "finds nothing else", assumed);
            let trail = self.trails.step(here.trail, event);
            onwards.extend(self.exit(
                here,
                &Abstract::Undefined,
                &node.input,
                here.standing(),
                trail,
            ));
            return onwards;
        }
        if !assumed {
            let reason = "has no rule that matches, and no `Default`".to_owned();
            onwards.push((Onward::Stuck(reason), here.trail));
        }
        if let Some(error) = self.errors.find(NO_CHOICE_MATCHED) {
            let event = step(state, "finds no rule", assumed);
            let trail = self.trails.step(here.trail, event);
            onwards.extend(self.fail_level(here, &error, here.standing(), trail));
        }
        onwards
    }
}

impl Here<'_> {
    /// What is held when the state is entered.
    pub fn standing(&self) -> Standing {
        Standing {
            evidence: self.node.evidence.clone(),
            undoable: self.node.undoable.clone(),
        }
    }
}

impl<'a> Scope<'a> {
    pub(super) fn of(node: &'a Node, result: &'a Abstract, error_output: &'a Abstract) -> Self {
        Self {
            input: &node.input,
            result,
            error_output,
            variables: &node.variables,
        }
    }
}

pub(super) fn step(state: &StateDef, event: &str, assumed: bool) -> PathStep {
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
