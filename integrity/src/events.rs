//! Checkpoints as events of the audit stream, so that a reader of the stream alone can order its records.
//!
//! An event carries the note and the ids of the leaves since the checkpoint before, in order; what does
//! not fit into one event goes on in the next. They are about the log and are no leaves of it.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Origin;

/// The type of these events.
pub const CHECKPOINT: &str = "com.btrust.audit.checkpoint";
/// What their subject begins with; a workflow's or an act log's never does.
const SUBJECT: &str = "checkpoints_";
/// Ids of leaves in one event.
///
/// Source: an id has about 60 bytes, so that an event stays below 256 KiB.
pub const LEAVES_MAX: usize = 3_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    time: String,
    partitionkey: String,
    sequence: String,
    data: CheckpointChunk,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CheckpointChunk {
    pub tenant: String,
    pub incarnation: u64,
    /// Number of the checkpoint in its log.
    pub number: u64,
    pub size: u64,
    /// Base64.
    pub root: String,
    pub note: String,
    /// From 0.
    pub chunk: u64,
    pub n_chunks: u64,
    /// Ids of records in the order of the log, from where the chunk before has ended.
    pub leaves: Vec<String>,
}

/// A checkpoint that is to be told.
pub struct Told<'t> {
    pub origin: &'t Origin,
    pub number: u64,
    pub size: u64,
    pub root: String,
    pub note: &'t str,
    /// RFC 3339.
    pub time: &'t str,
    /// Number of the first of its events among those of its subject.
    pub sequence: u64,
    pub leaves: &'t [String],
}

/// Under which key and subject the events of a tenant's checkpoints are published.
#[must_use]
pub fn subject(tenant: &str) -> String {
    format!("{SUBJECT}{tenant}")
}

/// The events of a checkpoint, at least one, each a line of JSON.
///
/// # Panics
///
/// Never: an event is plain JSON.
#[must_use]
pub fn checkpoint_events(told: &Told<'_>) -> Vec<String> {
    let mut chunks: Vec<&[String]> = told.leaves.chunks(LEAVES_MAX).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    let n_chunks = chunks.len() as u64;
    let subject = subject(&told.origin.tenant);
    let event = |(chunk, leaves): (u64, &[String])| {
        let sequence = told.sequence + chunk;
        let event = Event {
            specversion: "1.0".to_owned(),
            id: format!("{subject}.{}.{sequence}.audit", told.origin.incarnation),
            source: format!("/tenants/{}", told.origin.tenant),
            kind: CHECKPOINT.to_owned(),
            subject: subject.clone(),
            time: told.time.to_owned(),
            partitionkey: subject.clone(),
            sequence: sequence.to_string(),
            data: CheckpointChunk {
                tenant: told.origin.tenant.clone(),
                incarnation: told.origin.incarnation,
                number: told.number,
                size: told.size,
                root: told.root.clone(),
                note: told.note.to_owned(),
                chunk,
                n_chunks,
                leaves: leaves.to_vec(),
            },
        };
        serde_json::to_string(&event).expect("an event is plain JSON")
    };
    (0..).zip(chunks).map(event).collect()
}

/// Reads a line of the stream if it is about a checkpoint: `None` for records, `Some(None)` for what only
/// looks like such an event.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Option<CheckpointChunk>> {
    let text = std::str::from_utf8(line).ok()?;
    if !text.contains("\"type\":\"com.btrust.audit.checkpoint\"") {
        return None;
    }
    let event: Option<Event> = serde_json::from_str(text).ok();
    let is_ours = |it: &Event| {
        it.kind == CHECKPOINT
            && it.subject == subject(&it.data.tenant)
            && serde_json::to_string(it).is_ok_and(|again| again == text)
    };
    Some(event.filter(is_ours).map(|it| it.data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_many_leaves_is_told_in_events_that_fit() {
        let origin = Origin {
            tenant: "acme".to_owned(),
            incarnation: 2,
        };
        let leaves: Vec<String> = (0..7_000)
            .map(|it| format!("wf_{it:032x}.1.{it}.audit"))
            .collect();
        let (note, time) = ("note\n", "2026-01-31T23:59:59.123Z");
        let told = Told {
            origin: &origin,
            number: 4,
            size: 9_000,
            root: String::new(),
            note,
            time,
            sequence: 11,
            leaves: &leaves,
        };
        let events = checkpoint_events(&told);
        assert_eq!(events.len(), 3);
        let mut again = Vec::new();
        for (at, event) in (0..).zip(&events) {
            assert!(event.len() < 256 * 1024);
            let chunk = parse(event.as_bytes()).unwrap().unwrap();
            assert_eq!((chunk.chunk, chunk.n_chunks, chunk.number), (at, 3, 4));
            again.extend(chunk.leaves);
        }
        assert_eq!(again, leaves);
        assert!(events[1].contains("\"id\":\"checkpoints_acme.2.12.audit\""));
        assert_eq!(
            parse(events[0].replace("\"size\":", "\"size\" :").as_bytes()),
            Some(None)
        );
        assert_eq!(parse(b"{\"type\":\"com.btrust.workflow.changed\"}"), None);
        assert_eq!(
            checkpoint_events(&Told {
                leaves: &[],
                ..told
            })
            .len(),
            1
        );
    }
}
