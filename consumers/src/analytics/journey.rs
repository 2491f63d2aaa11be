//! A workflow's way through its funnel, as a pure function of its events.
//!
//! **Architecture invariant:** [`Journey::take`] maps (journey, event) to (journey, [`Counts`]) and does
//! nothing else; the projector stores both in one transaction with the mark of the event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::histogram::bucket;

/// What is not known of a group.
pub const UNKNOWN: &str = "unknown";
/// The state of a cell that is about the workflow as a whole.
pub const WHOLE: &str = "";
/// The step whose presence makes a decision one of people.
const REVIEW: &str = "kyc:review";
/// Longest name of a measure, in bytes; a longer error is cut.
pub const MEASURE_BYTES_MAX: usize = 160;

/// Longest device or language, in bytes.
///
/// Source: the columns of `funnel_group`.
const WORD_BYTES_MAX: usize = 16;

/// An hour, ms.
pub const HOUR_MS: i64 = 3_600_000;

/// Whom a number is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Group {
    pub tenant: String,
    pub definition: String,
    /// The version that the workflow was started on.
    pub version: i64,
    /// `phone`, `tablet`, `desktop`, `other`, or [`UNKNOWN`].
    pub device: String,
    pub language: String,
}

/// A number of a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The hour in which the workflow was started, ms since the epoch.
    pub hour_ms: i64,
    /// A state of the definition, or [`WHOLE`].
    pub state: String,
    /// What is counted; see [`Measure`].
    pub measure: String,
}

/// What is counted, and how it is spelled in a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure<'m> {
    /// Workflows begun.
    Started,
    /// Workflows ended, by status; one that is redriven is taken back.
    Closed(&'m str),
    /// Workflows ended with a decision.
    Decided(&'m str),
    /// The same, without a review on the way.
    DecidedAlone(&'m str),
    /// Workflows that were brought back from their failure.
    Redriven,
    /// Runs of a state begun, by step; its retries are not runs.
    Entered(&'m str),
    /// Attempts of a run after its first.
    Retried,
    /// Runs ended, by outcome; empty where a step has none.
    Outcome(&'m str),
    /// Attempts ended by an error.
    Error(&'m str),
    /// Runs that were under way when their workflow ended.
    DroppedOff,
    /// Places of runs among those of their workflow, added up.
    Place,
    /// Durations of workflows, or of runs with an outcome, by bucket.
    Lasted(i64),
}

impl<'m> Measure<'m> {
    fn text(self) -> String {
        let mut text = match self {
            Self::Started => "started".to_owned(),
            Self::Closed(status) => format!("closed:{status}"),
            Self::Decided(decision) => format!("decided:{decision}"),
            Self::DecidedAlone(decision) => format!("alone:{decision}"),
            Self::Redriven => "redriven".to_owned(),
            Self::Entered(step) => format!("entered:{step}"),
            Self::Retried => "retried".to_owned(),
            Self::Outcome(outcome) => format!("outcome:{outcome}"),
            Self::Error(error) => format!("error:{error}"),
            Self::DroppedOff => "dropped".to_owned(),
            Self::Place => "place".to_owned(),
            Self::Lasted(bucket) => format!("ms:{bucket}"),
        };
        text.truncate(text.floor_char_boundary(MEASURE_BYTES_MAX));
        text
    }

    /// The measure of a cell; `None` for one of a later version of this program.
    #[must_use]
    pub fn parse(text: &'m str) -> Option<Self> {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        Some(match word {
            "started" => Self::Started,
            "closed" => Self::Closed(rest),
            "decided" => Self::Decided(rest),
            "alone" => Self::DecidedAlone(rest),
            "redriven" => Self::Redriven,
            "entered" => Self::Entered(rest),
            "retried" => Self::Retried,
            "outcome" => Self::Outcome(rest),
            "error" => Self::Error(rest),
            "dropped" => Self::DroppedOff,
            "place" => Self::Place,
            "ms" => Self::Lasted(rest.parse().ok()?),
            _ => return None,
        })
    }
}

/// What is to be added to which cells.
pub type Counts = BTreeMap<(Group, Cell), i64>;

/// Data of an event of the analytics stream, as far as funnels need it.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    pub definition: String,
    pub version: i64,
    pub language: Option<String>,
    pub device: Option<String>,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub resource: String,
    pub outcome: Option<String>,
    pub error: Option<String>,
    #[serde(default)]
    pub attempt: i64,
    #[serde(default)]
    pub duration_ms: i64,
    pub status: Option<String>,
    pub decision: Option<String>,
}

/// What is remembered of a workflow between its events.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journey {
    group: Group,
    hour_ms: i64,
    #[serde(default)]
    is_reviewed: bool,
    /// Attempts under way, by state.
    #[serde(default)]
    open: BTreeMap<String, i64>,
    #[serde(default)]
    n_entered: i64,
    /// How it has ended, and the bucket of how long it took.
    #[serde(default)]
    closed: Option<(String, i64)>,
    /// Everything that was counted of it, as long as its device may still become known: an applicant's first
    /// answer comes after the start, which is then counted for that device.
    #[serde(default)]
    movable: Option<Vec<(String, String, i64)>>,
}

impl Journey {
    /// The journey of a workflow that is heard of for the first time.
    #[must_use]
    pub fn begin(tenant: &str, at_ms: i64, data: &Data) -> Self {
        let known = |it: &Option<String>| {
            let word = it.as_deref().filter(|it| is_word(it));
            word.unwrap_or(UNKNOWN).to_owned()
        };
        let group = Group {
            tenant: tenant.to_owned(),
            definition: data.definition.clone(),
            version: data.version,
            device: known(&data.device),
            language: known(&data.language),
        };
        Self {
            movable: (group.device == UNKNOWN).then(Vec::new),
            group,
            hour_ms: at_ms - at_ms.rem_euclid(HOUR_MS),
            is_reviewed: false,
            open: BTreeMap::new(),
            n_entered: 0,
            closed: None,
        }
    }

    /// Counts an event; every one of a workflow once, in their order.
    pub fn take(&mut self, kind: &str, data: &Data, counts: &mut Counts) {
        if let Some(device) = data.device.as_deref().filter(|it| is_word(it)) {
            self.learn_device(device, counts);
        }
        match kind {
            "com.btrust.workflow.started" => self.count(WHOLE, Measure::Started, 1, counts),
            "com.btrust.step.started" => self.step_started(data, counts),
            "com.btrust.step.finished" => self.step_finished(data, counts),
            "com.btrust.workflow.closed" => self.close(data, counts),
            "com.btrust.workflow.redriven" => self.redrive(counts),
            _ => {}
        }
    }

    fn step_started(&mut self, data: &Data, counts: &mut Counts) {
        let state = data.state.as_str();
        *self.open.entry(state.to_owned()).or_default() += 1;
        if is_review(&data.resource) {
            self.is_reviewed = true;
        }
        if 1 < data.attempt {
            self.count(state, Measure::Retried, 1, counts);
            return;
        }
        self.n_entered += 1;
        self.count(state, Measure::Entered(&data.resource), 1, counts);
        self.count(state, Measure::Place, self.n_entered, counts);
    }

    fn step_finished(&mut self, data: &Data, counts: &mut Counts) {
        let state = data.state.as_str();
        if let Some(n_open) = self.open.get_mut(state) {
            *n_open -= 1;
            if *n_open <= 0 {
                self.open.remove(state);
            }
        }
        if let Some(error) = &data.error {
            self.count(state, Measure::Error(error), 1, counts);
            return;
        }
        let outcome = data.outcome.as_deref().unwrap_or_default();
        self.count(state, Measure::Outcome(outcome), 1, counts);
        let lasted = Measure::Lasted(bucket(data.duration_ms));
        self.count(state, lasted, 1, counts);
    }

    fn close(&mut self, data: &Data, counts: &mut Counts) {
        let status = data.status.as_deref().unwrap_or(UNKNOWN);
        let lasted = bucket(data.duration_ms);
        self.count(WHOLE, Measure::Closed(status), 1, counts);
        self.count(WHOLE, Measure::Lasted(lasted), 1, counts);
        if let Some(decision) = &data.decision {
            self.count(WHOLE, Measure::Decided(decision), 1, counts);
            if !self.is_reviewed {
                self.count(WHOLE, Measure::DecidedAlone(decision), 1, counts);
            }
        }
        for (state, n_open) in std::mem::take(&mut self.open) {
            self.count(&state, Measure::DroppedOff, n_open, counts);
        }
        self.closed = Some((status.to_owned(), lasted));
        self.movable = None;
    }

    /// A workflow that goes on has not ended; the runs that its failure cut off have.
    fn redrive(&mut self, counts: &mut Counts) {
        self.count(WHOLE, Measure::Redriven, 1, counts);
        if let Some((status, lasted)) = self.closed.take() {
            self.count(WHOLE, Measure::Closed(&status), -1, counts);
            self.count(WHOLE, Measure::Lasted(lasted), -1, counts);
        }
    }

    /// Moves what was counted to the device on which the applicant has turned out to be.
    fn learn_device(&mut self, device: &str, counts: &mut Counts) {
        let Some(movable) = self.movable.take() else {
            return;
        };
        let before = self.group.clone();
        device.clone_into(&mut self.group.device);
        for (state, measure, n) in movable {
            let hour_ms = self.hour_ms;
            let cell = Cell {
                hour_ms,
                state,
                measure,
            };
            *counts.entry((before.clone(), cell.clone())).or_default() -= n;
            *counts.entry((self.group.clone(), cell)).or_default() += n;
        }
    }

    fn count(&mut self, state: &str, measure: Measure<'_>, n: i64, counts: &mut Counts) {
        let measure = measure.text();
        if let Some(movable) = &mut self.movable {
            let known = movable
                .iter_mut()
                .find(|it| it.0 == state && it.1 == measure);
            match known {
                Some(known) => known.2 += n,
                None => movable.push((state.to_owned(), measure.clone(), n)),
            }
        }
        let cell = Cell {
            hour_ms: self.hour_ms,
            state: state.to_owned(),
            measure,
        };
        *counts.entry((self.group.clone(), cell)).or_default() += n;
    }
}

/// Whether a word of ours: a device or a language is nothing longer.
fn is_word(text: &str) -> bool {
    let is_of_words = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
    !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(is_of_words)
}

/// Whether a resource is a review, of whatever version.
fn is_review(resource: &str) -> bool {
    resource.split('@').next() == Some(REVIEW)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data(json: serde_json::Value) -> Data {
        let mut all = serde_json::json!({ "definition": "d", "version": 3, "language": "he" });
        for (name, value) in json.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    /// What a story leaves in the cells: `device state measure`, without what is zero.
    fn tell(story: &[(&str, serde_json::Value)]) -> BTreeMap<String, i64> {
        let mut journey = None;
        let mut counts = Counts::new();
        for (kind, json) in story {
            let data = data(json.clone());
            let journey = journey.get_or_insert_with(|| Journey::begin("t", HOUR_MS + 1, &data));
            journey.take(&format!("com.btrust.{kind}"), &data, &mut counts);
            // As it is stored and read again.
            let text = serde_json::to_string(journey).unwrap();
            *journey = serde_json::from_str(&text).unwrap();
        }
        let name = |(group, cell): (Group, Cell)| {
            assert_eq!((cell.hour_ms, group.version), (HOUR_MS, 3));
            format!("{} {} {}", group.device, cell.state, cell.measure)
        };
        let counts = counts.into_iter().filter(|(_, n)| *n != 0);
        counts.map(|(key, n)| (name(key), n)).collect()
    }

    #[track_caller]
    fn check(story: &[(&str, serde_json::Value)], expected: &[(&str, i64)]) {
        let expected = expected.iter().map(|(name, n)| ((*name).to_owned(), *n));
        assert_eq!(tell(story), expected.collect());
    }

    #[test]
    fn a_workflow_that_is_decided_alone_is_counted_from_start_to_end() {
        check(
            &[
                ("workflow.started", json!({})),
                (
                    "step.started",
                    json!({ "state": "Otp", "resource": "kyc:otp@1", "attempt": 1 }),
                ),
                (
                    "step.finished",
                    json!({ "state": "Otp", "outcome": "verified", "durationMs": 7 }),
                ),
                (
                    "workflow.closed",
                    json!({ "status": "succeeded", "decision": "approved", "durationMs": 9 }),
                ),
            ],
            &[
                ("unknown  alone:approved", 1),
                ("unknown  closed:succeeded", 1),
                ("unknown  decided:approved", 1),
                ("unknown  ms:9", 1),
                ("unknown  started", 1),
                ("unknown Otp entered:kyc:otp@1", 1),
                ("unknown Otp ms:7", 1),
                ("unknown Otp outcome:verified", 1),
                ("unknown Otp place", 1),
            ],
        );
    }

    #[test]
    fn a_device_that_becomes_known_takes_everything_with_it() {
        check(
            &[
                ("workflow.started", json!({})),
                (
                    "step.started",
                    json!({ "state": "Otp", "resource": "kyc:otp@1", "attempt": 1 }),
                ),
                (
                    "step.finished",
                    json!({ "state": "Otp", "outcome": "verified", "durationMs": 7, "device": "phone" }),
                ),
                // A second device does not change whose funnel it is.
                (
                    "workflow.closed",
                    json!({ "status": "failed", "durationMs": 9, "device": "desktop" }),
                ),
            ],
            &[
                ("phone  closed:failed", 1),
                ("phone  ms:9", 1),
                ("phone  started", 1),
                ("phone Otp entered:kyc:otp@1", 1),
                ("phone Otp ms:7", 1),
                ("phone Otp outcome:verified", 1),
                ("phone Otp place", 1),
            ],
        );
    }

    #[test]
    fn retries_are_no_entries_and_what_is_cut_off_has_dropped_off() {
        let start = |attempt: i64| {
            let step = json!({ "state": "Review", "resource": "kyc:review@2", "attempt": attempt });
            ("step.started", step)
        };
        let closed = |status: &str| {
            (
                "workflow.closed",
                json!({ "status": status, "durationMs": 9 }),
            )
        };
        check(
            &[
                start(1),
                (
                    "step.finished",
                    json!({ "state": "Review", "error": "States.Timeout" }),
                ),
                start(2),
                closed("failed"),
                ("workflow.redriven", json!({})),
                (
                    "workflow.closed",
                    json!({ "status": "succeeded", "decision": "approved", "durationMs": 10 }),
                ),
            ],
            &[
                ("unknown  closed:succeeded", 1),
                ("unknown  decided:approved", 1),
                ("unknown  ms:10", 1),
                ("unknown  redriven", 1),
                ("unknown Review dropped", 1),
                ("unknown Review entered:kyc:review@2", 1),
                ("unknown Review error:States.Timeout", 1),
                ("unknown Review place", 1),
                ("unknown Review retried", 1),
            ],
        );
    }

    #[test]
    fn every_measure_survives_its_text_form() {
        for measure in [
            Measure::Started,
            Measure::Closed("timed_out"),
            Measure::Decided("approved"),
            Measure::DecidedAlone("approved"),
            Measure::Redriven,
            Measure::Entered("kyc:otp@1"),
            Measure::Retried,
            Measure::Outcome(""),
            Measure::Error("My.Error:with colons"),
            Measure::DroppedOff,
            Measure::Place,
            Measure::Lasted(17),
        ] {
            assert_eq!(Measure::parse(&measure.text()), Some(measure));
        }
        assert_eq!(Measure::parse("something-new"), None);
        let long = "ä".repeat(MEASURE_BYTES_MAX);
        assert!(Measure::Error(&long).text().len() <= MEASURE_BYTES_MAX);
    }
}
