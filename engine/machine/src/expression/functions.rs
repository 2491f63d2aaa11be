//! The functions that need time or randomness, and those that Step Functions adds to `JSONata`.

use std::collections::BTreeSet;
use std::rc::Rc;

use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::value::JValue;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Random;
use crate::Env;
use crate::event::rfc3339;
use crate::limits::EXPRESSION_SEQUENCE_MAX;

type Answer = Result<JValue, EvaluatorError>;

/// Registers those of our functions that the expression names.
pub(super) fn register(
    evaluator: &mut Evaluator,
    named: &BTreeSet<String>,
    env: &Env,
    random: &Rc<Random>,
) -> Result<(), EvaluatorError> {
    let now_ms = env.now_ms;
    for name in named {
        let random = Rc::clone(random);
        match name.as_str() {
            "now" => evaluator.register_fn_override("now", move |_: &[JValue]| {
                Ok(JValue::from(rfc3339(now_ms)))
            })?,
            "millis" => evaluator
                .register_fn_override("millis", move |_: &[JValue]| Ok(JValue::from(now_ms)))?,
            "random" => evaluator
                .register_fn_override("random", move |args: &[JValue]| Ok(draw(args, &random)))?,
            "shuffle" => evaluator.register_fn_override("shuffle", move |args: &[JValue]| {
                Ok(shuffle(args, &random))
            })?,
            "uuid" => evaluator
                .register_fn("uuid", move |_: &[JValue]| Ok(JValue::from(uuid(&random))))?,
            "partition" => evaluator.register_fn("partition", partition)?,
            "range" => evaluator.register_fn("range", range)?,
            "hash" => evaluator.register_fn("hash", hash)?,
            "parse" => evaluator.register_fn("parse", parse)?,
            _ => {}
        }
    }
    Ok(())
}

fn refuse(message: &str) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.to_owned())
}

/// `$random()` follows the command's seed; `$random(seed)` always gives the same number.
fn draw(args: &[JValue], random: &Random) -> JValue {
    let number = match args.first().and_then(JValue::as_f64) {
        Some(seed) => Random::new(seed.to_bits()).unit(),
        None => random.unit(),
    };
    JValue::Number(number)
}

fn shuffle(args: &[JValue], random: &Random) -> JValue {
    let mut items = match args.first() {
        Some(JValue::Array(items)) => items.to_vec(),
        Some(JValue::Undefined) | None => return JValue::Undefined,
        Some(single) => vec![single.clone()],
    };
    for last in (1..items.len()).rev() {
        let bound = u64::try_from(last).unwrap_or(u64::MAX - 1) + 1;
        let index = usize::try_from(random.next() % bound).unwrap_or(0);
        items.swap(last, index);
    }
    JValue::array(items)
}

/// A version 4 UUID made from the command's seed.
pub(crate) fn uuid(random: &Random) -> String {
    let high = (random.next() & !0xf000) | 0x4000;
    let low = (random.next() & !(0xc << 60)) | (0x8 << 60);
    let hex = format!("{high:016x}{low:016x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// `$partition(array, size)`: the array in pieces of `size` items.
fn partition(args: &[JValue]) -> Answer {
    let (Some(JValue::Array(items)), Some(size)) =
        (args.first(), args.get(1).and_then(JValue::as_i64))
    else {
        return Err(refuse("$partition takes an array and a size"));
    };
    let size = usize::try_from(size).ok().filter(|it| 0 < *it);
    let size = size.ok_or_else(|| refuse("the size of $partition must be positive"))?;
    Ok(JValue::array(
        items
            .chunks(size)
            .map(|it| JValue::array(it.to_vec()))
            .collect(),
    ))
}

/// `$range(first, last, step)`: the numbers from `first` to `last`, both included.
fn range(args: &[JValue]) -> Answer {
    let number = |index: usize| args.get(index).and_then(JValue::as_f64);
    let (Some(first), Some(last), Some(step)) = (number(0), number(1), number(2)) else {
        return Err(refuse("$range takes three numbers"));
    };
    if step == 0.0 {
        return Err(refuse("the step of $range must not be 0"));
    }
    let mut items = Vec::new();
    let mut next = first;
    while if 0.0 < step {
        next <= last
    } else {
        last <= next
    } {
        if items.len() == EXPRESSION_SEQUENCE_MAX {
            return Err(refuse("$range has too many numbers"));
        }
        items.push(JValue::Number(next));
        next += step;
    }
    Ok(JValue::array(items))
}

/// `$hash(text, algorithm)` in hex; the broken algorithms (MD5, SHA-1) are refused.
fn hash(args: &[JValue]) -> Answer {
    let (Some(text), Some(algorithm)) = (
        args.first().and_then(JValue::as_str),
        args.get(1).and_then(JValue::as_str),
    ) else {
        return Err(refuse("$hash takes a text and an algorithm"));
    };
    let digest = match algorithm {
        "SHA-256" => hex::encode(Sha256::digest(text)),
        "SHA-384" => hex::encode(Sha384::digest(text)),
        "SHA-512" => hex::encode(Sha512::digest(text)),
        _ => {
            return Err(refuse(
                "the algorithm of $hash must be SHA-256, SHA-384 or SHA-512",
            ));
        }
    };
    Ok(JValue::from(digest))
}

/// `$parse(text)`: the JSON document in a text.
fn parse(args: &[JValue]) -> Answer {
    let text = args
        .first()
        .and_then(JValue::as_str)
        .ok_or_else(|| refuse("$parse takes a text"))?;
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| refuse("$parse: the text is not JSON"))?;
    Ok(JValue::from(value))
}
