//! A JSON document that state, events and effects share without copying.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_DEPTH_MAX};

/// An immutable, cheaply cloned JSON document.
///
/// It reads and serialises as the [`Value`] inside.
#[derive(Clone)]
pub struct Payload(Arc<Document>);

struct Document {
    value: Value,
    size_bytes: OnceLock<usize>,
}

impl Payload {
    /// The bytes that the document takes as compact JSON; counted once, then remembered.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        *self.0.size_bytes.get_or_init(|| size_bytes(&self.0.value))
    }

    /// Why the document may not be stored, if it may not.
    pub(crate) fn excess(&self) -> Option<Excess> {
        if is_deeper(&self.0.value, PAYLOAD_DEPTH_MAX) {
            return Some(Excess::Levels);
        }
        let size_bytes = self.size_bytes();
        (PAYLOAD_BYTES_MAX < size_bytes).then_some(Excess::Bytes(size_bytes))
    }

    /// A copy of the document that may be changed.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.0.value.clone()
    }
}

/// What a document has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Bytes(usize),
    Levels,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(_) => write!(f, "has more than {PAYLOAD_BYTES_MAX} bytes"),
            Self::Levels => write!(f, "is nested deeper than {PAYLOAD_DEPTH_MAX} levels"),
        }
    }
}

/// Whether `value` is nested deeper than `levels`.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return value.is_array() || value.is_object();
    };
    match value {
        Value::Array(items) => items.iter().any(|it| is_deeper(it, below)),
        Value::Object(fields) => fields.values().any(|it| is_deeper(it, below)),
        _ => false,
    }
}

/// Counts the bytes of `value` as compact JSON; an upper bound for strings with control characters.
fn size_bytes(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => string_bytes(text),
        Value::Array(items) => {
            2 + items.len().saturating_sub(1) + items.iter().map(size_bytes).sum::<usize>()
        }
        Value::Object(fields) => {
            2 + fields.len().saturating_sub(1)
                + fields
                    .iter()
                    .map(|(key, it)| string_bytes(key) + 1 + size_bytes(it))
                    .sum::<usize>()
        }
    }
}

fn string_bytes(text: &str) -> usize {
    let escapes: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' => 1,
            0..=0x1f => 5,
            _ => 0,
        })
        .sum();
    text.len() + 2 + escapes
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self(Arc::new(Document {
            value,
            size_bytes: OnceLock::new(),
        }))
    }
}

impl Deref for Payload {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0.value
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.value == other.0.value
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.value)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_size_is_that_of_compact_json() {
        for value in [
            json!(null),
            json!([true, false, 1, -2.5, "a\"b\\c"]),
            json!({"a": {"b": []}, "c": {}, "d": "שלום"}),
        ] {
            assert_eq!(
                Payload::from(value.clone()).size_bytes(),
                value.to_string().len(),
                "{value}"
            );
        }
    }
}
