//! What a test case expects of its workflow.

use serde_json::{Map, Value};

use super::mocks::{object, only, wrong};
use super::{MockError, Simulation};
use crate::event::EventKind;
use crate::state::Status;

/// The expectations of one test case; what is absent is not compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expectation {
    status: Option<String>,
    decision: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    output: Option<Value>,
    /// The states in the order in which they are entered; `...` stands for any number of them.
    path: Option<Vec<String>>,
    /// What the workflow holds at its end, in any order.
    evidence: Option<Vec<String>>,
    /// How long the workflow takes.
    seconds: Option<f64>,
}

const FIELDS: [&str; 8] = [
    "status", "decision", "error", "cause", "output", "path", "evidence", "seconds",
];

/// Stands for any number of states in a path.
const ANY_STATES: &str = "...";

impl Expectation {
    pub(super) fn parse(json: &Value, place: &str) -> Result<Self, MockError> {
        let fields = object(json, place)?;
        only(fields, place, &FIELDS)?;
        let expectation = Self {
            status: text(fields, "status", place)?,
            decision: text(fields, "decision", place)?,
            error: text(fields, "error", place)?,
            cause: text(fields, "cause", place)?,
            output: fields.get("output").cloned(),
            path: texts(fields, "path", place)?,
            evidence: texts(fields, "evidence", place)?,
            seconds: match fields.get("seconds").map(Value::as_f64) {
                None => None,
                Some(Some(seconds)) => Some(seconds),
                Some(None) => return Err(wrong(&format!("{place}/seconds"), "must be a number")),
            },
        };
        let known = [
            "succeeded",
            "failed",
            "timed_out",
            "cancelled",
            "terminated",
        ];
        match &expectation.status {
            Some(status) if !known.contains(&status.as_str()) => {
                let detail = format!("must be one of {}", known.join(", "));
                Err(wrong(&format!("{place}/status"), &detail))
            }
            _ => Ok(expectation),
        }
    }

    /// Every expectation that the workflow has not met, as sentences.
    #[must_use]
    pub fn violations(&self, simulation: &Simulation) -> Vec<String> {
        let state = &simulation.state;
        let mut violations = Vec::new();
        let texts = [
            ("status", &self.status, Some(status_word(state.status()))),
            ("decision", &self.decision, state.decision()),
            ("error", &self.error, state.error()),
            ("cause", &self.cause, state.cause()),
        ];
        for (what, expected, found) in texts {
            if let Some(expected) = expected
                && found != Some(expected)
            {
                let found = found.map_or("none".to_owned(), |it| format!("`{it}`"));
                violations.push(format!("{what} is {found}, expected `{expected}`"));
            }
        }
        if let Some(expected) = &self.output {
            let found = state.output().map_or(&Value::Null, |it| &**it);
            if let Some(difference) = missing_from(found, expected, "output") {
                violations.push(difference);
            }
        }
        if let Some(expected) = &self.path {
            let path = path(simulation);
            if !fits(&path, expected) {
                violations.push(format!(
                    "path is {}, expected {}",
                    path.join(" "),
                    expected.join(" ")
                ));
            }
        }
        if let Some(expected) = &self.evidence {
            let (mut found, mut expected) = (state.evidence().to_vec(), expected.clone());
            found.sort();
            expected.sort();
            if found != expected {
                violations.push(format!("evidence is {found:?}, expected {expected:?}"));
            }
        }
        if let (Some(expected), Some(closed_ms)) = (self.seconds, state.closed_ms()) {
            #[expect(clippy::cast_precision_loss, reason = "a span of years is exact")]
            let seconds = (closed_ms - state.started_ms()) as f64 / 1000.0;
            // Expectations are written with three digits at most.
            if 0.0005 < (seconds - expected).abs() {
                violations.push(format!("it took {seconds} s, expected {expected} s"));
            }
        }
        violations
    }
}

/// The status as the API spells it.
#[must_use]
pub fn status_word(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::TimedOut => "timed_out",
        Status::Cancelled => "cancelled",
        Status::Continued => "continued",
        Status::Terminated => "terminated",
    }
}

/// The states in the order in which they were entered.
fn path(simulation: &Simulation) -> Vec<&str> {
    let entered = simulation.events.iter().filter_map(|it| match &it.kind {
        EventKind::StateEntered { name, .. } => Some(name.as_str()),
        _ => None,
    });
    entered.collect()
}

/// Whether a path is one of those that the pattern stands for.
fn fits(path: &[&str], pattern: &[String]) -> bool {
    // One row of the classic table: which prefixes of the path the pattern read so far stands for.
    let mut reach = vec![false; path.len() + 1];
    reach[0] = true;
    for it in pattern {
        if it == ANY_STATES {
            if let Some(first) = reach.iter().position(|it| *it) {
                reach[first..].fill(true);
            }
            continue;
        }
        for index in (1..=path.len()).rev() {
            reach[index] = reach[index - 1] && path[index - 1] == it;
        }
        reach[0] = false;
    }
    reach[path.len()]
}

/// Where `found` lacks something of `expected`; objects may have more fields than expected.
fn missing_from(found: &Value, expected: &Value, place: &str) -> Option<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected.iter().find_map(|(key, it)| {
            let found = found.get(key).unwrap_or(&Value::Null);
            missing_from(found, it, &format!("{place}.{key}"))
        }),
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            let pairs = found.iter().zip(expected).enumerate();
            pairs.into_iter().find_map(|(index, (found, it))| {
                missing_from(found, it, &format!("{place}[{index}]"))
            })
        }
        _ if crate::expression::equal(found, expected) => None,
        _ => Some(format!("{place} is {found}, expected {expected}")),
    }
}

fn text(fields: &Map<String, Value>, key: &str, place: &str) -> Result<Option<String>, MockError> {
    match fields.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&format!("{place}/{key}"), "must be a text")),
    }
}

fn texts(
    fields: &Map<String, Value>,
    key: &str,
    place: &str,
) -> Result<Option<Vec<String>>, MockError> {
    let refused = || wrong(&format!("{place}/{key}"), "must be a list of texts");
    let Some(value) = fields.get(key) else {
        return Ok(None);
    };
    let items = value.as_array().ok_or_else(refused)?;
    let texts: Option<Vec<String>> = items
        .iter()
        .map(|it| it.as_str().map(str::to_owned))
        .collect();
    texts.map(Some).ok_or_else(refused)
}
