//! The result of an evaluation as JSON, no larger and no deeper than a state may hold.

use jsonata_core::value::JValue;
use serde_json::{Map, Number, Value};

use super::EvaluationError;
use crate::limits::{EXPRESSION_RESULT_DEPTH_MAX, PAYLOAD_BYTES_MAX};

/// Converts a result to JSON; `None` is undefined.
pub(super) fn to_json(value: &JValue) -> Result<Option<Value>, EvaluationError> {
    // Values are shared in the evaluator but not in JSON, so a small one may become a large one.
    let mut bytes_left = PAYLOAD_BYTES_MAX;
    convert(value, 1, &mut bytes_left)
}

fn convert(
    value: &JValue,
    depth: usize,
    bytes_left: &mut usize,
) -> Result<Option<Value>, EvaluationError> {
    let n_bytes = match value {
        JValue::Undefined => return Ok(None),
        JValue::String(text) => text.len() + 2,
        JValue::Array(_) | JValue::Object(_) => 2,
        _ => 1,
    };
    *bytes_left = bytes_left
        .checked_sub(n_bytes)
        .ok_or(EvaluationError::TooLarge)?;
    if EXPRESSION_RESULT_DEPTH_MAX < depth {
        return Err(EvaluationError::Failed(format!(
            "the result is nested deeper than {EXPRESSION_RESULT_DEPTH_MAX} levels"
        )));
    }
    let json = match value {
        JValue::Null => Value::Null,
        JValue::Bool(it) => Value::Bool(*it),
        JValue::Number(it) => number(*it)?,
        JValue::String(it) => Value::String(it.to_string()),
        JValue::Array(items) => {
            let mut array = Vec::new();
            for item in items {
                array.push(convert(item, depth + 1, bytes_left)?.unwrap_or(Value::Null));
            }
            Value::Array(array)
        }
        JValue::Object(fields) => {
            let mut object = Map::new();
            for (key, it) in fields.iter() {
                *bytes_left = bytes_left
                    .checked_sub(key.len() + 4)
                    .ok_or(EvaluationError::TooLarge)?;
                if let Some(it) = convert(it, depth + 1, bytes_left)? {
                    object.insert(key.clone(), it);
                }
            }
            Value::Object(object)
        }
        _ => return Err(EvaluationError::Unsupported),
    };
    Ok(Some(json))
}

/// A JSON number; whole numbers are written without a fraction, as JavaScript writes them.
#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
pub(crate) fn number(value: f64) -> Result<Value, EvaluationError> {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        return Ok(Value::from(value as i64));
    }
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or(EvaluationError::Unsupported)
}
