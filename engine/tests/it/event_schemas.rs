//! Streams that take only what the published schemas of events allow: every world of these tests has them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use jsonschema::Validator;
use serde_json::Value;

use btrust_platform::streams::{Stream, StreamError, StreamRecord, Streams};
use btrust_schemas::events::{StreamName, json_files, kinds};

/// The schemas by their `$id`.
static SCHEMAS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let schemas = json_files().into_iter().map(|(_, text)| {
        let schema: Value = serde_json::from_str(&text).unwrap();
        let id = schema["$id"].as_str().unwrap().to_owned();
        (id, jsonschema::draft202012::new(&schema).unwrap())
    });
    schemas.collect()
});

/// Asserts that a record is an event of the table, on its stream, with the data that its schema says.
#[track_caller]
pub fn check(stream: Stream, bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    let event: Value = serde_json::from_str(text).unwrap();
    let kind = kinds().into_iter().find(|it| event["type"] == it.name);
    let kind = kind.unwrap_or_else(|| panic!("no event of the table: {text}"));
    let expected = match kind.stream {
        StreamName::Audit => Stream::Audit,
        StreamName::Analytics => Stream::Analytics,
    };
    assert_eq!(stream, expected, "{text}");
    assert_eq!(event["dataschema"], kind.schema_id(), "{text}");
    let errors: Vec<String> = SCHEMAS[&kind.schema_id()]
        .iter_errors(&event["data"])
        .map(|it| format!("{} at {}", it, it.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{text}");
}

/// Looks at everything before it is published.
pub struct CheckedStreams(pub Arc<dyn Streams>);

#[async_trait]
impl Streams for CheckedStreams {
    async fn append(&self, stream: Stream, records: &[StreamRecord]) -> Result<(), StreamError> {
        for record in records {
            check(stream, &record.bytes);
        }
        self.0.append(stream, records).await
    }
}
