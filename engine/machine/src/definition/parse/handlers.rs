//! Parses `Retry` and `Catch`.

use serde_json::{Map, Value};

use super::super::reader::Reader;
use super::super::states::{Catcher, Handlers, Jitter, Language, Retrier};
use super::{COMPENSATE, REWORK, paths, read_assign, read_output};
use crate::finding::at;
use crate::limits::SECONDS_MAX;

/// Source: states-language.net, "Retrying after error": the defaults of a retrier.
const INTERVAL_SECONDS_DEFAULT: i64 = 1;
const ATTEMPTS_MAX_DEFAULT: i64 = 3;
const BACKOFF_RATE_DEFAULT: f64 = 2.0;

pub(super) fn read(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Handlers {
    Handlers {
        retry: read_retry(reader, fields, pointer),
        catch: read_list(reader, fields, "Catch", pointer, read_catcher),
    }
}

/// Parses `Retry` alone.
pub(super) fn read_retry(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Vec<Retrier> {
    read_list(
        reader,
        fields,
        "Retry",
        pointer,
        |reader, fields, pointer| Some(read_retrier(reader, fields, pointer)),
    )
}

fn read_list<T>(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    name: &str,
    pointer: &str,
    read: fn(&mut Reader, &Map<String, Value>, &str) -> Option<T>,
) -> Vec<T> {
    let Some(value) = fields.get(name) else {
        return Vec::new();
    };
    let pointer = at(pointer, name);
    let Some(items) = value.as_array() else {
        reader.error(
            "wrong_type",
            &pointer,
            format!("`{name}` is an array"),
            "write a JSON array",
        );
        return Vec::new();
    };
    let mut entries = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = format!("{pointer}/{index}");
        let Some(fields) = reader.object(item, &place) else {
            continue;
        };
        check_errors(reader, fields, &place, index + 1 == items.len());
        entries.extend(read(reader, fields, &place));
    }
    entries
}

fn check_errors(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str, is_last: bool) {
    let pointer = at(pointer, "ErrorEquals");
    let names = fields.get("ErrorEquals").and_then(Value::as_array);
    let Some(names) = names.filter(|it| !it.is_empty()) else {
        let message = "`ErrorEquals` is an array of at least one error name";
        reader.error(
            "errors_missing",
            &pointer,
            message,
            "name the errors, or `States.ALL`",
        );
        return;
    };
    let has_all = names.iter().any(|it| it == "States.ALL");
    if has_all && (1 < names.len() || !is_last) {
        reader.error(
            "states_all_misplaced",
            &pointer,
            "`States.ALL` stands alone, and in the last entry",
            "move it there",
        );
    }
}

fn errors(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Vec<String> {
    fields
        .get("ErrorEquals")
        .map(|it| reader.texts(it, &at(pointer, "ErrorEquals")))
        .unwrap_or_default()
}

fn read_retrier(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Retrier {
    reader.only(
        fields,
        pointer,
        &[
            "ErrorEquals",
            "IntervalSeconds",
            "MaxAttempts",
            "BackoffRate",
            "MaxDelaySeconds",
            "JitterStrategy",
            "Comment",
        ],
    );
    let interval = reader.whole(fields, "IntervalSeconds", pointer, 1..=SECONDS_MAX);
    let attempts = reader.whole(fields, "MaxAttempts", pointer, 0..=SECONDS_MAX);
    let delay_max_seconds = reader.whole(fields, "MaxDelaySeconds", pointer, 1..=31_622_400);
    let jitter = match reader.text(fields, "JitterStrategy", pointer) {
        None | Some("NONE") => Jitter::None,
        Some("FULL") => Jitter::Full,
        Some(_) => {
            let place = at(pointer, "JitterStrategy");
            reader.error(
                "retry_invalid",
                &place,
                "`JitterStrategy` is `FULL` or `NONE`",
                "write one of them",
            );
            Jitter::None
        }
    };
    Retrier {
        errors: errors(reader, fields, pointer),
        interval_seconds: interval.unwrap_or(INTERVAL_SECONDS_DEFAULT),
        attempts_max: u32::try_from(attempts.unwrap_or(ATTEMPTS_MAX_DEFAULT)).unwrap_or(u32::MAX),
        backoff_rate: read_rate(reader, fields, pointer),
        delay_max_seconds,
        jitter,
    }
}

fn read_rate(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> f64 {
    let Some(value) = fields.get("BackoffRate") else {
        return BACKOFF_RATE_DEFAULT;
    };
    if let Some(rate) = value.as_f64().filter(|it| 1.0 <= *it && it.is_finite()) {
        rate
    } else {
        let place = at(pointer, "BackoffRate");
        reader.error(
            "retry_invalid",
            &place,
            "`BackoffRate` is a number of at least 1",
            "write such a number",
        );
        BACKOFF_RATE_DEFAULT
    }
}

fn read_catcher(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<Catcher> {
    let flow = match reader.language {
        Language::Jsonata => "Output",
        Language::JsonPath => "ResultPath",
    };
    let known = [
        "ErrorEquals",
        "Assign",
        "Next",
        "Comment",
        flow,
        REWORK,
        COMPENSATE,
    ];
    reader.only(fields, pointer, &known);
    let next = reader.required_text(fields, "Next", pointer)?.to_owned();
    Some(Catcher {
        errors: errors(reader, fields, pointer),
        assign: read_assign(reader, fields, pointer),
        output: read_output(reader, fields, pointer),
        result: paths::read_placement(reader, fields, pointer),
        next,
        rework: reader.flag(fields, REWORK, pointer),
        compensate: reader.flag(fields, COMPENSATE, pointer),
    })
}
