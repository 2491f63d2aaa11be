//! Numbers, texts and times as Step Functions compares and writes them.

use std::cmp::Ordering;
use std::fmt::Write as _;

use chrono::{DateTime, FixedOffset};
use serde_json::{Number, Value};

/// What kind of value it is, for a message.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Compares numbers by value: whole numbers exactly, others as doubles.
pub(super) fn compare_numbers(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Compares texts by their UTF-16 units, as Java does.
pub(super) fn compare_texts(left: &str, right: &str) -> Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

/// The time that a text names: ISO 8601 with `T` and an offset; seconds may be left out.
pub(crate) fn timestamp(text: &str) -> Option<DateTime<FixedOffset>> {
    let clock = text.get(10..)?.strip_prefix('T')?;
    if text.contains('z') {
        return None;
    }
    if clock.as_bytes().get(5) == Some(&b':') {
        return DateTime::parse_from_rfc3339(text).ok();
    }
    let (minutes, offset) = text.split_at_checked(16)?;
    DateTime::parse_from_rfc3339(&format!("{minutes}:00{offset}")).ok()
}

/// The whole number nearest to `value`, halves upwards, as Java's `Math.round`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float saturates at the ends of the range"
)]
pub(crate) fn whole(value: &Value) -> Option<i64> {
    match value.as_i64() {
        Some(whole) => Some(whole),
        None if value.is_u64() => None,
        None => value.as_f64().map(|it| (it + 0.5).floor() as i64),
    }
}

/// The bytes that a value takes as JSON, roughly.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, it)| key.len() + 4 + weight(it));
            fields.sum::<usize>() + 2
        }
        _ => 8,
    }
}

/// A text that is the same for equal values only; `1` and `1.0` are equal.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => match number.as_i128() {
            Some(whole) => text.push_str(&whole.to_string()),
            None => text.push_str(&plain(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::Array(items) => {
            text.push('[');
            for it in items {
                write_canonical(it, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (key, it) in fields {
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write_canonical(it, text);
                text.push(',');
            }
            text.push('}');
        }
        _ => text.push_str(&value.to_string()),
    }
}

/// A double without a fraction where it has none.
fn plain(value: f64) -> String {
    format!("{value}")
}

/// Writes a value as Java's `toString` does: `{a=1, b=[x, null]}`.
pub(super) fn write_java(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(it) => text.push_str(if *it { "true" } else { "false" }),
        Value::Number(number) => match number.as_i128() {
            Some(whole) => text.push_str(&whole.to_string()),
            None => write_java_double(number.as_f64().unwrap_or(f64::NAN), text),
        },
        Value::String(it) => text.push_str(it),
        Value::Array(items) => {
            text.push('[');
            for (index, it) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                write_java(it, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push('{');
            for (index, (key, it)) in fields.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                text.push_str(key);
                text.push('=');
                write_java(it, text);
            }
            text.push('}');
        }
    }
}

/// Source: `Double.toString` of Java: a point always, and an exponent below 10^-3 and from 10^7 on.
fn write_java_double(value: f64, text: &mut String) {
    let size = value.abs();
    // Writing to a text cannot fail.
    if value == 0.0 || (1e-3..1e7).contains(&size) {
        let _ = write!(text, "{value:?}");
        return;
    }
    let scientific = format!("{value:E}");
    match scientific.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => {
            let _ = write!(text, "{digits}.0E{exponent}");
        }
        _ => text.push_str(&scientific),
    }
}

/// Replaces the negative zero, which JSON parses as a double, by 0.
pub(super) fn without_negative_zero(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::from(0),
        Value::Array(items) => items.into_iter().map(without_negative_zero).collect(),
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(key, it)| (key, without_negative_zero(it)));
            Value::Object(fields.collect())
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_written_as_java_writes_it() {
        for (value, expected) in [
            (
                json!({"a": 1, "b": [], "c": {"d": "x y"}}),
                "{a=1, b=[], c={d=x y}}",
            ),
            (
                json!([null, true, 1.5, -2, "q\"q"]),
                "[null, true, 1.5, -2, q\"q]",
            ),
            (json!(1.0), "1.0"),
            (json!(12_345_678.5), "1.23456785E7"),
            (json!(1e21), "1.0E21"),
            (json!(0.0001), "1.0E-4"),
        ] {
            let mut text = String::new();
            write_java(&value, &mut text);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_time_needs_a_date_a_clock_and_an_offset() {
        for text in [
            "2012-10-09T19:00:55Z",
            "2012-10-09T19:00:55+01:00",
            "2012-10-09T19:00:55.25Z",
            "2012-10-09T19:00Z",
        ] {
            assert!(timestamp(text).is_some(), "{text}");
        }
        for text in [
            "",
            "2023-02-24",
            "2012-10-09T19:00:55",
            "2012-10-09 19:00:55Z",
            "2012-10-09t19:00:55Z",
            "2012-10-09T19:00:55z",
            "2012-13-09T19:00:55Z",
            "שלום שלום שלום",
        ] {
            assert!(timestamp(text).is_none(), "{text}");
        }
    }

    #[test]
    fn halves_are_rounded_upwards() {
        for (value, expected) in [
            (json!(1.49), 1),
            (json!(1.5), 2),
            (json!(-1.5), -1),
            (json!(-1.51), -2),
            (json!(7), 7),
        ] {
            assert_eq!(whole(&value), Some(expected), "{value}");
        }
        assert_eq!(whole(&json!("1")), None);
    }

    #[test]
    fn equal_values_have_one_canonical_text() {
        assert_eq!(
            canonical(&json!({"a": 1.0, "b": [2]})),
            canonical(&json!({"b": [2.0], "a": 1}))
        );
        assert_ne!(canonical(&json!("1")), canonical(&json!(1)));
    }
}
