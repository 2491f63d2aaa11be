//! Compares the machine with executions that AWS Step Functions has recorded.
//!
//! A case is run in virtual time, its tasks answer what they answered when it was recorded, and
//! what comes of it is compared: status, output, error, cause and, where there is one, the history.

mod branches;
mod compare;
mod replay;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::definition::Definition;
use crate::simulate::Simulation;
use crate::state::Status;

use compare::difference;

/// A recorded execution.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    pub name: String,
    definition: Value,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    task_results: Vec<TaskResult>,
    expect: Expect,
    #[serde(default)]
    history: Vec<Value>,
}

/// What a task answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskResult {
    state: String,
    #[serde(default)]
    map_index: Option<usize>,
    /// The event of the history that scheduled the task.
    #[serde(default)]
    scheduled_event_id: Option<u64>,
    /// `null` is an output too.
    #[serde(default, deserialize_with = "present")]
    output: Option<Value>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    cause: Option<Value>,
    #[serde(default)]
    timeout: bool,
}

/// How the execution ended.
#[derive(Clone, Debug, Deserialize)]
struct Expect {
    status: String,
    #[serde(default, deserialize_with = "present")]
    output: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    error: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    cause: Option<Value>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Where the machine differs from a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    /// What differs, such as `cause` or `history: MapState 0, event 3 (PassStateExited).output`.
    pub what: String,
    pub expected: Value,
    pub actual: Value,
}

impl Mismatch {
    fn new(what: impl Into<String>, expected: Value, actual: Value) -> Box<Self> {
        Box::new(Self {
            what: what.into(),
            expected,
            actual,
        })
    }
}

/// A case that has failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    pub name: String,
    pub file: String,
    #[serde(flatten)]
    pub mismatch: Mismatch,
}

/// The result of a folder of cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub total: usize,
    pub passed: usize,
    pub failed: usize,
    /// Cases that differ for a reason that is written down.
    pub excluded: usize,
    pub failures: Vec<Failure>,
    /// Excluded cases that pass all the same: their exclusion is to be removed.
    #[serde(skip)]
    pub stale_exclusions: Vec<String>,
}

/// Cases that differ on purpose, with the reason.
pub type Exclusions = BTreeMap<String, String>;

impl Summary {
    /// Runs the cases of one file and counts them.
    pub fn add(&mut self, file: &str, cases: &[Case], exclusions: &Exclusions) {
        for case in cases {
            self.total += 1;
            match (case.check(), exclusions.contains_key(&case.name)) {
                (Ok(()), false) => self.passed += 1,
                (Ok(()), true) => {
                    self.excluded += 1;
                    self.stale_exclusions.push(case.name.clone());
                }
                (Err(_), true) => self.excluded += 1,
                (Err(mismatch), false) => {
                    self.failed += 1;
                    self.failures.push(Failure {
                        name: case.name.clone(),
                        file: file.to_owned(),
                        mismatch: *mismatch,
                    });
                }
            }
        }
    }
}

impl Case {
    /// Runs the case and compares what comes of it.
    ///
    /// Where the recorder has replaced a date in the definition or the input, its value is lost:
    /// the case passes when some value leads to what was recorded.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn check(&self) -> Result<(), Box<Mismatch>> {
        let first = self.check_as(&self.definition, &self.input);
        if first.is_ok() || !(has_date(&self.definition) || has_date(&self.input)) {
            return first;
        }
        let is_explained = self.dates().into_iter().any(|date| {
            let (definition, input) = (
                with_date(&self.definition, date),
                with_date(&self.input, date),
            );
            self.check_as(&definition, &input).is_ok()
        });
        if is_explained { Ok(()) } else { first }
    }

    /// What a replaced date may have been: what the cause of the failure quotes, now, or far away.
    fn dates(&self) -> Vec<&str> {
        let cause = self.expect.cause.as_ref().and_then(Value::as_str);
        let quoted = ["== ", ": "]
            .into_iter()
            .filter_map(|mark| Some(cause?.rsplit_once(mark)?.1));
        quoted
            .chain(["2026-01-01T00:00:00Z", "2200-01-01T00:00:00Z"])
            .collect()
    }

    fn check_as(&self, definition: &Value, input: &Value) -> Result<(), Box<Mismatch>> {
        let definition = Definition::parse_states(definition).map_err(|findings| {
            let shown = serde_json::to_value(findings).unwrap_or_default();
            Mismatch::new("definition", json!("valid"), shown)
        })?;
        let simulation = replay::run(&definition, input, self).map_err(|error| {
            let status = json!(self.expect.status);
            Mismatch::new("run", status, json!(error.to_string()))
        })?;
        self.compare_end(&simulation)?;
        self.compare_history(&simulation)
    }

    fn compare_end(&self, simulation: &Simulation) -> Result<(), Box<Mismatch>> {
        let state = &simulation.state;
        let status = match state.status() {
            Status::Running => "RUNNING",
            // What AWS does not know ends like what has succeeded.
            Status::Succeeded | Status::Continued => "SUCCEEDED",
            Status::Failed => "FAILED",
            Status::TimedOut => "TIMED_OUT",
            Status::Cancelled | Status::Terminated => "ABORTED",
        };
        if status != self.expect.status {
            let ended = json!({"status": status, "error": state.error(), "cause": state.cause()});
            return Err(Mismatch::new("status", json!(self.expect.status), ended));
        }
        let text = |it: Option<&str>| it.filter(|it| !it.is_empty()).map(|it| json!(it));
        let pairs = [
            (
                "output",
                &self.expect.output,
                state.output().map(crate::Payload::to_value),
            ),
            ("error", &self.expect.error, text(state.error())),
            ("cause", &self.expect.cause, text(state.cause())),
        ];
        for (what, expected, actual) in pairs {
            let found = actual.unwrap_or_default();
            match expected {
                None if found.is_null() => {}
                None => return Err(Mismatch::new(what, Value::Null, found)),
                Some(expected) => {
                    if let Some(it) = difference(expected, &found, what) {
                        return Err(it);
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares the histories branch by branch, because branches interleave.
    fn compare_history(&self, simulation: &Simulation) -> Result<(), Box<Mismatch>> {
        if self.history.is_empty() {
            return Ok(());
        }
        let events: Vec<Value> = simulation
            .events
            .iter()
            // A distributed item has a history of its own, which is not part of this one.
            .filter(|it| it.child.is_none())
            .map(crate::event::Event::to_step_functions)
            .collect();
        let expected = branches::split(&self.history);
        let actual = branches::split(&events);
        for (branch, recorded) in &expected {
            let place = format!("history{branch}");
            let no_events = Vec::new();
            let ours = actual.get(branch).unwrap_or(&no_events);
            compare_branch(recorded, ours, &place)?;
        }
        match actual.keys().find(|it| !expected.contains_key(*it)) {
            None => Ok(()),
            Some(branch) => {
                let types: Vec<&Value> = actual[branch].iter().map(|it| &it["type"]).collect();
                Err(Mismatch::new(
                    format!("history{branch}"),
                    Value::Null,
                    json!(types),
                ))
            }
        }
    }
}

/// Whether a document has a text that the recorder wrote in place of a date.
fn has_date(value: &Value) -> bool {
    match value {
        Value::String(text) => compare::is_date(text),
        Value::Array(items) => items.iter().any(has_date),
        Value::Object(fields) => fields.values().any(has_date),
        _ => false,
    }
}

fn with_date(value: &Value, date: &str) -> Value {
    match value {
        Value::String(text) if compare::is_date(text) => json!(date),
        Value::Array(items) => items.iter().map(|it| with_date(it, date)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, it)| (key.clone(), with_date(it, date)))
            .collect(),
        _ => value.clone(),
    }
}

fn compare_branch(recorded: &[&Value], ours: &[&Value], place: &str) -> Result<(), Box<Mismatch>> {
    let types =
        |events: &[&Value]| -> Vec<Value> { events.iter().map(|it| it["type"].clone()).collect() };
    let (expected, actual) = (types(recorded), types(ours));
    if expected != actual {
        let what = format!("{place}: types");
        return Err(Mismatch::new(what, json!(expected), json!(actual)));
    }
    for (index, (recorded, ours)) in recorded.iter().zip(ours).enumerate() {
        let name = recorded["type"].as_str().unwrap_or_default();
        let place = format!("{place}, event {index} ({name})");
        if let Some(it) = compare::event_difference(recorded, ours, &place) {
            return Err(it);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
