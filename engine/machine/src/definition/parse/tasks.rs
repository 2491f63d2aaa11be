//! Parses `Task`.

use serde_json::{Map, Value};

use super::super::reader::Reader;
use super::super::states::{Compensation, TaskDef};
use super::kinds::{read_arguments, read_seconds};
use super::{COMPENSATION, KEEP, handlers, labels, paths};
use crate::catalogue::{CHILD_RESOURCE, SIGNAL, WAIT_FOR_TASK_TOKEN, split_resource};
use crate::finding::at;
use crate::limits::SECONDS_MAX;

pub(super) fn read(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<TaskDef> {
    let (resource, waits_for_token) = if names(fields, CHILD_RESOURCE) {
        (CHILD_RESOURCE.to_owned(), false)
    } else if names(fields, SIGNAL) {
        check_signal(reader, fields, pointer);
        (SIGNAL.to_owned(), false)
    } else {
        read_resource(reader, fields, pointer)?
    };
    let keep = fields
        .get(KEEP)
        .map(|it| reader.texts(it, &at(pointer, KEEP)))
        .unwrap_or_default();
    Some(TaskDef {
        resource,
        waits_for_token,
        outcomes: None,
        arguments: read_arguments(reader, fields, pointer),
        timeout: read_seconds(reader, fields, "TimeoutSeconds", pointer),
        heartbeat: read_seconds(reader, fields, "HeartbeatSeconds", pointer),
        handlers: handlers::read(reader, fields, pointer),
        keep,
        labels: labels::read(reader, fields, pointer),
        compensation: read_compensation(reader, fields, pointer).map(Box::new),
    })
}

fn names(fields: &Map<String, Value>, resource: &str) -> bool {
    fields.get("Resource").and_then(Value::as_str) == Some(resource)
}

/// Nobody works while a signal is waited for, so nobody beats and no outcome can be kept.
fn check_signal(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) {
    for field in ["HeartbeatSeconds", "HeartbeatSecondsPath", KEEP] {
        if fields.contains_key(field) {
            reader.error(
                "signal_field",
                &at(pointer, field),
                format!("a state that waits for a signal has no `{field}`"),
                "remove it",
            );
        }
    }
}

/// The resource, and whether it ends in `.waitForTaskToken`.
pub(super) fn read_resource(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<(String, bool)> {
    let written = reader.required_text(fields, "Resource", pointer)?;
    let waits = written.ends_with(WAIT_FOR_TASK_TOKEN);
    if reader.is_bare && split_resource(written).is_none() {
        // Foreign resources keep their spelling, which the history shows.
        return Some((written.to_owned(), waits));
    }
    let step = written.strip_suffix(WAIT_FOR_TASK_TOKEN).unwrap_or(written);
    if split_resource(step).is_none() {
        reader.error(
            "resource_invalid",
            &at(pointer, "Resource"),
            format!("`{written}` does not name a step"),
            "write `kyc:<step>` or `kyc:<step>@<major>`, such as `kyc:otp@1`; a task may also be `btrust:workflow`",
        );
    }
    Some((step.to_owned(), waits))
}

fn read_compensation(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Compensation> {
    let pointer = at(pointer, COMPENSATION);
    let fields = reader.object(fields.get(COMPENSATION)?, &pointer)?;
    let known = [
        "Resource",
        "Arguments",
        "Parameters",
        "TimeoutSeconds",
        "Retry",
        "Comment",
    ];
    reader.only(fields, &pointer, &known);
    let (resource, waits_for_token) = read_resource(reader, fields, &pointer)?;
    if waits_for_token {
        reader.error(
            "resource_invalid",
            &at(&pointer, "Resource"),
            "a compensation does not wait for a token",
            "name a step that ends by itself",
        );
    }
    Some(Compensation {
        resource,
        outcomes: None,
        arguments: paths::read_template(reader, fields, "Arguments", &pointer)
            .or_else(|| paths::read_template(reader, fields, "Parameters", &pointer)),
        timeout_seconds: reader.whole(fields, "TimeoutSeconds", &pointer, 1..=SECONDS_MAX),
        retry: handlers::read_retry(reader, fields, &pointer),
    })
}
