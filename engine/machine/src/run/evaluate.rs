//! Queries and templates, evaluated for a branch in a state.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Failure, Run, Trouble};
use crate::command::Refusal;
use crate::definition::{Definition, Number, Seconds, Template};
use crate::error_name::{DATA_LIMIT_EXCEEDED, RUNTIME};
use crate::event::rfc3339;
use crate::expression::{EvaluationError, Expression, Scope};
use crate::jsonpath::{ChoiceRule, Path, PathError, PathScope, ReferencePath};
use crate::limits::{PAYLOAD_BYTES_MAX, SECONDS_MAX};
use crate::payload::{Excess, Payload};
use crate::state::{Item, Position, State, Thread, Visit};

const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";
const INTRINSIC_FAILURE: &str = "States.IntrinsicFailure";
const RESULT_PATH_MATCH_FAILURE: &str = "States.ResultPathMatchFailure";

/// What the queries of one visit may see.
#[derive(Clone, Copy)]
pub(super) struct Seen<'s> {
    pub thread: u32,
    pub visit: &'s Visit,
    /// `$` of a JSONPath query.
    pub data: &'s Payload,
    pub result: Option<&'s Payload>,
    pub error_output: Option<&'s Payload>,
    /// The item that is being prepared; an item at work is its branch's.
    pub item: Option<&'s Item>,
}

impl<'s> Seen<'s> {
    pub fn of(thread: u32, visit: &'s Visit) -> Self {
        Self {
            thread,
            visit,
            data: &visit.input,
            result: None,
            error_output: None,
            item: None,
        }
    }

    pub fn with_data<'t>(&self, data: &'t Payload) -> Seen<'t>
    where
        's: 't,
    {
        Seen { data, ..*self }
    }

    pub fn with_result(self, result: &'s Payload) -> Self {
        Self {
            data: result,
            result: Some(result),
            ..self
        }
    }

    pub fn with_error(self, error_output: &'s Payload) -> Self {
        Self {
            data: error_output,
            error_output: Some(error_output),
            ..self
        }
    }
}

struct StateScope<'s> {
    seen: &'s Seen<'s>,
    state: &'s State,
    definition: &'s Definition,
}

impl Scope for StateScope<'_> {
    fn states(&self, field: &str) -> Option<Payload> {
        match field {
            "input" => Some(self.seen.visit.input.clone()),
            "result" => self.seen.result.cloned(),
            "errorOutput" => self.seen.error_output.cloned(),
            "context" => Some(self.context()),
            _ => None,
        }
    }

    fn variable(&self, name: &str) -> Option<&Payload> {
        let mut branches = self.branches().peekable();
        while let Some(branch) = branches.next() {
            if let Some(value) = branch.variables.get(name) {
                return Some(value);
            }
            // What is distributed sees nothing of what is around it.
            if branches.peek().is_some_and(|it| it.child != branch.child) {
                return None;
            }
        }
        None
    }
}

impl PathScope for StateScope<'_> {
    fn data(&self) -> &Value {
        self.seen.data
    }

    fn context(&self) -> Payload {
        StateScope::context(self)
    }

    fn variable(&self, name: &str) -> Option<&Payload> {
        Scope::variable(self, name)
    }
}

impl StateScope<'_> {
    /// The branch, and the branches around it.
    fn branches(&self) -> impl Iterator<Item = &Thread> {
        let first = self.state.threads.get(&self.seen.thread);
        std::iter::successors(first, |it| {
            it.parent.and_then(|parent| self.state.threads.get(&parent))
        })
    }

    /// The context object. Source: the Step Functions developer guide, "Accessing execution data".
    fn context(&self) -> Payload {
        let (state, visit) = (self.state, self.seen.visit);
        let mut execution = json!({
            "Id": state.workflow,
            "Input": state.input,
            "Name": state.workflow,
            "StartTime": rfc3339(state.started_ms),
            "RedriveCount": 0,
        });
        if self.definition.is_bare {
            // Roles are AWS's; ours have none.
            execution["RoleArn"] = json!("role");
        }
        let mut context = json!({
            "Execution": execution,
            "State": {
                "EnteredTime": rfc3339(visit.entered_ms),
                "Name": visit.state,
            },
            "StateMachine": {
                "Id": format!("{}@{}", state.definition, state.version),
                "Name": self.definition.name,
            },
        });
        let has_handlers = self
            .definition
            .state_anywhere(&visit.state)
            .is_some_and(|it| it.handlers().is_some());
        if has_handlers {
            context["State"]["RetryCount"] = json!(visit.retries.iter().sum::<u32>());
        }
        let item = self
            .seen
            .item
            .or_else(|| self.branches().find_map(|it| it.item.as_ref()));
        if let Some(item) = item {
            context["Map"] = json!({"Item": {"Index": item.index, "Value": item.value}});
        }
        if let Some(token) = self.token() {
            context["Task"] = json!({"Token": token});
        }
        context.into()
    }

    /// The token of the task that the branch is at.
    fn token(&self) -> Option<&str> {
        match &self.state.threads.get(&self.seen.thread)?.position {
            Position::Task(task) => task.token.as_deref(),
            _ => None,
        }
    }
}

impl Run<'_> {
    fn scope<'s>(&'s self, seen: &'s Seen<'s>) -> StateScope<'s> {
        StateScope {
            seen,
            state: &self.state,
            definition: self.definition,
        }
    }

    /// Evaluates an expression of the field `location`.
    pub(super) fn expression(
        &self,
        expression: &Expression,
        location: &str,
        seen: &Seen<'_>,
    ) -> Result<Payload, Trouble> {
        let detail = match expression.evaluate(&self.scope(seen), &self.env, &self.random) {
            Ok(value) => return Ok(value),
            Err(EvaluationError::WallClock) => {
                return Err(Refusal::EvaluationLimit {
                    state: seen.visit.state.clone(),
                }
                .into());
            }
            Err(EvaluationError::Undefined) => "returned nothing (undefined).".to_owned(),
            Err(EvaluationError::Unsupported) => "returned an unsupported result type.".to_owned(),
            Err(EvaluationError::TooLarge) => {
                let what = format!("the result of the field '{location}'");
                let excess = Excess::Bytes(PAYLOAD_BYTES_MAX);
                return Err(too_large(&what, seen.visit, excess).into());
            }
            Err(EvaluationError::Failed(message)) => {
                format!("threw an error during evaluation. {message}")
            }
        };
        Err(wrong(expression, location, seen, &detail))
    }

    /// Evaluates a path of the whole, such as `InputPath`.
    pub(super) fn path(&self, path: &Path, seen: &Seen<'_>) -> Result<Payload, Trouble> {
        match path.evaluate(&self.scope(seen)) {
            Ok(value) => Ok(value.into()),
            Err(PathError::NotFound { detail, .. }) => Err(cannot_run(
                seen,
                &format!("Invalid path '{}' : {detail}", path.source()),
            )),
            Err(error) => Err(path_failure(error, "path", path.source(), seen)),
        }
    }

    /// Evaluates a rule of a JSONPath `Choice`.
    pub(super) fn compare(&self, rule: &ChoiceRule, seen: &Seen<'_>) -> Result<bool, Trouble> {
        rule.evaluate(&self.scope(seen)).map_err(|error| match error {
            PathError::NotFound { path, .. } => cannot_run(
                seen,
                &format!(
                    "Invalid path '{path}': The choice state's condition path references an invalid value."
                ),
            ),
            error => path_failure(error, "Choices", "", seen),
        })
    }

    /// Evaluates a template of the field `location`.
    pub(super) fn template(
        &self,
        template: &Template,
        location: &str,
        seen: &Seen<'_>,
    ) -> Result<Payload, Trouble> {
        let value = match template {
            Template::Literal(payload) => return Ok(payload.clone()),
            Template::Expression(expression) => return self.expression(expression, location, seen),
            Template::Path(path) => {
                let field = location.rsplit('/').next().unwrap_or(location);
                let is_field = !matches!(field, "ErrorPath" | "CausePath");
                let field = format!("{field}{}", if is_field { ".$" } else { "" });
                return match path.evaluate(&self.scope(seen), &self.random) {
                    Ok(value) => Ok(value.into()),
                    Err(error) => Err(path_failure(error, &field, path.source(), seen)),
                };
            }
            Template::Array(items) => {
                let mut array = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    array.push(
                        self.template(item, &format!("{location}/{index}"), seen)?
                            .to_value(),
                    );
                }
                Value::Array(array)
            }
            Template::Object(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for (key, it) in fields {
                    let value = self.template(it, &format!("{location}/{key}"), seen)?;
                    object.insert(key.clone(), value.to_value());
                }
                Value::Object(object)
            }
        };
        Ok(value.into())
    }

    /// Evaluates `Assign`; every value sees the variables as they were before.
    pub(super) fn assignments(
        &self,
        assign: &[(String, Template)],
        seen: &Seen<'_>,
    ) -> Result<Vec<(String, Payload)>, Trouble> {
        let mut assigned = Vec::with_capacity(assign.len());
        for (name, template) in assign {
            let value = self.template(template, &format!("Assign/{name}"), seen)?;
            limit_size(&value, &format!("the variable '{name}'"), seen.visit)?;
            assigned.push((name.clone(), value));
        }
        Ok(assigned)
    }

    /// Evaluates a number of seconds, at least `least`.
    pub(super) fn seconds(
        &self,
        seconds: &Seconds,
        location: &str,
        least: i64,
        seen: &Seen<'_>,
    ) -> Result<i64, Trouble> {
        let is_allowed = |it: &i64| (least..=SECONDS_MAX).contains(it);
        match seconds {
            Seconds::Literal(seconds) => Ok(*seconds),
            Seconds::Computed(expression) => {
                let value = self.expression(expression, location, seen)?;
                value.as_i64().filter(is_allowed).ok_or_else(|| {
                    let expected = "a positive whole number";
                    unexpected(expression, location, seen, expected, &value)
                })
            }
            Seconds::Path(path) => {
                let value = self.path(path, seen)?;
                whole(&value).filter(is_allowed).ok_or_else(|| {
                    let detail = format!(
                        "The {location}Path parameter cannot be parsed as a long value: {} == {}",
                        path.source(),
                        *value
                    );
                    cannot_run(seen, &detail)
                })
            }
        }
    }

    /// Evaluates a whole number, at least 0, of the field `field`.
    pub(super) fn count(
        &self,
        number: &Number,
        field: &str,
        seen: &Seen<'_>,
    ) -> Result<usize, Trouble> {
        let count = match number {
            #[expect(clippy::cast_possible_truncation, reason = "the parser bounds it")]
            Number::Literal(it) => *it as i64,
            Number::Computed(expression) => {
                let value = self.expression(expression, field, seen)?;
                value
                    .as_i64()
                    .ok_or_else(|| unexpected(expression, field, seen, "integer", &value))?
            }
            Number::Path(path) => {
                let value = self.path(path, seen)?;
                whole(&value).ok_or_else(|| invalid_number(seen, field, path, &value, "integer"))?
            }
        };
        usize::try_from(count)
            .map_err(|_| cannot_run(seen, &format!("{field} cannot be negative.")))
    }

    /// Evaluates a percentage, from 0 to 100, of the field `field`.
    pub(super) fn percentage(
        &self,
        number: &Number,
        field: &str,
        seen: &Seen<'_>,
    ) -> Result<f64, Trouble> {
        let percentage = match number {
            Number::Literal(it) => *it,
            Number::Computed(expression) => {
                let value = self.expression(expression, field, seen)?;
                value
                    .as_f64()
                    .ok_or_else(|| unexpected(expression, field, seen, "number", &value))?
            }
            Number::Path(path) => {
                let value = self.path(path, seen)?;
                float(&value).ok_or_else(|| invalid_number(seen, field, path, &value, "float"))?
            }
        };
        if (0.0..=100.0).contains(&percentage) {
            Ok(percentage)
        } else {
            Err(cannot_run(
                seen,
                &format!("{field} must be between 0 and 100."),
            ))
        }
    }

    /// Remembers assigned variables in their branch.
    pub(super) fn assign(
        &mut self,
        thread: u32,
        assigned: &[(String, Payload)],
    ) -> Result<(), Refusal> {
        if assigned.is_empty() {
            return Ok(());
        }
        let variables: &mut BTreeMap<String, Payload> = &mut self.thread_mut(thread)?.variables;
        for (name, value) in assigned {
            variables.insert(name.clone(), value.clone());
        }
        Ok(())
    }
}

/// A whole number, or a text that spells one.
fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

/// A number, or a text that spells one.
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

fn invalid_number(
    seen: &Seen<'_>,
    field: &str,
    path: &Path,
    value: &Value,
    expected: &str,
) -> Trouble {
    let shown = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let detail = format!(
        "The {field}Path field refers to value \"{shown}\" which is not a valid {expected}: {}",
        path.source()
    );
    cannot_run(seen, &detail)
}

/// An expression that gave another type than its field needs.
pub(super) fn unexpected(
    expression: &Expression,
    location: &str,
    seen: &Seen<'_>,
    expected: &str,
    value: &Value,
) -> Trouble {
    let found = type_of(value);
    let detail = format!(
        "returned an unexpected result type. Expected '{expected}', but was '{found}' for value: {value}"
    );
    wrong(expression, location, seen, &detail)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong(expression: &Expression, location: &str, seen: &Seen<'_>, detail: &str) -> Trouble {
    let detail = format!(
        "The JSONata expression '{}' specified for the field '{location}' {detail}",
        expression.source(),
    );
    misread(location, seen, &detail)
}

/// A field of a JSONata state that cannot be used.
pub(super) fn misread(location: &str, seen: &Seen<'_>, detail: &str) -> Trouble {
    let failure = Failure {
        error: QUERY_EVALUATION_ERROR.to_owned(),
        cause: while_executing(seen, detail),
        location: Some(location.to_owned()),
    };
    failure.into()
}

/// What no `Catch` for all errors catches: the definition does not fit the data.
pub(super) fn cannot_run(seen: &Seen<'_>, detail: &str) -> Trouble {
    Failure::new(RUNTIME, while_executing(seen, detail)).into()
}

/// A `ResultPath` that leads through something that is no object.
pub(super) fn unplaced(error: PathError, path: &ReferencePath, seen: &Seen<'_>) -> Trouble {
    path_failure(error, "ResultPath", path.source(), seen)
}

fn path_failure(error: PathError, field: &str, source: &str, seen: &Seen<'_>) -> Trouble {
    match error {
        PathError::NotFound {
            path,
            detail,
            call: Some(call),
        } => {
            let detail = if detail.starts_with("Filter:") {
                detail
            } else {
                format!(
                    "The JsonPath argument for the field '{path}' could not be found in the input '{}'",
                    **seen.data
                )
            };
            let detail = format!("The function '{call}' had the following error: {detail}");
            cannot_run(seen, &detail)
        }
        PathError::NotFound { path, .. } => {
            let detail = format!(
                "The JSONPath '{path}' specified for the field '{field}' could not be found in the input '{}'",
                **seen.data
            );
            cannot_run(seen, &detail)
        }
        PathError::Intrinsic(message) => {
            Failure::new(INTRINSIC_FAILURE, while_executing(seen, &message)).into()
        }
        PathError::NoMatch(message) => {
            Failure::new(RESULT_PATH_MATCH_FAILURE, while_executing(seen, &message)).into()
        }
        PathError::NoVariable(name) => {
            let detail = format!(
                "The JSONPath '{source}' specified for the field '{field}' reads the variable '${name}', which has no value"
            );
            cannot_run(seen, &detail)
        }
        PathError::Invalid(message) => {
            let detail = format!(
                "The JSONPath '{source}' specified for the field '{field}' could not be evaluated: {message}"
            );
            cannot_run(seen, &detail)
        }
    }
}

fn while_executing(seen: &Seen<'_>, detail: &str) -> String {
    format!(
        "An error occurred while executing the state '{}' (entered at the event id #{}). {detail}",
        seen.visit.state, seen.visit.entered,
    )
}

/// Refuses a document that is larger than any state may hold.
pub(super) fn limit_size(value: &Payload, what: &str, visit: &Visit) -> Result<(), Failure> {
    match value.excess() {
        None => Ok(()),
        Some(excess) => Err(too_large(what, visit, excess)),
    }
}

fn too_large(what: &str, visit: &Visit, excess: Excess) -> Failure {
    let cause = format!("In the state '{}', {what} {excess}.", visit.state);
    Failure::new(DATA_LIMIT_EXCEEDED, cause)
}
