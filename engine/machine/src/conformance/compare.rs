//! Compares recorded values with ours; what the recorder has replaced is a wildcard.

use serde_json::{Map, Value};

use super::Mismatch;
use crate::expression::equal;

/// Fields of every event that only count or date it.
const EVENT_NUMBERS: [&str; 4] = ["id", "previousEventId", "timestamp", "type"];

/// Details that belong to the account in which the recording was made.
///
/// The last two are what the service answered when a task began; `taskResults` does not have them.
const ACCOUNT_DETAILS: [(&str, &str); 4] = [
    ("executionStartedEventDetails", "roleArn"),
    ("taskScheduledEventDetails", "region"),
    ("activityStartedEventDetails", "workerName"),
    ("taskSubmittedEventDetails", "output"),
];

/// Texts that the recorder writes in place of a date, besides those that end with `-date` or `-time`.
const DATES: [&str; 4] = ["timestamp", "datetime", "date", "<timestamp>"];

/// Fields that the service has begun to send after some of the recordings had been made.
const LATER_FIELDS: [&str; 1] = ["RedriveCount"];

/// Compares the details of two events of one type.
pub(super) fn event_difference(
    recorded: &Value,
    ours: &Value,
    place: &str,
) -> Option<Box<Mismatch>> {
    let empty = Map::new();
    let recorded = recorded.as_object().unwrap_or(&empty);
    for (key, expected) in recorded {
        if EVENT_NUMBERS.contains(&key.as_str()) {
            continue;
        }
        let place = format!("{place}.{key}");
        let mut expected = expected.clone();
        let mut actual = ours.get(key).cloned().unwrap_or_default();
        for (_, field) in ACCOUNT_DETAILS.iter().filter(|(details, _)| details == key) {
            for side in [&mut expected, &mut actual] {
                if let Some(fields) = side.as_object_mut() {
                    fields.remove(*field);
                }
            }
        }
        let is_empty = |it: &Value| it.is_null() || it.as_object().is_some_and(Map::is_empty);
        if is_empty(&expected) && is_empty(&actual) {
            continue;
        }
        if let Some(found) = difference(&expected, &actual, &place) {
            return Some(found);
        }
    }
    None
}

/// The first place where `actual` is not what was recorded.
pub(super) fn difference(expected: &Value, actual: &Value, place: &str) -> Option<Box<Mismatch>> {
    let differs = || Some(Mismatch::new(place, expected.clone(), actual.clone()));
    match (expected, actual) {
        (Value::Object(recorded), Value::Object(ours)) => {
            let is_new =
                |it: &&String| !recorded.contains_key(*it) && !LATER_FIELDS.contains(&it.as_str());
            if let Some(key) = ours.keys().find(is_new) {
                let place = format!("{place}.{key}");
                return Some(Mismatch::new(place, Value::Null, ours[key].clone()));
            }
            recorded.iter().find_map(|(key, it)| {
                let place = format!("{place}.{key}");
                match ours.get(key) {
                    Some(ours) => difference(it, ours, &place),
                    None => Some(Mismatch::new(place, it.clone(), Value::Null)),
                }
            })
        }
        (Value::Array(recorded), Value::Array(ours)) if recorded.len() == ours.len() => recorded
            .iter()
            .zip(ours)
            .enumerate()
            .find_map(|(index, (it, ours))| difference(it, ours, &format!("{place}[{index}]"))),
        // The recorder shows texts that are JSON documents as documents.
        (Value::Object(_) | Value::Array(_), Value::String(text)) => {
            match serde_json::from_str::<Value>(text) {
                Ok(parsed) if !parsed.is_string() => difference(expected, &parsed, place),
                _ => differs(),
            }
        }
        (Value::String(recorded), Value::String(ours)) => {
            if texts_agree(recorded, ours) {
                None
            } else {
                differs()
            }
        }
        // A placeholder may stand for a number or a whole document.
        (Value::String(recorded), _) if is_placeholder(recorded) && !actual.is_null() => None,
        _ if equal(expected, actual) => None,
        _ => differs(),
    }
}

fn texts_agree(recorded: &str, ours: &str) -> bool {
    if recorded == ours || is_placeholder(recorded) || fits(recorded, ours) {
        return true;
    }
    // JSON inside a text: its spaces do not count.
    let parse = |text: &str| {
        serde_json::from_str::<Value>(text)
            .ok()
            .filter(|it| it.is_object() || it.is_array())
    };
    match (parse(recorded), parse(ours)) {
        (Some(recorded), Some(ours)) => difference(&recorded, &ours, "").is_none(),
        _ => false,
    }
}

/// Whether the whole text stands for something that differs from run to run.
fn is_placeholder(text: &str) -> bool {
    let is_angled = text.starts_with('<')
        && text.ends_with('>')
        && !text[1..text.len() - 1].contains(['<', '>', ' ']);
    let is_resource = text.starts_with("arn:")
        || (text.ends_with("_arn") || text.ends_with("-arn"))
            && text
                .bytes()
                .all(|it| it.is_ascii_lowercase() || it == b'_' || it == b'-');
    is_angled || is_resource || is_date(text)
}

/// Whether the whole text stands for a date.
pub(super) fn is_date(text: &str) -> bool {
    let is_named = (text.ends_with("-date") || text.ends_with("-time"))
        && text.bytes().all(|it| it.is_ascii_lowercase() || it == b'-');
    is_named || DATES.contains(&text)
}

/// Whether `text` is `pattern` with something in place of each `<placeholder>`.
fn fits(pattern: &str, text: &str) -> bool {
    let pieces = literal_pieces(pattern);
    let [first, middle @ .., last] = pieces.as_slice() else {
        return false;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What stands between the placeholders and resource names of a text; one piece means that it has none.
fn literal_pieces(pattern: &str) -> Vec<&str> {
    const RESOURCE: &str = "arn:";
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(RESOURCE) {
        let name = &rest[at..];
        let end = name
            .find(|it: char| it.is_whitespace() || ",'\"}])".contains(it))
            .unwrap_or(name.len());
        placeholder_pieces(&rest[..at], &mut pieces);
        rest = &name[end..];
    }
    placeholder_pieces(rest, &mut pieces);
    pieces
}

fn placeholder_pieces<'a>(mut rest: &'a str, pieces: &mut Vec<&'a str>) {
    let mut from = 0;
    while let Some(open) = rest[from..].find('<').map(|it| from + it) {
        let name = &rest[open + 1..];
        let end = name.find(['<', '>', ' ']);
        match end.filter(|it| name[*it..].starts_with('>') && 0 < *it) {
            Some(end) => {
                pieces.push(&rest[..open]);
                rest = &name[end + 1..];
                from = 0;
            }
            None => from = open + 1,
        }
    }
    pieces.push(rest);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn agree(expected: Value, actual: Value) {
        assert_eq!(difference(&expected, &actual, "it"), None);
    }

    #[track_caller]
    fn differ(expected: Value, actual: Value, place: &str) {
        let found = difference(&expected, &actual, "it").map(|it| it.what);
        assert_eq!(found.as_deref(), Some(place), "{expected} {actual}");
    }

    #[test]
    fn placeholders_stand_for_anything() {
        agree(json!("<uuid:1>"), json!("4f1c"));
        agree(json!("timestamp"), json!("2026-01-01T00:00:00Z"));
        agree(json!("arn:aws:states:::x"), json!("wf_1"));
        agree(json!("<timestamp>"), json!(17));
        agree(json!("no <a> of <b>!"), json!("no 1 of two!"));
        differ(json!("no <a> of <b>!"), json!("no 1 or two!"), "it");
        differ(json!("no <a>"), json!("none"), "it");
        agree(
            json!("it {Id=arn:x:<a>:<b>, Name=<b>}."),
            json!("it {Id=1, Name=2}."),
        );
        differ(
            json!("it {Id=arn:x:<a>, Name=<b>}."),
            json!("it {Id=1, name=2}."),
            "it",
        );
        differ(json!("<uuid:1>"), Value::Null, "it");
    }

    #[test]
    fn a_text_that_only_compares_is_no_placeholder() {
        differ(json!("a < b and c > d"), json!("a < x and c > d"), "it");
        agree(json!("a < b > <c>"), json!("a < b > 3"));
    }

    #[test]
    fn documents_in_texts_are_compared_as_documents() {
        agree(json!({"a": 1}), json!("{\"a\": 1}"));
        agree(json!("{\"a\":1}"), json!("{ \"a\": 1.0 }"));
        differ(json!("{\"a\":1}"), json!("{\"a\":2}"), "it");
        differ(json!({"a": 1}), json!("a"), "it");
    }

    #[test]
    fn nothing_may_be_missing_or_too_much() {
        differ(json!({"a": {"b": 1}}), json!({"a": {}}), "it.a.b");
        differ(json!({"a": {}}), json!({"a": {"b": null}}), "it.a.b");
        differ(json!([1, 2]), json!([1]), "it");
        differ(json!([1, 2]), json!([1, 3]), "it[1]");
        agree(json!(1.0), json!(1));
    }
}
