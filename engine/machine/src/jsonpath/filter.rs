//! Filters: `[?(@.price < 10 && @.tag in ['a', 'b'])]`.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::PathError;
use super::cursor::{Cursor, unescape};
use super::evaluation::{Evaluation, follow};
use super::path::{Segment, Selector, is_definite, segments};
use super::value::{compare_numbers, compare_texts};
use crate::limits::JSONPATH_NESTING_MAX;

/// A condition on one value.
#[derive(Debug)]
pub(super) enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Not(Box<Filter>),
    Exists(Query),
    Compare(Operand, Operator, Operand),
}

#[derive(Debug)]
pub(super) enum Operand {
    Literal(Value),
    Query(Query),
}

/// A path inside a filter: `@.a` or `$.a`.
#[derive(Debug)]
pub(super) struct Query {
    from_root: bool,
    segments: Vec<Segment>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Contains,
    SubsetOf,
    AnyOf,
    NoneOf,
    Size,
    Empty,
}

/// Longer spellings before their prefixes.
const SYMBOLS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

const WORDS: [(&str, Operator); 8] = [
    ("in", Operator::In),
    ("nin", Operator::NotIn),
    ("contains", Operator::Contains),
    ("subsetof", Operator::SubsetOf),
    ("anyof", Operator::AnyOf),
    ("noneof", Operator::NoneOf),
    ("size", Operator::Size),
    ("empty", Operator::Empty),
];

impl Filter {
    /// Reads a condition up to its closing parenthesis.
    pub fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        if JSONPATH_NESTING_MAX < depth {
            return Err("the filter is nested too deep".to_owned());
        }
        let mut any = vec![Self::read_all(cursor, depth)?];
        while cursor.eat("||") {
            any.push(Self::read_all(cursor, depth)?);
        }
        Ok(single(any, Self::Any))
    }

    fn read_all(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        let mut all = vec![Self::read_one(cursor, depth)?];
        while cursor.eat("&&") {
            all.push(Self::read_one(cursor, depth)?);
        }
        Ok(single(all, Self::All))
    }

    fn read_one(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        if JSONPATH_NESTING_MAX < depth {
            return Err("the filter is nested too deep".to_owned());
        }
        cursor.skip_space();
        let filter = if cursor.eat("!") {
            Self::Not(Box::new(Self::read_one(cursor, depth + 1)?))
        } else if cursor.eat("(") {
            let inner = Self::read(cursor, depth + 1)?;
            cursor.expect(")")?;
            inner
        } else {
            let left = Operand::read(cursor, depth)?;
            cursor.skip_space();
            match (operator(cursor)?, left) {
                (Some(operator), left) => {
                    cursor.skip_space();
                    Self::Compare(left, operator, Operand::read(cursor, depth)?)
                }
                (None, Operand::Query(query)) => Self::Exists(query),
                (None, Operand::Literal(_)) => return Err(cursor.unexpected("a comparison")),
            }
        };
        cursor.skip_space();
        Ok(filter)
    }

    /// Whether it holds for `value`.
    pub fn accepts<'a>(
        &'a self,
        evaluation: &Evaluation<'a>,
        value: &'a Value,
    ) -> Result<bool, PathError> {
        evaluation.charge(1)?;
        match self {
            Self::Any(filters) => {
                for it in filters {
                    if it.accepts(evaluation, value)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(filters) => {
                for it in filters {
                    if !it.accepts(evaluation, value)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(filter) => Ok(!filter.accepts(evaluation, value)?),
            Self::Exists(query) => Ok(query.value(evaluation, value)?.is_some()),
            Self::Compare(left, operator, right) => {
                let left = left.value(evaluation, value)?;
                let right = right.value(evaluation, value)?;
                holds(evaluation, left.as_deref(), *operator, right.as_deref())
            }
        }
    }
}

fn single(mut filters: Vec<Filter>, several: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.pop() {
        Some(only) if filters.is_empty() => only,
        last => {
            filters.extend(last);
            several(filters)
        }
    }
}

fn operator(cursor: &mut Cursor<'_>) -> Result<Option<Operator>, String> {
    for (symbol, operator) in SYMBOLS {
        if cursor.eat(symbol) {
            return Ok(Some(operator));
        }
    }
    if cursor.rest().starts_with("=~") {
        return Err("regular expressions are not supported".to_owned());
    }
    let word = cursor.take_while(|it| it.is_ascii_alphabetic());
    if word.is_empty() {
        return Ok(None);
    }
    let known = WORDS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    match known {
        Some((_, operator)) => Ok(Some(*operator)),
        None => Err(format!("`{word}` is not an operator")),
    }
}

impl Operand {
    fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        match cursor.peek() {
            Some('@' | '$') => {
                let from_root = cursor.next() == Some('$');
                let segments = segments(cursor, true, depth)?;
                Ok(Self::Query(Query {
                    from_root,
                    segments,
                }))
            }
            _ => literal(cursor, depth).map(Self::Literal),
        }
    }

    fn value<'a>(
        &'a self,
        evaluation: &Evaluation<'a>,
        current: &'a Value,
    ) -> Result<Option<Cow<'a, Value>>, PathError> {
        match self {
            Self::Literal(value) => Ok(Some(Cow::Borrowed(value))),
            Self::Query(query) => query.value(evaluation, current),
        }
    }
}

impl Query {
    fn value<'a>(
        &'a self,
        evaluation: &Evaluation<'a>,
        current: &'a Value,
    ) -> Result<Option<Cow<'a, Value>>, PathError> {
        let start = if self.from_root {
            evaluation.root()
        } else {
            current
        };
        evaluation.charge(self.segments.len())?;
        if let Some(Selector::Names(_)) = self.segments.last().map(|it| &it.selector)
            && is_definite(&self.segments)
        {
            return Ok(evaluation.select(&self.segments, start)?.pop());
        }
        if is_definite(&self.segments) {
            return Ok(follow(&self.segments, start).ok());
        }
        let found = evaluation.select(&self.segments, start)?;
        let copies = evaluation.copy(found)?;
        Ok(Some(Cow::Owned(Value::Array(copies))))
    }
}

/// A text in quotes, a number, `true`, `false`, `null`, or an array of these.
fn literal(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, String> {
    if JSONPATH_NESTING_MAX < depth {
        return Err("the filter is nested too deep".to_owned());
    }
    match cursor.peek() {
        Some(quote @ ('\'' | '"')) => {
            let text = unescape(cursor.quoted()?, &[quote, '\\']);
            Ok(Value::String(text))
        }
        Some('[') => {
            cursor.next();
            let mut items = Vec::new();
            cursor.skip_space();
            while !cursor.eat("]") {
                if !items.is_empty() {
                    cursor.expect(",")?;
                    cursor.skip_space();
                }
                items.push(literal(cursor, depth + 1)?);
                cursor.skip_space();
            }
            Ok(Value::Array(items))
        }
        _ => word(cursor),
    }
}

/// A number, `true`, `false` or `null`.
pub(super) fn word(cursor: &mut Cursor<'_>) -> Result<Value, String> {
    let text = cursor.take_while(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '+' | '.'));
    serde_json::from_str(text).map_err(|_| format!("`{text}` is not a literal"))
}

fn holds(
    evaluation: &Evaluation<'_>,
    left: Option<&Value>,
    operator: Operator,
    right: Option<&Value>,
) -> Result<bool, PathError> {
    // What is missing equals nothing, not even what else is missing.
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(matches!(operator, Operator::NotEqual | Operator::NotIn));
    };
    evaluation.charge_text(left)?;
    evaluation.charge_text(right)?;
    match operator {
        Operator::Equal => same(evaluation, left, right),
        Operator::NotEqual => Ok(!same(evaluation, left, right)?),
        Operator::Less => Ok(order(left, right) == Some(Ordering::Less)),
        Operator::LessOrEqual => Ok(order(left, right).is_some_and(Ordering::is_le)),
        Operator::Greater => Ok(order(left, right) == Some(Ordering::Greater)),
        Operator::GreaterOrEqual => Ok(order(left, right).is_some_and(Ordering::is_ge)),
        Operator::In => among(evaluation, left, right),
        Operator::NotIn => Ok(!among(evaluation, left, right)?),
        Operator::Contains => match (left, right) {
            (Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
            _ => among(evaluation, right, left),
        },
        Operator::SubsetOf => {
            Ok(common(evaluation, left, right)?
                .is_some_and(|(n_common, n_left)| n_common == n_left))
        }
        Operator::AnyOf => {
            Ok(common(evaluation, left, right)?.is_some_and(|(n_common, _)| 0 < n_common))
        }
        Operator::NoneOf => {
            Ok(common(evaluation, left, right)?.is_some_and(|(n_common, _)| n_common == 0))
        }
        Operator::Size => Ok(length(left).is_some_and(|it| right.as_u64() == Some(it as u64))),
        Operator::Empty => Ok(length(left).is_some_and(|it| right.as_bool() == Some(it == 0))),
    }
}

/// Equality in which a number also equals the text that spells it, as in Jayway's library.
fn same(evaluation: &Evaluation<'_>, left: &Value, right: &Value) -> Result<bool, PathError> {
    match (left, right) {
        (Value::Number(number), Value::String(text))
        | (Value::String(text), Value::Number(number)) => {
            evaluation.charge_text(left)?;
            evaluation.charge_text(right)?;
            Ok(number.as_f64() == text.parse::<f64>().ok())
        }
        _ => evaluation.equal(left, right),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::String(left), Value::String(right)) => Some(compare_texts(left, right)),
        _ => None,
    }
}

fn among(evaluation: &Evaluation<'_>, value: &Value, list: &Value) -> Result<bool, PathError> {
    for it in list.as_array().into_iter().flatten() {
        if same(evaluation, value, it)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many items of the left array are in the right one, and how many there are.
fn common(
    evaluation: &Evaluation<'_>,
    left: &Value,
    right: &Value,
) -> Result<Option<(usize, usize)>, PathError> {
    let (Some(items), true) = (left.as_array(), right.is_array()) else {
        return Ok(None);
    };
    let mut n_common = 0;
    for it in items {
        n_common += usize::from(among(evaluation, it, right)?);
    }
    Ok(Some((n_common, items.len())))
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::Array(items) => Some(items.len()),
        Value::String(text) => Some(text.chars().count()),
        _ => None,
    }
}
