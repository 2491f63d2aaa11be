//! What may follow one abstract state.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::errors::ErrorName;
use super::outgoing::{Flow, Leaving, Left};
use super::trail::Trail;
use super::walk::{Failing, Node, Onward, Standing};
use super::{Prover, TooLarge};
use crate::check::PathStep;
use crate::check::paths::{Fails, Tested, of_rule, select};
use crate::check::value::{Abstract, Scope, is_sure, of_condition, of_template};
use crate::definition::{
    Catcher, Condition, EvidenceRule, Kind, Language, Next, Number, Rule, Seconds, Selection,
    StateDef, TaskDef, Template, Timestamp, Until,
};
use crate::error_name::RUNTIME;
use crate::evidence::Evidence;
use crate::expression::equal;

const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";
const HISTORY_LIMIT_EXCEEDED: &str = "BTrust.HistoryLimitExceeded";
const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";
/// What a `JSONPath` state may fail with, besides [`RUNTIME`].
const JSONPATH_ERRORS: [&str; 3] = [
    "States.IntrinsicFailure",
    "States.ParameterPathFailure",
    "States.ResultPathMatchFailure",
];

/// Data of a state has more bytes, levels or items than it may have.
const EXCEEDS_LIMITS: &str = "exceeds a limit of its data";

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
    /// The input as its work sees it.
    pub data: &'a Abstract,
    pub trail: Trail,
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
            data: &node.input,
            trail,
        };
        let data = select(&state.paths.input, &here.scope(&Abstract::Undefined));
        let mut onwards = self.fill_history(here);
        // A task may fail with any error, and has retracted more then.
        if !matches!(state.kind, Kind::Task(_) | Kind::Fail { .. }) {
            onwards.extend(self.exceed_limits(here, here.standing(), trail));
        }
        if computes_numbers(&state.kind) {
            onwards.extend(self.fail_to_evaluate(here, here.standing(), trail, true));
        }
        let is_selected = matches!(state.paths.input, Selection::Path(_));
        if is_selected && !matches!(data, Abstract::Known(_) | Abstract::Object { .. }) {
            let assumed = data != Abstract::Undefined;
            onwards.extend(self.fail_to_evaluate(here, here.standing(), trail, assumed));
            if !assumed {
                return Ok(onwards);
            }
        }
        let here = Here {
            data: &data,
            ..here
        };
        onwards.extend(match &state.kind {
            Kind::Task(task) => self.task_steps(here, task)?,
            Kind::Choice(rules) => self.choice_steps(here, rules),
            Kind::Pass { parameters, result } => {
                self.pass_steps(here, parameters.as_ref(), result.as_deref())
            }
            Kind::Wait(_) => {
                let resting = (Onward::Resting(here.standing()), trail);
                let trail = self.trails.wait(trail, step(state, "passes", false), true);
                let mut onwards = self.exit(
                    here,
                    &Abstract::Undefined,
                    here.data,
                    here.standing(),
                    trail,
                );
                onwards.push(resting);
                onwards
            }
            Kind::Succeed { .. } => {
                let trail = self.trails.step(trail, step(state, "succeeds", false));
                self.exit(
                    here,
                    &Abstract::Undefined,
                    here.data,
                    here.standing(),
                    trail,
                )
            }
            Kind::Fail { error, cause } => self.fail_steps(here, error.as_ref(), cause.as_ref()),
            Kind::Parallel { race, .. } => self.parallel_steps(here, *race)?,
            Kind::Map(map) => self.map_steps(here, map)?,
        });
        Ok(onwards)
    }

    /// A state is not even begun, because the history is nearly full.
    fn fill_history(&mut self, here: Here<'_>) -> Onwards {
        let may_be_caught = here.level != 0 || here.state.handlers().is_some();
        match self.errors.find(HISTORY_LIMIT_EXCEEDED) {
            // A task may fail with any error, and has retracted more then.
            Some(error) if may_be_caught && !matches!(here.state.kind, Kind::Task(_)) => {
                let event = step(here.state, "finds the history nearly full", true);
                let trail = self.trails.at_last(here.trail, event);
                self.fail(here, &error, here.standing(), trail)
            }
            _ => Vec::new(),
        }
    }

    /// What a state is given, assigns or passes on is larger than it may be.
    fn exceed_limits(&mut self, here: Here<'_>, standing: Standing, trail: Trail) -> Onwards {
        match self.errors.limit_exceeded() {
            Some(error) if here.level != 0 || here.state.handlers().is_some() => {
                let event = step(here.state, EXCEEDS_LIMITS, true);
                let trail = self.trails.at_last(trail, event);
                self.fail(here, &error, standing, trail)
            }
            _ => Vec::new(),
        }
    }

    fn pass_steps(
        &mut self,
        here: Here<'_>,
        parameters: Option<&Template>,
        result: Option<&Value>,
    ) -> Onwards {
        let mut onwards = Vec::new();
        let passed = match (result, parameters) {
            (Some(result), _) => Abstract::Known(result.clone()),
            (None, None) => here.data.clone(),
            (None, Some(template)) => {
                let scope = here.scope(&Abstract::Undefined);
                let passed = of_template(template, &scope);
                if !is_sure(template, &scope) {
                    let assumed = passed.is_some();
                    onwards.extend(self.fail_to_evaluate(
                        here,
                        here.standing(),
                        here.trail,
                        assumed,
                    ));
                }
                match passed {
                    Some(passed) => passed,
                    None => return onwards,
                }
            }
        };
        let trail = self
            .trails
            .step(here.trail, step(here.state, "passes", false));
        onwards.extend(self.exit(here, &Abstract::Undefined, &passed, here.standing(), trail));
        onwards
    }

    /// Leaves by the state's own `Next`; `seen` is `$states.result`, and `passed` what is passed on.
    pub(super) fn exit(
        &mut self,
        here: Here<'_>,
        seen: &Abstract,
        passed: &Abstract,
        standing: Standing,
        trail: Trail,
    ) -> Onwards {
        let leaving = Leaving {
            assign: &here.state.assign,
            output: here.state.output.as_ref(),
            flow: Flow::of(here.state),
            passed,
            next: match here.state.kind {
                Kind::Succeed { .. } => &Next::End,
                _ => &here.state.next,
            },
        };
        if here.state.rework {
            self.trails.note_rework(trail);
        }
        let scope = here.scope(seen);
        let Left { onward, is_sure } = self.leave(here, &scope, &leaving, standing.clone());
        // Where any other state is entered it holds the same as where it is left.
        let exceeds = match here.state.kind {
            Kind::Parallel { .. } | Kind::Map(_) => {
                self.exceed_limits(here, standing.clone(), trail)
            }
            _ => Vec::new(),
        };
        let mut onwards: Onwards = onward.map(|it| (it, trail)).into_iter().collect();
        // A task can fail with any error in any case.
        if !is_sure && !matches!(here.state.kind, Kind::Task(_)) {
            let assumed = !onwards.is_empty();
            onwards.extend(self.fail_to_evaluate(here, standing, trail, assumed));
        }
        onwards.extend(exceeds);
        onwards
    }

    /// An expression or a path of a state gives nothing, or an error.
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
        let (first, others) = match here.state.language {
            Language::Jsonata => (QUERY_EVALUATION_ERROR, &[RUNTIME][..]),
            Language::JsonPath => (RUNTIME, &JSONPATH_ERRORS[..]),
        };
        let mut errors: Vec<(ErrorName, bool)> = Vec::new();
        let others = others.iter().map(|it| (*it, true));
        for (name, assumed) in std::iter::once((first, assumed)).chain(others) {
            if let Some(error) = self.errors.find(name)
                && !errors.iter().any(|it| it.0 == error)
            {
                errors.push((error, assumed));
            }
        }
        let mut onwards = Vec::new();
        for (error, assumed) in errors {
            let event = step(here.state, "cannot be evaluated", assumed);
            let trail = self.trails.step(trail, event);
            onwards.extend(self.fail(here, &error, standing.clone(), trail));
        }
        onwards
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
        }
        onwards.extend(self.fail_for_good(here, error, standing, trail));
        onwards
    }

    /// A state has failed and is not retried: its `Catch` decides, or its level fails.
    pub(super) fn fail_for_good(
        &mut self,
        here: Here<'_>,
        error: &ErrorName,
        standing: Standing,
        trail: Trail,
    ) -> Onwards {
        let catch = here.state.handlers().map_or(&[][..], |it| &it.catch);
        match catch.iter().find(|it| error.is_among(&it.errors)) {
            Some(catcher) => self.catch(here, catcher, error, standing, trail),
            None => fail_level(here, error, standing, trail),
        }
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
        let mut onwards = Vec::new();
        let (mut standing, mut trail) = (standing, trail);
        if catcher.compensate && !standing.undoable.is_empty() {
            for carrier in std::mem::take(&mut standing.undoable) {
                standing.evidence.undo(&carrier);
            }
            trail = self
                .trails
                .wait(trail, step(here.state, "is compensated", false), false);
            onwards.push((Onward::Resting(standing.clone()), trail));
        }
        if catcher.rework {
            self.trails.note_rework(trail);
        }
        let next = Next::State(catcher.next.clone());
        let leaving = Leaving {
            assign: &catcher.assign,
            output: catcher.output.as_ref(),
            flow: Flow::of_catcher(here.state, catcher),
            passed: &error_output,
            next: &next,
        };
        let scope = Scope {
            error_output: &error_output,
            ..here.scope(&Abstract::Undefined)
        };
        let Left { onward, is_sure } = self.leave(here, &scope, &leaving, standing.clone());
        let is_left = onward.is_some();
        onwards.extend(onward.map(|it| (it, trail)));
        // What a catcher itself gets wrong is not caught.
        if !is_sure && let Some(error) = self.errors.find(QUERY_EVALUATION_ERROR) {
            let event = step(here.state, "cannot evaluate its catcher", is_left);
            let trail = self.trails.step(trail, event);
            onwards.extend(fail_level(here, &error, standing.clone(), trail));
        }
        if let Some(error) = self.errors.limit_exceeded() {
            let event = step(here.state, EXCEEDS_LIMITS, true);
            let trail = self.trails.at_last(trail, event);
            onwards.extend(fail_level(here, &error, standing, trail));
        }
        onwards
    }

    fn fail_steps(
        &mut self,
        here: Here<'_>,
        error: Option<&Template>,
        cause: Option<&Template>,
    ) -> Onwards {
        let scope = here.scope(&Abstract::Undefined);
        let mut onwards = Vec::new();
        if [error, cause]
            .into_iter()
            .flatten()
            .any(|it| !is_sure(it, &scope))
        {
            onwards.extend(self.fail_to_evaluate(here, here.standing(), here.trail, true));
        }
        let value = match error {
            None => Some(Abstract::text("")),
            Some(template) => of_template(template, &scope),
        };
        let errors = match &value {
            Some(Abstract::Known(Value::String(name))) => vec![ErrorName::exactly(name)],
            _ => self.errors.all.clone(),
        };
        let assumed = 1 < errors.len();
        for error in errors {
            let event = step(here.state, &format!("fails with {}", error.name), assumed);
            let trail = self.trails.step(here.trail, event);
            onwards.extend(fail_level(here, &error, here.standing(), trail));
        }
        onwards
    }

    fn task_steps(&mut self, here: Here<'_>, task: &TaskDef) -> Result<Onwards, TooLarge> {
        let Here { state, trail, .. } = here;
        let rules: Vec<(u16, &EvidenceRule)> = (0_u16..)
            .zip(&self.definition.evidence)
            .filter(|(_, rule)| rule.state == state.name)
            .collect();
        let mut begun = here.standing();
        let carrier = self.levels.carrier(state);
        if let Some(carrier) = carrier {
            begun.evidence.begin(&carrier);
        }
        // After a rework an earlier result may be kept, at once; which one is not followed.
        let may_be_kept = !task.keep.is_empty()
            && (self.trails.summary(trail).has_rework
                || (here.level != 0 && self.levels.has_rework));
        let begins = self.trails.step(trail, step(state, "begins", may_be_kept));
        let mut onwards = vec![(Onward::Resting(begun.clone()), begins)];
        for (event, result, evidence) in self.results(task, &begun.evidence, &rules)? {
            let mut standing = Standing {
                evidence,
                undoable: begun.undoable.clone(),
            };
            if task.compensation.is_some() && self.levels.has_compensation {
                standing.undoable.extend(carrier);
            }
            let event = step(state, &event, may_be_kept);
            let trail = if may_be_kept {
                self.trails.step(trail, event)
            } else {
                self.trails.wait(trail, event, false)
            };
            onwards.extend(self.exit(here, &result, &result, standing, trail));
        }
        for error in self.errors.all.clone() {
            let event = step(state, &format!("fails with {}", error.name), may_be_kept);
            let trail = self.trails.wait(trail, event, false);
            onwards.extend(self.fail(here, &error, begun.clone(), trail));
        }
        Ok(onwards)
    }

    /// Every way in which a task can end well: what happens, its result, and what is held then.
    fn results(
        &mut self,
        task: &TaskDef,
        begun: &Evidence<u16>,
        rules: &[(u16, &EvidenceRule)],
    ) -> Result<Vec<(String, Abstract, Evidence<u16>)>, TooLarge> {
        let mut results = Vec::new();
        if let Some(outcomes) = task.outcomes.as_ref().filter(|_| !task.waits_for_token) {
            for outcome in outcomes {
                let of_outcome = rules.iter().filter(|(_, rule)| rule.outcome == *outcome);
                let of_outcome: Vec<(u16, &EvidenceRule)> = of_outcome.copied().collect();
                for (evidence, output, note) in self.runs(task, begun, &of_outcome) {
                    let result = Abstract::closed([
                        ("outcome", Abstract::text(outcome)),
                        ("output", output),
                    ]);
                    results.push((format!("ends with {outcome}{note}"), result, evidence));
                }
            }
            return Ok(results);
        }
        // Whoever ends it may say anything.
        let mut held = vec![begun.clone()];
        for (index, _) in rules {
            for evidence in held.clone() {
                self.count()?;
                let mut evidence = evidence;
                evidence.gain(*index);
                held.push(evidence);
            }
        }
        results.extend(
            held.into_iter()
                .map(|it| ("ends".to_owned(), Abstract::Unknown, it)),
        );
        Ok(results)
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
        let state = here.state;
        let scope = here.scope(&Abstract::Undefined);
        let mut onwards = Vec::new();
        let mut assumed = false;
        for (index, rule) in rules.iter().enumerate() {
            let (tested, source) = match &rule.condition {
                Condition::Literal(holds) => (Tested::surely(*holds), holds.to_string()),
                Condition::Computed(expression) => (
                    of_condition(expression, &scope),
                    expression.source().to_owned(),
                ),
                Condition::Compared(rule) => {
                    (of_rule(rule, &scope), format!("that rule {index} holds"))
                }
            };
            if tested.fails != Fails::No {
                let assumed = assumed || tested.fails == Fails::Maybe;
                onwards.extend(self.fail_to_evaluate(here, here.standing(), here.trail, assumed));
            }
            match (tested.holds, tested.fails) {
                (_, Fails::Surely) => return onwards,
                (Some(false), _) => continue,
                _ => {}
            }
            let is_decided = tested.holds.is_some();
            let event = step(state, &format!("finds {source}"), assumed || !is_decided);
            onwards.extend(self.take_rule(here, rule, event));
            if is_decided {
                return onwards;
            }
            assumed = true;
        }
        if state.next != Next::None {
            let event = step(state, "finds nothing else", assumed);
            let trail = self.trails.step(here.trail, event);
            let (seen, standing) = (&Abstract::Undefined, here.standing());
            onwards.extend(self.exit(here, seen, here.data, standing, trail));
            return onwards;
        }
        if !assumed {
            let reason = "has no rule that matches, and no `Default`".to_owned();
            onwards.push((Onward::Stuck(reason), here.trail));
        }
        if let Some(error) = self.errors.find(NO_CHOICE_MATCHED) {
            let event = step(state, "finds no rule", assumed);
            let trail = self.trails.step(here.trail, event);
            onwards.extend(fail_level(here, &error, here.standing(), trail));
        }
        onwards
    }

    fn take_rule(&mut self, here: Here<'_>, rule: &Rule, event: PathStep) -> Onwards {
        let next = Next::State(rule.next.clone());
        let leaving = Leaving {
            assign: &rule.assign,
            output: rule.output.as_ref(),
            flow: Flow::of(here.state),
            passed: here.data,
            next: &next,
        };
        let trail = self.trails.step(here.trail, event);
        if rule.rework {
            self.trails.note_rework(trail);
        }
        let scope = here.scope(&Abstract::Undefined);
        let Left { onward, is_sure } = self.leave(here, &scope, &leaving, here.standing());
        let mut onwards: Onwards = onward.map(|it| (it, trail)).into_iter().collect();
        if !is_sure {
            let assumed = !onwards.is_empty();
            onwards.extend(self.fail_to_evaluate(here, here.standing(), trail, assumed));
        }
        onwards
    }
}

impl<'a> Here<'a> {
    /// What the queries of the state see, with this result.
    pub fn scope(&self, result: &'a Abstract) -> Scope<'a> {
        Scope {
            input: &self.node.input,
            result,
            error_output: &Abstract::Undefined,
            data: self.data,
            variables: &self.node.variables,
        }
    }

    /// What is held when the state is entered.
    pub fn standing(&self) -> Standing {
        Standing {
            evidence: self.node.evidence.clone(),
            undoable: self.node.undoable.clone(),
        }
    }
}

/// Whether a state computes a time, or a number of items, that may turn out to be none.
fn computes_numbers(kind: &Kind) -> bool {
    let is_computed = |it: &Number| !matches!(it, Number::Literal(_));
    match kind {
        Kind::Wait(until) => !matches!(
            until,
            Until::Seconds(Seconds::Literal(_)) | Until::Timestamp(Timestamp::Literal(_))
        ),
        Kind::Map(map) => {
            let numbers = [&map.tolerated_count, &map.tolerated_percentage];
            is_computed(&map.concurrency)
                || map.batcher.is_some()
                || numbers.into_iter().flatten().any(is_computed)
        }
        _ => false,
    }
}

/// The level fails; at the outermost that is the end of the workflow.
fn fail_level(here: Here<'_>, error: &ErrorName, standing: Standing, trail: Trail) -> Onwards {
    if here.level == 0 {
        return Vec::new();
    }
    let error = error.clone();
    vec![(Onward::Failed(Failing { error, standing }), trail)]
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
