//! What a tenant is told: events of its webhooks, made of records of the audit stream.
//!
//! A body carries codes, ids and times, as the streams do, and nothing of the person.

use serde::{Deserialize, Serialize};

use btrust_platform::clock::{parse_rfc3339, rfc3339};
use btrust_schemas::ids::{PromptId, WorkflowId};

/// Type of the audit records that tell what a workflow did.
const WORKFLOW_CHANGED: &str = "com.btrust.workflow.changed";

/// Longest text of an event that a body repeats, in characters; what is longer is cut.
///
/// Source: names of states and errors are far shorter; so a body stays below [`BODY_BYTES_MAX`].
const TEXT_CHARS_MAX: usize = 256;
/// Largest body, in bytes.
///
/// Source: Standard Webhooks asks for less than 20 kB.
const BODY_BYTES_MAX: usize = 20_000;

/// What a call is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// A workflow has ended, and not by a failure: `status` says how, `decision` what was decided.
    Closed,
    /// A workflow cannot go on without somebody: `waitingFor` says who.
    Waiting,
    /// A workflow has ended by an error or its time limit.
    Failed,
    /// The owner of the endpoint wants to see that it works.
    Test,
}

impl Topic {
    /// What an endpoint can ask for.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Waiting, Self::Failed];

    /// How it is written in bodies, lists and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "workflow.closed",
            Self::Waiting => "workflow.waiting",
            Self::Failed => "workflow.failed",
            Self::Test => "webhook.test",
        }
    }

    /// The topic of a word that an endpoint can ask for.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// Something that tenants may want to hear of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    pub tenant: String,
    /// Names it for ever: the same event of a stream that is read again has the same one.
    pub source_id: String,
    pub topic: Topic,
    pub at_ms: i64,
    details: Details,
}

/// The `data` of a body.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<WorkflowId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The workflow that goes on from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<PromptId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_kind: Option<String>,
}

/// The parts of an audit record that count here.
#[derive(Deserialize)]
struct Record {
    id: String,
    source: String,
    subject: String,
    time: String,
    data: Changed,
}

/// Only what tells whether the rest is worth reading.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Changed {
    definition: String,
    version: u32,
    events: Vec<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    id: u64,
    #[serde(rename = "type")]
    kind: String,
    decision: Option<String>,
    error: Option<String>,
    next: Option<String>,
    state: Option<String>,
    audience: Option<String>,
    prompt: Option<u32>,
    /// Of the prompt, where `kind` is that of the event.
    #[serde(rename = "kind")]
    prompt_kind: Option<String>,
    code: Option<String>,
}

/// Why a record of the audit stream cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record is not a CloudEvent of this program")]
    Shape(#[from] serde_json::Error),
    #[error("the record's {0} is not one")]
    Field(&'static str),
}

/// What tenants may want to hear of in a record of the audit stream, in order; records about anything but
/// workflows have nothing.
///
/// # Errors
///
/// [`RecordError`]; the record was written by a newer program or is damaged.
pub fn happenings(record: &[u8]) -> Result<Vec<Happening>, RecordError> {
    let head: Head = serde_json::from_slice(record)?;
    if head.kind != WORKFLOW_CHANGED {
        return Ok(Vec::new());
    }
    let record: Record = serde_json::from_slice(record)?;
    let tenant = record.source.strip_prefix("/tenants/");
    let tenant = tenant.ok_or(RecordError::Field("source"))?;
    let workflow: WorkflowId = record
        .subject
        .parse()
        .map_err(|_| RecordError::Field("subject"))?;
    let at_ms = parse_rfc3339(&record.time).ok_or(RecordError::Field("time"))?;
    let mut found = Vec::new();
    for event in record.data.events {
        let source_id = format!("{}/{}", record.id, event.id);
        let event = event.shortened();
        let Some((topic, details)) = told(workflow, event) else {
            continue;
        };
        let details = Details {
            workflow: Some(workflow),
            definition: Some(record.data.definition.clone()),
            version: Some(record.data.version),
            ..details
        };
        found.push(Happening {
            tenant: tenant.to_owned(),
            source_id,
            topic,
            at_ms,
            details,
        });
    }
    Ok(found)
}

/// What is told of an event of history, if anything.
fn told(workflow: WorkflowId, event: Summary) -> Option<(Topic, Details)> {
    let ended = |status| Details {
        status: Some(status),
        ..Details::default()
    };
    let waits = |for_whom: String| Details {
        status: Some("running"),
        waiting_for: Some(for_whom),
        state: event.state.clone(),
        ..Details::default()
    };
    let operator = || "operator".to_owned();
    Some(match event.kind.as_str() {
        "ExecutionSucceeded" => {
            let decision = event.decision;
            (
                Topic::Closed,
                Details {
                    decision,
                    ..ended("succeeded")
                },
            )
        }
        "ExecutionAborted" => (Topic::Closed, ended("cancelled")),
        "ExecutionTerminated" => (Topic::Closed, ended("terminated")),
        "ExecutionContinued" => {
            let next = event.next;
            (
                Topic::Closed,
                Details {
                    next,
                    ..ended("continued")
                },
            )
        }
        "ExecutionFailed" => {
            let error = event.error;
            (
                Topic::Failed,
                Details {
                    error,
                    ..ended("failed")
                },
            )
        }
        "ExecutionTimedOut" => (Topic::Failed, ended("timed_out")),
        "PromptOpened" => {
            let details = Details {
                prompt: event.prompt.map(|number| PromptId { workflow, number }),
                prompt_kind: event.prompt_kind.clone(),
                ..waits(event.audience.clone()?)
            };
            (Topic::Waiting, details)
        }
        "IncidentRaised" => {
            let error = event.code.clone();
            (
                Topic::Waiting,
                Details {
                    error,
                    ..waits(operator())
                },
            )
        }
        "WorkflowPaused" => (Topic::Waiting, waits(operator())),
        _ => return None,
    })
}

impl Summary {
    fn shortened(mut self) -> Self {
        for text in [
            &mut self.decision,
            &mut self.error,
            &mut self.next,
            &mut self.state,
            &mut self.audience,
            &mut self.prompt_kind,
            &mut self.code,
        ]
        .into_iter()
        .flatten()
        {
            let end = text.char_indices().nth(TEXT_CHARS_MAX);
            text.truncate(end.map_or(text.len(), |(at, _)| at));
        }
        self
    }
}

impl Happening {
    /// A call that the owner of an endpoint asks for.
    #[must_use]
    pub fn test(tenant: &str, source_id: String, at_ms: i64) -> Self {
        Self {
            tenant: tenant.to_owned(),
            source_id,
            topic: Topic::Test,
            at_ms,
            details: Details::default(),
        }
    }

    /// The workflow that it is about.
    #[must_use]
    pub fn workflow(&self) -> Option<WorkflowId> {
        self.details.workflow
    }

    /// The body of the call, which is the number `sequence` of its endpoint.
    #[must_use]
    pub fn body(&self, sequence: i64) -> String {
        #[derive(Serialize)]
        struct Body<'h> {
            #[serde(rename = "type")]
            topic: &'static str,
            timestamp: String,
            data: Data<'h>,
        }
        #[derive(Serialize)]
        struct Data<'h> {
            sequence: i64,
            #[serde(flatten)]
            details: &'h Details,
        }
        let body = Body {
            topic: self.topic.as_str(),
            timestamp: rfc3339(self.at_ms),
            data: Data {
                sequence,
                details: &self.details,
            },
        };
        let text = serde_json::to_string(&body).expect("codes, ids and numbers are JSON");
        debug_assert!(text.len() < BODY_BYTES_MAX, "texts are cut");
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const WORKFLOW: &str = "wf_0192aabbccdd00112233445566778899";

    fn record(events: Value) -> Vec<u8> {
        let record = json!({
            "specversion": "1.0", "id": format!("{WORKFLOW}.1.3.audit"), "source": "/tenants/bank",
            "type": "com.btrust.workflow.changed", "subject": WORKFLOW,
            "time": "2026-01-31T23:59:59.123Z", "partitionkey": WORKFLOW, "sequence": "3",
            "data": {
                "definition": "flow", "version": 2, "firstEvent": 1, "lastEvent": 9, "events": events,
                "sealedSha256": "00", "previousHash": "00", "hash": "00",
            },
        });
        serde_json::to_vec(&record).unwrap()
    }

    /// The type and the data that a record's only event becomes.
    #[track_caller]
    fn check(event: Value, topic: &str, expected: Value) {
        let found = happenings(&record(
            json!([{ "id": 8, "type": "PassStateEntered", "state": "A" }, event]),
        ));
        let found = found.unwrap();
        assert_eq!(found.len(), 1);
        let body: Value = serde_json::from_str(&found[0].body(7)).unwrap();
        let mut data =
            json!({ "sequence": 7, "workflow": WORKFLOW, "definition": "flow", "version": 2 });
        for (key, value) in expected.as_object().unwrap() {
            data[key] = value.clone();
        }
        assert_eq!(
            body,
            json!({ "type": topic, "timestamp": "2026-01-31T23:59:59.123Z", "data": data })
        );
    }

    #[test]
    fn every_way_to_end_is_told_once_with_its_status() {
        for (event, topic, data) in [
            (
                json!({ "type": "ExecutionSucceeded", "decision": "approved" }),
                "workflow.closed",
                json!({ "status": "succeeded", "decision": "approved" }),
            ),
            (
                json!({ "type": "ExecutionSucceeded", "decision": null }),
                "workflow.closed",
                json!({ "status": "succeeded" }),
            ),
            (
                json!({ "type": "ExecutionAborted", "by": "cli_1" }),
                "workflow.closed",
                json!({ "status": "cancelled" }),
            ),
            (
                json!({ "type": "ExecutionTerminated", "by": "cli_1" }),
                "workflow.closed",
                json!({ "status": "terminated" }),
            ),
            (
                json!({ "type": "ExecutionContinued", "next": "wf_2", "version": 3 }),
                "workflow.closed",
                json!({ "status": "continued", "next": "wf_2" }),
            ),
            (
                json!({ "type": "ExecutionFailed", "error": "Bank.Down" }),
                "workflow.failed",
                json!({ "status": "failed", "error": "Bank.Down" }),
            ),
            (
                json!({ "type": "ExecutionTimedOut" }),
                "workflow.failed",
                json!({ "status": "timed_out" }),
            ),
        ] {
            let mut event = event;
            event["id"] = json!(9);
            check(event, topic, data);
        }
    }

    #[test]
    fn whoever_is_waited_for_is_named() {
        check(
            json!({ "id": 9, "type": "PromptOpened", "state": "Ask", "prompt": 1, "audience": "applicant", "kind": "otp" }),
            "workflow.waiting",
            json!({
                "status": "running", "waitingFor": "applicant", "state": "Ask", "promptKind": "otp",
                "prompt": format!("prm_{}00000001", &WORKFLOW[3..]),
            }),
        );
        check(
            json!({ "id": 9, "type": "IncidentRaised", "state": "Ask", "task": [1, 1, 1], "code": "leases_lost" }),
            "workflow.waiting",
            json!({ "status": "running", "waitingFor": "operator", "state": "Ask", "error": "leases_lost" }),
        );
        check(
            json!({ "id": 9, "type": "WorkflowPaused", "by": "cli_1" }),
            "workflow.waiting",
            json!({ "status": "running", "waitingFor": "operator" }),
        );
    }

    #[test]
    fn the_same_event_has_the_same_name_however_often_it_is_read() {
        let events = json!([
            { "id": 8, "type": "PromptOpened", "state": "A", "prompt": 1, "audience": "reviewer", "kind": "k" },
            { "id": 9, "type": "PromptOpened", "state": "B", "prompt": 2, "audience": "reviewer", "kind": "k" },
        ]);
        let names = || -> Vec<String> {
            let found = happenings(&record(events.clone())).unwrap();
            found.into_iter().map(|it| it.source_id).collect()
        };
        assert_eq!(
            names(),
            [
                format!("{WORKFLOW}.1.3.audit/8"),
                format!("{WORKFLOW}.1.3.audit/9")
            ]
        );
        assert_eq!(names(), names());
    }

    #[test]
    fn records_of_other_things_have_nothing_to_tell_and_damaged_ones_are_refused() {
        assert_eq!(
            happenings(br#"{"type":"com.btrust.audit.checkpoint","data":{}}"#).unwrap(),
            []
        );
        assert!(happenings(b"not json").is_err());
        assert!(happenings(br#"{"type":"com.btrust.workflow.changed"}"#).is_err());
    }

    #[test]
    fn a_body_is_small_whatever_an_event_says() {
        let long = "\u{1f600}".repeat(100_000);
        let event = json!({ "id": 1, "type": "PromptOpened", "state": long, "error": long, "audience": long,
            "prompt": 1, "kind": long, "code": long, "decision": long, "next": long });
        let found = happenings(&record(json!([event]))).unwrap();
        assert!(found[0].body(i64::MAX).len() < BODY_BYTES_MAX);
    }

    #[test]
    fn an_endpoint_asks_for_topics_by_name() {
        assert_eq!(Topic::of("workflow.failed"), Some(Topic::Failed));
        assert_eq!(Topic::of("webhook.test"), None);
        assert_eq!(Topic::of("closed"), None);
    }
}
