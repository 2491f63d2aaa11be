//! Mocked task results, in the format of Step Functions' mocked service integrations.
//!
//! `workflows/README.md` describes the format, with what is ours.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Answer, Expectation, SimulateError};
use crate::command::TurnResult;
use crate::effect::OpenTurn;
use crate::limits::SECONDS_MAX;
use crate::payload::Payload;

/// Why a mocks file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {detail}")]
pub struct MockError {
    /// Where in the file, as a JSON pointer.
    pub place: String,
    pub detail: String,
}

/// A mocks file: one or more test cases.
#[derive(Clone, Debug, PartialEq)]
pub struct MockFile {
    pub cases: Vec<TestCase>,
}

/// One test case of a mocks file.
#[derive(Clone, Debug, PartialEq)]
pub struct TestCase {
    /// The state machine that the case belongs to; none in the short form.
    pub state_machine: Option<String>,
    /// `default` in the short form.
    pub name: String,
    /// Takes the place of the input that is given beside the file.
    pub input: Option<Payload>,
    pub mocks: Mocks,
    pub expect: Option<Expectation>,
}

/// What every mocked state answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mocks {
    states: BTreeMap<String, Responses>,
    signals: Vec<SentSignal>,
}

/// A signal that somebody sends to the workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct SentSignal {
    /// Since the start of the workflow.
    pub after_ms: i64,
    pub name: String,
    pub payload: Payload,
}

/// The answers of one state.
#[derive(Clone, Debug, PartialEq)]
enum Responses {
    /// By the number of the call, from 0; each entry says the last call that it is for.
    Numbered(BTreeMap<u32, (u32, Mock)>),
    /// The same for every call.
    Always(Mock),
}

/// One mocked answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mock {
    pub delay_ms: i64,
    pub reply: MockReply,
}

/// What a mocked task does.
#[derive(Clone, Debug, PartialEq)]
pub enum MockReply {
    Return(Payload),
    Throw {
        error: String,
        cause: String,
    },
    /// It never answers.
    Timeout,
}

impl MockFile {
    /// Reads a mocks file in its whole form or in the short one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place.
    pub fn parse(json: &Value) -> Result<Self, MockError> {
        let fields = object(json, "")?;
        let Some(machines) = fields.get("StateMachines") else {
            let case = parse_case(fields, "", &Map::new())?;
            return Ok(Self { cases: vec![case] });
        };
        only(fields, "", &["StateMachines", "MockedResponses"])?;
        let no_responses = Map::new();
        let responses = match fields.get("MockedResponses") {
            Some(it) => object(it, "/MockedResponses")?,
            None => &no_responses,
        };
        let mut cases = Vec::new();
        for (machine, it) in object(machines, "/StateMachines")? {
            let place = crate::finding::at("/StateMachines", machine);
            let it = object(it, &place)?;
            only(it, &place, &["TestCases"])?;
            let place = format!("{place}/TestCases");
            let Some(test_cases) = it.get("TestCases") else {
                return Err(wrong(&place, "is missing"));
            };
            for (name, it) in object(test_cases, &place)? {
                let place = crate::finding::at(&place, name);
                let case = parse_case(object(it, &place)?, &place, responses)?;
                cases.push(TestCase {
                    state_machine: Some(machine.clone()),
                    name: name.clone(),
                    ..case
                });
            }
        }
        if cases.is_empty() {
            return Err(wrong("/StateMachines", "has no test case"));
        }
        Ok(Self { cases })
    }
}

fn parse_case(
    fields: &Map<String, Value>,
    place: &str,
    responses: &Map<String, Value>,
) -> Result<TestCase, MockError> {
    let mut case = TestCase {
        state_machine: None,
        name: "default".to_owned(),
        input: None,
        mocks: Mocks::default(),
        expect: None,
    };
    for (key, it) in fields {
        let place = crate::finding::at(place, key);
        match (key.as_str(), it) {
            ("Expect", Value::Object(_)) => case.expect = Some(Expectation::parse(it, &place)?),
            ("Signals", Value::Array(signals)) => {
                for (index, it) in signals.iter().enumerate() {
                    let signal = parse_signal(it, &format!("{place}/{index}"))?;
                    case.mocks.signals.push(signal);
                }
            }
            ("Input", Value::Object(_)) => case.input = Some(it.clone().into()),
            (state, Value::String(response)) => {
                let Some(it) = responses.get(response) else {
                    let detail = format!("there is no mocked response `{response}`");
                    return Err(wrong(&place, &detail));
                };
                let place = crate::finding::at("/MockedResponses", response);
                let parsed = Responses::parse(it, &place)?;
                case.mocks.states.insert(state.to_owned(), parsed);
            }
            (state, it) => {
                let parsed = Responses::parse(it, &place)?;
                case.mocks.states.insert(state.to_owned(), parsed);
            }
        }
    }
    Ok(case)
}

fn parse_signal(json: &Value, place: &str) -> Result<SentSignal, MockError> {
    let fields = object(json, place)?;
    only(fields, place, &["Name", "After", "Payload"])?;
    let Some(name) = fields.get("Name").and_then(Value::as_str) else {
        return Err(wrong(&format!("{place}/Name"), "must be a text"));
    };
    let payload = fields.get("Payload").cloned();
    Ok(SentSignal {
        after_ms: parse_after(fields, place)?,
        name: name.to_owned(),
        payload: payload.unwrap_or_else(|| Value::Object(Map::new())).into(),
    })
}

/// `After`, in seconds.
fn parse_after(fields: &Map<String, Value>, place: &str) -> Result<i64, MockError> {
    match fields.get("After").map(Value::as_f64) {
        None => Ok(0),
        Some(Some(seconds)) if 0.0 <= seconds && milliseconds(seconds) <= SECONDS_MAX * 1000 => {
            Ok(milliseconds(seconds))
        }
        Some(_) => Err(wrong(&format!("{place}/After"), "must be seconds")),
    }
}

impl Responses {
    fn parse(json: &Value, place: &str) -> Result<Self, MockError> {
        let mut numbered = BTreeMap::new();
        if let Value::Array(items) = json {
            for (index, it) in (0_u32..).zip(items) {
                let mock = Mock::parse(it, &format!("{place}/{index}"))?;
                numbered.insert(index, (index, mock));
            }
            return Ok(Self::Numbered(numbered));
        }
        let fields = object(json, place)?;
        if fields.keys().any(|it| Mock::FIELDS.contains(&it.as_str())) {
            return Ok(Self::Always(Mock::parse(json, place)?));
        }
        for (key, it) in fields {
            let place = crate::finding::at(place, key);
            let Some((first, last)) = range(key) else {
                return Err(wrong(
                    &place,
                    "must be a number such as `0` or a range such as `1-2`",
                ));
            };
            let overlaps = numbered
                .iter()
                .any(|(from, (to, _))| *from <= last && first <= *to);
            if overlaps {
                return Err(wrong(&place, "overlaps with another entry"));
            }
            numbered.insert(first, (last, Mock::parse(it, &place)?));
        }
        Ok(Self::Numbered(numbered))
    }

    /// The answer to the call with this number.
    fn get(&self, number: u32) -> Option<&Mock> {
        match self {
            Self::Always(mock) => Some(mock),
            Self::Numbered(entries) => {
                let (_, (last, mock)) = entries.range(..=number).next_back()?;
                (number <= *last).then_some(mock)
            }
        }
    }
}

/// Reads `3` and `1-2`.
fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

impl Mock {
    const FIELDS: [&'static str; 4] = ["Return", "Throw", "Timeout", "After"];

    fn parse(json: &Value, place: &str) -> Result<Self, MockError> {
        let fields = object(json, place)?;
        only(fields, place, &Self::FIELDS)?;
        let delay_ms = parse_after(fields, place)?;
        let given = (
            fields.get("Return"),
            fields.get("Throw"),
            fields.get("Timeout"),
        );
        let reply = match given {
            (Some(output), None, None) => MockReply::Return(output.clone().into()),
            (None, Some(it), None) => parse_throw(it, &format!("{place}/Throw"))?,
            (None, None, Some(Value::Bool(true))) => MockReply::Timeout,
            _ => {
                let detail = "must have one of `Return`, `Throw` and `\"Timeout\": true`";
                return Err(wrong(place, detail));
            }
        };
        Ok(Self { delay_ms, reply })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn parse_throw(json: &Value, place: &str) -> Result<MockReply, MockError> {
    let fields = object(json, place)?;
    only(fields, place, &["Error", "Cause"])?;
    let text = |key: &str| match fields.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&format!("{place}/{key}"), "must be a text")),
    };
    let Some(error) = text("Error")? else {
        return Err(wrong(place, "must have `Error`"));
    };
    let cause = text("Cause")?.unwrap_or_default();
    Ok(MockReply::Throw { error, cause })
}

impl Mocks {
    /// The names of the states that have a mock.
    pub fn states(&self) -> impl Iterator<Item = &str> {
        self.states.keys().map(String::as_str)
    }

    pub(super) fn signals(&self) -> &[SentSignal] {
        &self.signals
    }

    pub(super) fn player(&self) -> Player<'_> {
        Player {
            mocks: self,
            n_calls: BTreeMap::new(),
            runs: BTreeMap::new(),
        }
    }
}

/// How the resources of our own steps begin.
const STEPS: &str = "kyc:";

/// Plays the answers of each state in their order.
pub(super) struct Player<'a> {
    mocks: &'a Mocks,
    n_calls: BTreeMap<String, u32>,
    /// The tasks of each state, in the order of their first turns.
    runs: BTreeMap<String, Vec<u32>>,
}

impl Player<'_> {
    /// Answers a turn; every attempt of a state, whichever run it belongs to, is one call.
    pub fn answer(&mut self, turn: &OpenTurn) -> Result<Answer, SimulateError> {
        let state = &turn.state_name;
        let runs = self.runs.entry(state.clone()).or_default();
        if !runs.contains(&turn.task) {
            runs.push(turn.task);
        }
        let run = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let calls = self.n_calls.entry(state.clone()).or_default();
        let number = *calls;
        *calls += 1;
        let missing = |detail: String| SimulateError::MockMissing {
            state: state.clone(),
            run,
            attempt: turn.attempt,
            detail,
        };
        let Some(responses) = self.mocks.states.get(state) else {
            return Err(missing("the state is not mocked".to_owned()));
        };
        let Some(mock) = responses.get(number) else {
            return Err(missing(format!("there is no entry `{number}`")));
        };
        let result = match &mock.reply {
            MockReply::Timeout => return Ok(Answer::default()),
            MockReply::Throw { error, cause } => TurnResult::Fail {
                error: error.clone(),
                cause: cause.clone(),
            },
            MockReply::Return(value) => returned(turn, value)?,
        };
        Ok(Answer {
            delay_ms: mock.delay_ms,
            result: Some(result),
            is_refused: false,
        })
    }
}

/// What a `Return` means for the task: a step has an outcome, any other resource an output.
fn returned(turn: &OpenTurn, value: &Payload) -> Result<TurnResult, SimulateError> {
    if !turn.resource.starts_with(STEPS) {
        let output = value.clone();
        return Ok(TurnResult::Output { output });
    }
    let unfit = |detail: &str| SimulateError::MockUnfit {
        state: turn.state_name.clone(),
        detail: detail.to_owned(),
    };
    let Some(fields) = value.as_object() else {
        return Err(unfit("`Return` of a step is `{\"outcome\", \"output\"}`"));
    };
    if fields.keys().any(|it| it != "outcome" && it != "output") {
        return Err(unfit(
            "`Return` of a step has no other fields than `outcome` and `output`",
        ));
    }
    let Some(outcome) = fields.get("outcome").and_then(Value::as_str) else {
        return Err(unfit("`Return` of a step must have an `outcome`"));
    };
    let output = fields.get("output").cloned();
    Ok(TurnResult::Complete {
        outcome: outcome.to_owned(),
        output: output.unwrap_or_else(|| Value::Object(Map::new())).into(),
    })
}

pub(super) fn wrong(place: &str, detail: &str) -> MockError {
    let place = if place.is_empty() { "/" } else { place };
    MockError {
        place: place.to_owned(),
        detail: detail.to_owned(),
    }
}

pub(super) fn object<'a>(
    json: &'a Value,
    place: &str,
) -> Result<&'a Map<String, Value>, MockError> {
    json.as_object()
        .ok_or_else(|| wrong(place, "must be an object"))
}

/// Refuses fields that nobody reads.
pub(super) fn only(
    fields: &Map<String, Value>,
    place: &str,
    known: &[&str],
) -> Result<(), MockError> {
    match fields.keys().find(|it| !known.contains(&it.as_str())) {
        None => Ok(()),
        Some(key) => {
            let detail = format!("is not known; known are {}", known.join(", "));
            Err(wrong(&crate::finding::at(place, key), &detail))
        }
    }
}
