//! The functions that need time or randomness, and those that Step Functions adds to `JSONata`.

use std::collections::BTreeSet;
use std::rc::Rc;

use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::value::JValue;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Random;
use super::budget::{Budget, Cost, limit_built, refuse};
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
    budget: &Rc<Budget>,
) -> Result<(), EvaluatorError> {
    let now_ms = env.now_ms;
    for name in named {
        let (random, budget) = (Rc::clone(random), Rc::clone(budget));
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
            "partition" => {
                evaluator
                    .register_fn("partition", move |args: &[JValue]| partition(args, &budget))?;
            }
            "range" => {
                evaluator.register_fn("range", move |args: &[JValue]| range(args, &budget))?;
            }
            "hash" => evaluator.register_fn("hash", hash)?,
            "parse" => {
                evaluator.register_fn("parse", move |args: &[JValue]| parse(args, &budget))?;
            }
            "pad" => {
                evaluator.register_fn_override("pad", move |args: &[JValue]| pad(args, &budget))?;
            }
            _ => {}
        }
    }
    Ok(())
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
fn partition(args: &[JValue], budget: &Budget) -> Answer {
    let (Some(JValue::Array(items)), Some(size)) =
        (args.first(), args.get(1).and_then(JValue::as_i64))
    else {
        return Err(refuse("$partition takes an array and a size"));
    };
    let size = usize::try_from(size).ok().filter(|it| 0 < *it);
    let size = size.ok_or_else(|| refuse("the size of $partition must be positive"))?;
    let parts = items.chunks(size).map(|it| JValue::array(it.to_vec()));
    let parts = JValue::array(parts.collect());
    budget.charge(&parts, Cost::Shallow, 4)?;
    Ok(parts)
}

/// `$range(first, last, step)`: the numbers from `first` to `last`, both included.
fn range(args: &[JValue], budget: &Budget) -> Answer {
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
        if (next + step).to_bits() == next.to_bits() {
            return Err(refuse("the step of $range is too small for its numbers"));
        }
        next += step;
    }
    if let [single] = items.as_slice() {
        // As AWS answers: the result is a sequence, and one of one item is that item.
        return Ok(single.clone());
    }
    let items = JValue::array(items);
    budget.charge(&items, Cost::Shallow, 1)?;
    Ok(items)
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
fn parse(args: &[JValue], budget: &Budget) -> Answer {
    let text = args.first().filter(|it| it.is_string());
    let text = text.ok_or_else(|| refuse("$parse takes a text"))?;
    budget.charge(text, Cost::Shallow, 8)?;
    let value: serde_json::Value = serde_json::from_str(text.as_str().unwrap_or_default())
        .map_err(|_| refuse("$parse: the text is not JSON"))?;
    Ok(JValue::from(value))
}

/// `$pad(text, width, characters)`: on the left where the width is negative.
fn pad(args: &[JValue], budget: &Budget) -> Answer {
    let mismatch = |index: usize| {
        refuse(format!(
            "T0410: Argument {index} of function \"pad\" does not match function signature"
        ))
    };
    let text = match args.first() {
        Some(JValue::Undefined) | None => return Ok(JValue::Undefined),
        Some(JValue::String(text)) => text,
        Some(_) => return Err(mismatch(1)),
    };
    let width = args.get(1).and_then(JValue::as_f64);
    let width = width.ok_or_else(|| mismatch(2))?;
    let filler: Vec<char> = match args.get(2) {
        Some(JValue::Undefined) | None => vec![' '],
        Some(JValue::String(filler)) if filler.is_empty() => vec![' '],
        Some(JValue::String(filler)) => filler.chars().collect(),
        Some(_) => return Err(mismatch(3)),
    };
    let n_wanted = whole(width.abs());
    limit_built(n_wanted)?;
    let n_missing = n_wanted.saturating_sub(text.chars().count());
    let filling: String = filler.iter().cycle().take(n_missing).collect();
    limit_built(text.len() + filling.len())?;
    let padded = JValue::from(if width < 0.0 {
        format!("{filling}{text}")
    } else {
        format!("{text}{filling}")
    });
    budget.charge(&padded, Cost::Shallow, 1)?;
    Ok(padded)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, which is meant: it is compared with a limit"
)]
fn whole(number: f64) -> usize {
    number as usize
}

/// `$join(texts, separator)`, whose result is measured before it is built.
pub(super) fn join(args: &[JValue], budget: &Budget) -> Answer {
    let separator = match args.get(1) {
        Some(JValue::Undefined) | None => "",
        Some(JValue::String(separator)) => separator,
        Some(_) => {
            return Err(refuse(
                "T0410: Argument 2 of function \"join\" does not match function signature",
            ));
        }
    };
    if 2 < args.len() {
        return Err(refuse(
            "T0410: Argument 3 of function \"join\" does not match function signature",
        ));
    }
    let items = match args.first() {
        Some(JValue::Undefined) | None => return Ok(JValue::Undefined),
        Some(JValue::Array(items)) => items.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    let mut n_bytes = 0_usize;
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        let text = item.as_str().ok_or_else(|| {
            refuse("T0412: Argument 1 of function \"join\" must be an array of strings")
        })?;
        n_bytes += text.len() + separator.len();
        limit_built(n_bytes)?;
        texts.push(text);
    }
    let joined = JValue::from(texts.join(separator));
    budget.charge(&joined, Cost::Shallow, 1)?;
    Ok(joined)
}

/// `$replace(text, pattern, replacement, limit)`, whose result is bounded before it is built.
pub(super) fn replace(args: &[JValue], budget: &Budget, regex_weight: u64) -> Answer {
    let mismatch = |index: usize| {
        refuse(format!(
            "T0410: Argument {index} of function \"replace\" does not match function signature"
        ))
    };
    let text = match args.first() {
        Some(JValue::Undefined) | None => return Ok(JValue::Undefined),
        Some(JValue::String(text)) => text,
        Some(_) => return Err(mismatch(1)),
    };
    let pattern = args.get(1).ok_or_else(|| mismatch(2))?;
    let replacement = match args.get(2) {
        Some(JValue::String(replacement)) => replacement,
        Some(it) if it.is_function() => {
            return Err(refuse(
                "$replace takes a function only where it is written as an argument",
            ));
        }
        _ => return Err(mismatch(3)),
    };
    let limit = match args.get(3) {
        Some(JValue::Undefined) | None => None,
        Some(JValue::Number(limit)) if *limit < 0.0 => {
            return Err(refuse(
                "D3011: Fourth argument of replace function must evaluate to a positive number",
            ));
        }
        Some(JValue::Number(limit)) => Some(whole(*limit)),
        Some(_) => return Err(mismatch(4)),
    };
    let text_value = JValue::String(Rc::clone(text));
    let n_matches = match pattern {
        JValue::String(pattern) if pattern.is_empty() => 0,
        JValue::String(pattern) => {
            budget.charge(&text_value, Cost::Shallow, 1)?;
            text.matches(&**pattern).count()
        }
        JValue::Regex { pattern, flags } => {
            budget.charge(&text_value, Cost::Matched, 2 * regex_weight.max(1))?;
            let regex = jsonata_core::functions::string::build_regex(pattern, flags)?;
            let n_groups = replacement.matches('$').count();
            limit_built(text.len().saturating_mul(n_groups))?;
            regex.find_iter(text).count()
        }
        _ => return Err(mismatch(2)),
    };
    let n_matches = limit.map_or(n_matches, |it| n_matches.min(it));
    limit_built(
        replacement
            .len()
            .saturating_mul(n_matches)
            .saturating_add(text.len()),
    )?;
    let replaced = jsonata_core::functions::string::replace(text, pattern, replacement, limit)?;
    budget.charge(&replaced, Cost::Shallow, 2)?;
    Ok(replaced)
}
