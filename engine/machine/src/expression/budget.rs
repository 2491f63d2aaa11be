//! The work that one evaluation may do, counted so that every machine counts the same.

use std::cell::Cell;
use std::rc::Rc;

use jsonata_core::evaluator::EvaluatorError;
use jsonata_core::value::JValue;

use crate::limits::{EXPRESSION_STEPS_MAX, EXPRESSION_TEXT_BYTES_MAX};

/// The steps that one evaluation has left.
///
/// A step is about a tenth of a microsecond of work. What costs steps is put into the expression by
/// [`super::meter`]; nothing here looks at a clock.
#[derive(Debug)]
pub(super) struct Budget {
    left: Cell<u64>,
}

/// How the work of a consumer grows with the value that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// With the items of an array; anything else is shared, not copied.
    Items,
    /// With the items of an array or object, or the length of a text.
    Shallow,
    /// With everything inside.
    Deep,
    /// With the square of the items.
    Square,
    /// With everything inside, times its depth: every line is indented.
    Indented,
    /// With the length of a text, times the size of the largest pattern, and its square.
    Matched,
    /// With the power of all items inside: each is combined with each.
    Joined,
    /// A picture, which is short: a long one may stand for any width.
    Picture,
    /// A whole number that a range may begin or end with.
    Bound,
    /// What a pattern is replaced with, once for each match.
    Replacement,
}

const COSTS: [Cost; 10] = [
    Cost::Items,
    Cost::Shallow,
    Cost::Deep,
    Cost::Square,
    Cost::Indented,
    Cost::Matched,
    Cost::Joined,
    Cost::Picture,
    Cost::Bound,
    Cost::Replacement,
];

impl Cost {
    /// The number that stands for it in a metered expression.
    pub fn code(self) -> f64 {
        let index = COSTS.iter().position(|it| *it == self).unwrap_or_default();
        f64::from(u8::try_from(index).unwrap_or_default())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "written by `code`"
    )]
    fn from_code(code: Option<f64>) -> Self {
        COSTS[(code.unwrap_or_default() as usize).min(COSTS.len() - 1)]
    }
}

/// Longest picture of a number or a time, in bytes.
const PICTURE_BYTES_MAX: usize = 256;

/// Longest text that an inline function may put in the place of one match, in bytes.
const REPLACEMENT_BYTES_MAX: usize = 1024;

/// Bytes of text that are copied or scanned in one step.
const BYTES_PER_STEP: u64 = 32;

/// Items that are copied in one step.
const ITEMS_PER_STEP: u64 = 4;

/// Pairs of items that are compared in one step.
const PAIRS_PER_STEP: u64 = 32;

/// Steps to bind the variables of one combination of items.
const STEPS_PER_TUPLE: u64 = 8;

/// Steps to compile a small pattern, which every call does anew.
const STEPS_PER_PATTERN: u64 = 256;

pub(super) fn refuse(message: impl Into<String>) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.into())
}

impl Budget {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(EXPRESSION_STEPS_MAX),
        })
    }

    /// Takes `steps`, or refuses to go on.
    pub fn take(&self, steps: u64) -> Result<(), EvaluatorError> {
        let left = self.left.get().checked_sub(steps);
        self.left.set(left.unwrap_or(0));
        match left {
            Some(_) => Ok(()),
            None => Err(refuse(format!(
                "the expression takes more than {EXPRESSION_STEPS_MAX} steps"
            ))),
        }
    }

    /// Takes what it costs to consume `value`.
    pub fn charge(&self, value: &JValue, cost: Cost, factor: u64) -> Result<(), EvaluatorError> {
        let steps = match cost {
            Cost::Items => 1 + items(value) / ITEMS_PER_STEP,
            Cost::Shallow => shallow(value),
            Cost::Deep => self.deep(value)?.0,
            Cost::Square => {
                let (steps, _, _) = self.deep(value)?;
                let items = size(value);
                steps.saturating_add(items.saturating_mul(items) / PAIRS_PER_STEP)
            }
            Cost::Indented => {
                let (steps, depth, _) = self.deep(value)?;
                steps.saturating_mul(depth)
            }
            Cost::Matched => {
                let length = text_length(value);
                length.saturating_mul(factor) / BYTES_PER_STEP
                    + length.saturating_mul(length) / (8 * BYTES_PER_STEP)
                    + factor.saturating_mul(STEPS_PER_PATTERN)
            }
            Cost::Joined => {
                let (steps, _, items) = self.deep(value)?;
                let power = u32::try_from(factor).unwrap_or(u32::MAX);
                steps.saturating_add(items.saturating_pow(power).saturating_mul(STEPS_PER_TUPLE))
            }
            Cost::Picture => {
                limit_text(value, PICTURE_BYTES_MAX, "a picture")?;
                shallow(value)
            }
            Cost::Replacement => {
                limit_text(value, REPLACEMENT_BYTES_MAX, "a replacement")?;
                shallow(value)
            }
            Cost::Bound => {
                const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
                if value.as_f64().is_some_and(|it| WHOLE_MAX < it.abs()) {
                    return Err(refuse("D2014: a bound of a range is too large"));
                }
                1
            }
        };
        let has_own = matches!(cost, Cost::Matched | Cost::Joined);
        self.take(steps.saturating_mul(if has_own { 1 } else { factor }))
    }

    /// The steps for everything inside `value`, its depth, and the items of all its arrays.
    ///
    /// It walks a value of any depth without recursion, and no further than the budget reaches.
    fn deep(&self, value: &JValue) -> Result<(u64, u64, u64), EvaluatorError> {
        let (mut steps, mut depth, mut n_items) = (1_u64, 1_u64, 0_u64);
        let mut open = vec![(value, 1_u64)];
        while let Some((value, level)) = open.pop() {
            steps += shallow(value) + 1;
            n_items += items(value);
            depth = depth.max(level);
            if self.left.get() < steps / 2 {
                self.take(steps)?;
            }
            let is_container = |it: &&JValue| matches!(it, JValue::Array(_) | JValue::Object(_));
            match value {
                JValue::Array(items) => {
                    for item in items {
                        if is_container(&item) {
                            open.push((item, level + 1));
                        } else {
                            steps += text_length(item) / BYTES_PER_STEP;
                        }
                    }
                }
                JValue::Object(fields) => {
                    for item in fields.values() {
                        if is_container(&item) {
                            open.push((item, level + 1));
                        } else {
                            steps += text_length(item) / BYTES_PER_STEP;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok((steps, depth, n_items))
    }

    /// Takes what it costs to follow `names` from `value` through every array on the way.
    pub fn touch<'v>(
        &self,
        value: &'v JValue,
        factor: u64,
        names: impl Iterator<Item = &'v str>,
    ) -> Result<(), EvaluatorError> {
        let mut found = vec![value];
        let mut steps = 1_u64;
        for name in names {
            let mut next = Vec::new();
            while let Some(value) = found.pop() {
                match value {
                    JValue::Object(fields) => next.extend(fields.get(name)),
                    JValue::Array(items) => {
                        steps += size(value) / ITEMS_PER_STEP;
                        found.extend(items.iter());
                    }
                    _ => {}
                }
            }
            steps += 1 + length(next.len()) / ITEMS_PER_STEP;
            if self.left.get() < steps {
                break;
            }
            found = next;
        }
        let spread: u64 = found.iter().map(|it| items(it) / ITEMS_PER_STEP).sum();
        self.take(steps.saturating_add(spread).saturating_mul(factor))
    }
}

fn size(value: &JValue) -> u64 {
    let size = match value {
        JValue::Array(items) => items.len(),
        JValue::Object(fields) => fields.len(),
        _ => 0,
    };
    length(size)
}

fn items(value: &JValue) -> u64 {
    value.as_array().map_or(0, |it| length(it.len()))
}

fn length(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn text_length(value: &JValue) -> u64 {
    match value {
        JValue::String(text) => length(text.len()),
        _ => 0,
    }
}

fn shallow(value: &JValue) -> u64 {
    1 + size(value) / ITEMS_PER_STEP + text_length(value) / BYTES_PER_STEP
}

fn limit_text(value: &JValue, bytes_max: usize, what: &str) -> Result<(), EvaluatorError> {
    match value {
        JValue::String(text) if bytes_max < text.len() => {
            Err(refuse(format!("{what} has more than {bytes_max} bytes")))
        }
        _ => Ok(()),
    }
}

/// Refuses a text that is longer than an expression may build.
pub(super) fn limit_built(bytes: usize) -> Result<(), EvaluatorError> {
    if bytes <= EXPRESSION_TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(refuse(format!(
        "the expression builds a text of more than {EXPRESSION_TEXT_BYTES_MAX} bytes"
    )))
}

/// The host functions that a metered expression calls. No source can name them.
pub(super) mod names {
    /// `(value, cost, factor)`: the value, once its cost is taken.
    pub const CHARGE: &str = "(charge)";
    /// `(steps)`: nothing, once the steps are taken.
    pub const TICK: &str = "(tick)";
    /// `(value, factor, name..)`: nothing, once the way along the names is taken.
    pub const TOUCH: &str = "(touch)";
    /// `(anything, value)`: the value.
    pub const PAIR: &str = "(pair)";
    /// `(input, located)`: what a transformation has located in its input.
    pub const TARGETS: &str = "(targets)";
    /// `$join` with a bounded result.
    pub const JOIN: &str = "(join)";
    /// `$replace` of a text by a text, with a bounded result.
    pub const REPLACE: &str = "(replace)";
}

/// Registers what a metered expression calls.
pub(super) fn register(
    evaluator: &mut jsonata_core::evaluator::Evaluator,
    budget: &Rc<Budget>,
    regex_weight: u64,
) -> Result<(), EvaluatorError> {
    let undefined = JValue::Undefined;
    let own = Rc::clone(budget);
    evaluator.register_fn(names::CHARGE, move |args: &[JValue]| {
        let value = args.first().cloned().unwrap_or(JValue::Undefined);
        let cost = Cost::from_code(args.get(1).and_then(JValue::as_f64));
        own.charge(&value, cost, number(args.get(2)))?;
        Ok(value)
    })?;
    let own = Rc::clone(budget);
    evaluator.register_fn(names::TICK, move |args: &[JValue]| {
        own.take(number(args.first()))?;
        Ok(undefined.clone())
    })?;
    let own = Rc::clone(budget);
    evaluator.register_fn(names::TOUCH, move |args: &[JValue]| {
        if let [value, factor, names @ ..] = args {
            let factor = number(Some(factor));
            own.touch(value, factor, names.iter().filter_map(JValue::as_str))?;
        }
        Ok(JValue::Undefined)
    })?;
    evaluator.register_fn(names::PAIR, |args: &[JValue]| {
        Ok(args.get(1).cloned().unwrap_or(JValue::Undefined))
    })?;
    let own = Rc::clone(budget);
    evaluator.register_fn(names::TARGETS, move |args: &[JValue]| {
        let located = args.get(1).cloned().unwrap_or(JValue::Undefined);
        // Every part of the input is compared with every target.
        let targets = 1 + size(&located);
        let input = args.first().map_or(Ok((1, 1, 0)), |it| own.deep(it))?.0;
        own.take(targets.saturating_mul(1 + input / PAIRS_PER_STEP))?;
        Ok(located)
    })?;
    let own = Rc::clone(budget);
    evaluator.register_fn(names::JOIN, move |args: &[JValue]| {
        super::functions::join(args, &own)
    })?;
    let own = Rc::clone(budget);
    evaluator.register_fn(names::REPLACE, move |args: &[JValue]| {
        super::functions::replace(args, &own, regex_weight)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number that the meter wrote"
)]
fn number(value: Option<&JValue>) -> u64 {
    value.and_then(JValue::as_f64).map_or(1, |it| it as u64)
}
