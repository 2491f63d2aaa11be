//! Expressions and templates, evaluated for a branch in a state.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Failure, Run, Trouble};
use crate::command::Refusal;
use crate::definition::{Seconds, Template};
use crate::event::rfc3339;
use crate::expression::{EvaluationError, Expression, Scope};
use crate::limits::{PAYLOAD_BYTES_MAX, SECONDS_MAX};
use crate::payload::Payload;
use crate::state::{State, Thread, Visit};

pub(super) const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";
pub(super) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";

/// What the expressions of one visit may see.
pub(super) struct Seen<'s> {
    pub thread: u32,
    pub visit: &'s Visit,
    pub result: Option<&'s Payload>,
    pub error_output: Option<&'s Payload>,
}

struct StateScope<'s> {
    seen: &'s Seen<'s>,
    state: &'s State,
    title: &'s str,
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
        let mut thread: Option<&Thread> = self.state.threads.get(&self.seen.thread);
        while let Some(it) = thread {
            if let Some(value) = it.variables.get(name) {
                return Some(value);
            }
            thread = it.parent.and_then(|parent| self.state.threads.get(&parent));
        }
        None
    }
}

impl StateScope<'_> {
    /// The context object. Source: the Step Functions developer guide, "Accessing execution data".
    fn context(&self) -> Payload {
        let (state, visit) = (self.state, self.seen.visit);
        let context = json!({
            "Execution": {
                "Id": state.workflow,
                "Input": state.input,
                "Name": state.workflow,
                "StartTime": rfc3339(state.started_ms),
            },
            "State": {
                "EnteredTime": rfc3339(visit.entered_ms),
                "Name": visit.state,
                "RetryCount": visit.retries.iter().sum::<u32>(),
            },
            "StateMachine": {
                "Id": format!("{}@{}", state.definition, state.version),
                "Name": self.title,
            },
        });
        context.into()
    }
}

impl Run<'_> {
    /// Evaluates an expression of the field `location`.
    pub(super) fn expression(
        &self,
        expression: &Expression,
        location: &str,
        seen: &Seen<'_>,
    ) -> Result<Payload, Trouble> {
        let scope = StateScope {
            seen,
            state: &self.state,
            title: &self.definition.name,
        };
        let detail = match expression.evaluate(&scope, &self.env, &self.random) {
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
                return Err(too_large(&what, seen.visit).into());
            }
            Err(EvaluationError::Failed(message)) => {
                format!("threw an error during evaluation. {message}")
            }
        };
        Err(wrong(expression, location, seen, &detail))
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
        let expression = match seconds {
            Seconds::Literal(seconds) => return Ok(*seconds),
            Seconds::Computed(expression) => expression,
        };
        let value = self.expression(expression, location, seen)?;
        match value
            .as_i64()
            .filter(|it| (least..=SECONDS_MAX).contains(it))
        {
            Some(seconds) => Ok(seconds),
            None => Err(unexpected(
                expression,
                location,
                seen,
                "a positive whole number",
                &value,
            )),
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

/// An expression that gave another type than its field needs.
pub(super) fn unexpected(
    expression: &Expression,
    location: &str,
    seen: &Seen<'_>,
    expected: &str,
    value: &Value,
) -> Trouble {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let detail = format!(
        "returned an unexpected result type. Expected '{expected}', but was '{found}' for value: {value}"
    );
    wrong(expression, location, seen, &detail)
}

fn wrong(expression: &Expression, location: &str, seen: &Seen<'_>, detail: &str) -> Trouble {
    let Seen { visit, .. } = seen;
    let cause = format!(
        "An error occurred while executing the state '{}' (entered at the event id #{}). \
         The JSONata expression '{}' specified for the field '{location}' {detail}",
        visit.state,
        visit.entered,
        expression.source(),
    );
    let failure = Failure {
        error: QUERY_EVALUATION_ERROR.to_owned(),
        cause,
        location: Some(location.to_owned()),
    };
    failure.into()
}

/// Refuses a document that is larger than any state may hold.
pub(super) fn limit_size(value: &Payload, what: &str, visit: &Visit) -> Result<(), Failure> {
    if value.size_bytes() <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    Err(too_large(what, visit))
}

fn too_large(what: &str, visit: &Visit) -> Failure {
    let cause = format!(
        "In the state '{}', {what} has more than {PAYLOAD_BYTES_MAX} bytes.",
        visit.state,
    );
    Failure::new(DATA_LIMIT_EXCEEDED, cause)
}
