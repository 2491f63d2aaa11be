//! The 18 intrinsic functions.
//!
//! Source: "Intrinsic functions for `JSONPath` states", Step Functions developer guide.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine as _};
use serde_json::Value;

use super::hash;
use super::value::{canonical, kind, whole, without_negative_zero, write_java};
use crate::expression::{Random, equal, uuid};
use crate::limits::{INTRINSIC_RANGE_ITEMS_MAX, INTRINSIC_TEXT_CHARS_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Array,
    ArrayContains,
    ArrayGetItem,
    ArrayLength,
    ArrayPartition,
    ArrayRange,
    ArrayUnique,
    Base64Decode,
    Base64Encode,
    Format,
    Hash,
    JsonMerge,
    JsonToString,
    MathAdd,
    MathRandom,
    StringSplit,
    StringToJson,
    Uuid,
}

/// The argument counts that a function takes.
type Arity = RangeInclusive<usize>;

/// Names and argument counts.
const FUNCTIONS: [(&str, Function, Arity); 18] = [
    ("States.Array", Function::Array, 0..=usize::MAX),
    ("States.ArrayContains", Function::ArrayContains, 2..=2),
    ("States.ArrayGetItem", Function::ArrayGetItem, 2..=2),
    ("States.ArrayLength", Function::ArrayLength, 1..=1),
    ("States.ArrayPartition", Function::ArrayPartition, 2..=2),
    ("States.ArrayRange", Function::ArrayRange, 3..=3),
    ("States.ArrayUnique", Function::ArrayUnique, 1..=1),
    ("States.Base64Decode", Function::Base64Decode, 1..=1),
    ("States.Base64Encode", Function::Base64Encode, 1..=1),
    ("States.Format", Function::Format, 1..=usize::MAX),
    ("States.Hash", Function::Hash, 2..=2),
    ("States.JsonMerge", Function::JsonMerge, 3..=3),
    ("States.JsonToString", Function::JsonToString, 1..=1),
    ("States.MathAdd", Function::MathAdd, 2..=2),
    ("States.MathRandom", Function::MathRandom, 2..=3),
    ("States.StringSplit", Function::StringSplit, 2..=2),
    ("States.StringToJson", Function::StringToJson, 1..=1),
    ("States.UUID", Function::Uuid, 0..=0),
];

impl Function {
    pub fn named(name: &str) -> Option<(Self, Arity)> {
        let (_, function, arity) = FUNCTIONS.into_iter().find(|it| it.0 == name)?;
        Some((function, arity))
    }
}

/// Applies a function to as many arguments as it takes.
///
/// # Errors
///
/// A sentence for the cause of `States.IntrinsicFailure`.
pub(super) fn apply(
    function: Function,
    arguments: Vec<Value>,
    random: &Random,
) -> Result<Value, String> {
    let argument = |index: usize| arguments.get(index).unwrap_or(&Value::Null);
    match function {
        Function::Array => Ok(Value::Array(arguments)),
        Function::ArrayContains => {
            let found = array(argument(0))?.iter().any(|it| equal(it, argument(1)));
            Ok(Value::from(found))
        }
        Function::ArrayGetItem => get_item(array(argument(0))?, number(argument(1))?),
        Function::ArrayLength => Ok(Value::from(array(argument(0))?.len())),
        Function::ArrayPartition => partition(array(argument(0))?, number(argument(1))?),
        Function::ArrayRange => range(
            number(argument(0))?,
            number(argument(1))?,
            number(argument(2))?,
        ),
        Function::ArrayUnique => Ok(unique(array(argument(0))?)),
        Function::Base64Decode => decode(short_text(argument(0))?),
        Function::Base64Encode => Ok(Value::from(STANDARD.encode(short_text(argument(0))?))),
        Function::Format => format(text(argument(0))?, &arguments[1..]).map(Value::String),
        Function::Hash => digest(argument(0), text(argument(1))?),
        Function::JsonMerge => merge(argument(0), argument(1), argument(2)),
        Function::JsonToString => Ok(Value::from(argument(0).to_string())),
        Function::MathAdd => number(argument(0))?
            .checked_add(number(argument(1))?)
            .map(Value::from)
            .ok_or_else(|| "The sum is out of range.".to_owned()),
        Function::MathRandom => draw(&arguments, random),
        Function::StringSplit => Ok(split(text(argument(0))?, text(argument(1))?)),
        Function::StringToJson => parse(text(argument(0))?),
        Function::Uuid => Ok(Value::from(uuid(random))),
    }
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| format!("An array is expected, not {}.", kind(value)))
}

fn text(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("A string is expected, not {}.", kind(value)))
}

fn short_text(value: &Value) -> Result<&str, String> {
    let text = text(value)?;
    limited(text)?;
    Ok(text)
}

fn limited(text: &str) -> Result<(), String> {
    if INTRINSIC_TEXT_CHARS_MAX < text.encode_utf16().count() {
        return Err(format!(
            "The string has more than {INTRINSIC_TEXT_CHARS_MAX} characters."
        ));
    }
    Ok(())
}

/// A whole number; others are rounded to the nearest.
fn number(value: &Value) -> Result<i64, String> {
    whole(value).ok_or_else(|| format!("A number is expected, not {}.", kind(value)))
}

fn get_item(items: &[Value], index: i64) -> Result<Value, String> {
    usize::try_from(index)
        .ok()
        .and_then(|it| items.get(it))
        .cloned()
        .ok_or_else(|| {
            let length = items.len();
            format!("The index {index} is out of bounds for an array of {length} items.")
        })
}

fn partition(items: &[Value], size: i64) -> Result<Value, String> {
    let size = usize::try_from(size).ok().filter(|it| 0 < *it);
    let size = size.ok_or("The chunk size must be a positive number.")?;
    Ok(items
        .chunks(size)
        .map(|it| Value::from(it.to_vec()))
        .collect())
}

/// The numbers from `first` to `last`, both included.
fn range(first: i64, last: i64, step: i64) -> Result<Value, String> {
    if step == 0 {
        return Err("The step must not be 0.".to_owned());
    }
    let mut items = Vec::new();
    let mut next = Some(first);
    while let Some(it) = next {
        let is_past = if 0 < step { last < it } else { it < last };
        if is_past {
            break;
        }
        if items.len() == INTRINSIC_RANGE_ITEMS_MAX {
            return Err(format!(
                "The range has more than {INTRINSIC_RANGE_ITEMS_MAX} items."
            ));
        }
        items.push(Value::from(it));
        next = it.checked_add(step);
    }
    Ok(Value::Array(items))
}

/// The first of each group of equal items.
fn unique(items: &[Value]) -> Value {
    let mut seen = HashSet::new();
    items
        .iter()
        .filter(|it| seen.insert(canonical(it)))
        .cloned()
        .collect()
}

fn decode(text: &str) -> Result<Value, String> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let bytes = GeneralPurpose::new(&ALPHABET, config)
        .decode(text)
        .map_err(|_| "The string is not Base64.".to_owned())?;
    let text = String::from_utf8(bytes);
    text.map(Value::from)
        .map_err(|_| "The decoded data is not UTF-8.".to_owned())
}

/// Puts the arguments into the places `{}` of the template, each as Java writes it.
fn format(template: &str, arguments: &[Value]) -> Result<String, String> {
    let mismatch = || {
        "Invalid arguments in States.Format: number of arguments do not match the occurrences of {}."
            .to_owned()
    };
    let mut text = String::with_capacity(template.len());
    let mut arguments = arguments.iter();
    let mut chars = template.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek()) {
            ('\\', Some(escaped @ ('\'' | '\\' | '{' | '}'))) => {
                text.push(*escaped);
                chars.next();
            }
            ('{', Some('}')) => {
                write_java(arguments.next().ok_or_else(mismatch)?, &mut text);
                chars.next();
            }
            ('{', _) => {
                let reason = "matching '}' not found for '{'.";
                return Err(format!("Invalid template in States.Format: {reason}"));
            }
            _ => text.push(char),
        }
    }
    match arguments.next() {
        Some(_) => Err(mismatch()),
        None => Ok(text),
    }
}

fn digest(data: &Value, algorithm: &str) -> Result<Value, String> {
    let text = match data {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    limited(&text)?;
    hash::digest(algorithm, &text)
        .map(Value::from)
        .ok_or_else(|| "The algorithm must be MD5, SHA-1, SHA-256, SHA-384 or SHA-512.".to_owned())
}

/// The fields of both objects; those of the second win. Only shallow merging exists.
fn merge(left: &Value, right: &Value, deep: &Value) -> Result<Value, String> {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else {
        return Err("Two objects are expected.".to_owned());
    };
    match deep {
        Value::Bool(false) => {}
        Value::Bool(true) => return Err("Deep merging is not supported.".to_owned()),
        other => return Err(format!("A boolean is expected, not {}.", kind(other))),
    }
    let mut merged = left.clone();
    merged.extend(right.iter().map(|(key, it)| (key.clone(), it.clone())));
    Ok(Value::Object(merged))
}

/// A whole number from the first argument up to, but without, the second; the third is a seed.
fn draw(arguments: &[Value], random: &Random) -> Result<Value, String> {
    let (start, end) = match arguments {
        [start, end, ..] => (number(start)?, number(end)?),
        _ => return Err("Two numbers are expected.".to_owned()),
    };
    let drawn = match arguments.get(2) {
        Some(seed) => Random::new(number(seed)?.cast_unsigned()).next(),
        None => random.next(),
    };
    let width = end.checked_sub(start).filter(|it| 0 < *it);
    let width = width.ok_or("The end must be above the start.")?;
    let offset = drawn % width.unsigned_abs();
    Ok(Value::from(start.saturating_add_unsigned(offset)))
}

/// Splits at each character of `separators`; empty pieces are dropped.
fn split(text: &str, separators: &str) -> Value {
    if separators.is_empty() {
        return Value::from(vec![text]);
    }
    let separators: HashSet<char> = separators.chars().collect();
    text.split(|it| separators.contains(&it))
        .filter(|it| !it.is_empty())
        .collect()
}

/// The document in a text; an empty text is `null`.
fn parse(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text)
        .map(without_negative_zero)
        .map_err(|_| "The string is not JSON.".to_owned())
}
