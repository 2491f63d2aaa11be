//! What consumers need of an event to know it again.

use std::borrow::Cow;

use serde::Deserialize;

use crate::clock::parse_rfc3339;

/// Whom and when an event is about, and its place among the events of its subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventHead {
    /// `<subject>.<incarnation>.<sequence>.<stream>`.
    pub id: String,
    /// `com.btrust.workflow.closed`, ...
    pub kind: String,
    pub tenant: String,
    /// A workflow, or what else has a sequence of its own.
    pub subject: String,
    /// Counts restores of the store that the event comes from, from 1.
    pub incarnation: i64,
    /// Gap-free for each subject and stream, from 1.
    pub sequence: i64,
    /// Ms since the epoch.
    pub at_ms: i64,
}

#[derive(Deserialize)]
struct Envelope<'e> {
    #[serde(borrow)]
    id: Cow<'e, str>,
    #[serde(borrow)]
    source: Cow<'e, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'e, str>,
    #[serde(borrow)]
    subject: Cow<'e, str>,
    #[serde(borrow)]
    time: Cow<'e, str>,
}

impl EventHead {
    /// Reads the members of a `CloudEvent` before its data; `None` for what is no event of ours.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).ok()?;
        let place = envelope.id.strip_prefix(&*envelope.subject)?;
        let (incarnation, rest) = place.strip_prefix('.')?.split_once('.')?;
        let (sequence, _stream) = rest.split_once('.')?;
        Some(Self {
            incarnation: incarnation.parse().ok()?,
            sequence: sequence.parse().ok()?,
            at_ms: parse_rfc3339(&envelope.time)?,
            tenant: envelope.source.strip_prefix("/tenants/")?.to_owned(),
            kind: envelope.kind.into_owned(),
            subject: envelope.subject.into_owned(),
            id: envelope.id.into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_its_place_among_those_of_its_subject() {
        let event = r#"{"specversion":"1.0","id":"wf_00.2.17.audit","source":"/tenants/t","type":"x.y","subject":"wf_00","time":"2026-01-31T23:59:59.123Z","data":{"id":"other"}}"#;
        let head = EventHead::read(event.as_bytes()).unwrap();
        assert_eq!((head.incarnation, head.sequence), (2, 17));
        assert_eq!(
            (head.subject.as_str(), head.tenant.as_str()),
            ("wf_00", "t")
        );
        assert_eq!(head.at_ms, 1_769_903_999_123);
        for wrong in ["wf_00.2.17.audit", "2.17", "2026-01-31", "/tenants/t"] {
            assert_eq!(
                EventHead::read(event.replace(wrong, "-").as_bytes()),
                None,
                "{wrong}"
            );
        }
    }
}
