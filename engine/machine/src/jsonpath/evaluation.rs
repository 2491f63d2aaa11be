//! Evaluates the steps of a path with counted work.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::{Map, Value};

use super::PathError;
use super::path::{Segment, Selector, normalised};
use super::value::kind;
use crate::limits::JSONPATH_WORK_MAX;

/// Work that copying one value costs; looking at it costs 1.
const COPY_COST: usize = 4;

/// Characters of a text that cost as much as one value.
const CHARS_PER_UNIT: usize = 8;

/// One evaluation of one path.
pub(super) struct Evaluation<'a> {
    /// What `$` stands for in a filter.
    root: &'a Value,
    work: Cell<usize>,
}

impl<'a> Evaluation<'a> {
    pub fn new(root: &'a Value) -> Self {
        Self {
            root,
            work: Cell::new(0),
        }
    }

    pub fn root(&self) -> &'a Value {
        self.root
    }

    pub fn charge(&self, work: usize) -> Result<(), PathError> {
        let total = self.work.get().saturating_add(work);
        self.work.set(total);
        if JSONPATH_WORK_MAX < total {
            return Err(PathError::Invalid(
                "the path is too costly for this data".to_owned(),
            ));
        }
        Ok(())
    }

    /// All matches of a path, in the order of the document.
    pub fn select(
        &self,
        segments: &'a [Segment],
        start: &'a Value,
    ) -> Result<Vec<Cow<'a, Value>>, PathError> {
        let mut values = vec![start];
        for (index, segment) in segments.iter().enumerate() {
            if segment.deep {
                values = self.descendants(&values)?;
            }
            if let (Selector::Names(names), true) = (&segment.selector, index + 1 == segments.len())
            {
                return self.merge(&values, names);
            }
            let mut found = Vec::new();
            for value in values {
                self.step(segment, value, &mut found)?;
            }
            values = found;
        }
        Ok(values.into_iter().map(Cow::Borrowed).collect())
    }

    /// The values themselves and all below them, parents first.
    fn descendants(&self, starts: &[&'a Value]) -> Result<Vec<&'a Value>, PathError> {
        let mut found = Vec::new();
        let mut open: Vec<&'a Value> = starts.iter().rev().copied().collect();
        while let Some(value) = open.pop() {
            self.charge(1)?;
            found.push(value);
            match value {
                Value::Array(items) => open.extend(items.iter().rev()),
                Value::Object(fields) => open.extend(fields.values().rev()),
                _ => {}
            }
        }
        Ok(found)
    }

    fn step(
        &self,
        segment: &'a Segment,
        value: &'a Value,
        found: &mut Vec<&'a Value>,
    ) -> Result<(), PathError> {
        self.charge(1)?;
        let before = found.len();
        match (&segment.selector, value) {
            (Selector::Name(name), Value::Object(fields)) => found.extend(fields.get(name)),
            (Selector::Names(names), Value::Object(fields)) => {
                found.extend(names.iter().filter_map(|it| fields.get(it)));
            }
            (Selector::Wildcard, Value::Object(fields)) => found.extend(fields.values()),
            (Selector::Wildcard, Value::Array(items)) => found.extend(items),
            (Selector::Index(at), Value::Array(items)) => found.extend(item(items, *at)),
            (Selector::Indexes(indexes), Value::Array(items)) => {
                found.extend(indexes.iter().filter_map(|it| item(items, *it)));
            }
            (Selector::Slice { from, to }, Value::Array(items)) => {
                found.extend(slice(items, *from, *to));
            }
            // A filter asks an object about itself and an array about each item; below `..` the
            // items come by themselves.
            (Selector::Filter(filter), Value::Object(_)) if filter.accepts(self, value)? => {
                found.push(value);
            }
            (Selector::Filter(filter), Value::Array(items)) => {
                for it in items.iter().filter(|it| !segment.deep || !it.is_object()) {
                    if filter.accepts(self, it)? {
                        found.push(it);
                    }
                }
            }
            _ => {}
        }
        self.charge(found.len() - before)
    }

    fn merge(
        &self,
        values: &[&'a Value],
        names: &[String],
    ) -> Result<Vec<Cow<'a, Value>>, PathError> {
        let mut found = Vec::new();
        for value in values {
            let Value::Object(fields) = value else {
                continue;
            };
            self.charge(names.len())?;
            for field in names.iter().filter_map(|it| fields.get(it)) {
                self.charge_copy(field)?;
            }
            let object = merged(fields, names);
            if object != Value::Object(Map::new()) {
                found.push(Cow::Owned(object));
            }
        }
        Ok(found)
    }

    /// Copies matches, as far as the limit allows.
    pub fn copy(&self, values: Vec<Cow<'a, Value>>) -> Result<Vec<Value>, PathError> {
        let mut copies = Vec::with_capacity(values.len());
        for value in values {
            if let Cow::Borrowed(value) = value {
                self.charge_copy(value)?;
            }
            copies.push(value.into_owned());
        }
        Ok(copies)
    }

    fn charge_copy(&self, value: &Value) -> Result<(), PathError> {
        self.charge(COPY_COST)?;
        match value {
            Value::String(text) => self.charge(text.len() / CHARS_PER_UNIT),
            Value::Array(items) => items.iter().try_for_each(|it| self.charge_copy(it)),
            Value::Object(fields) => fields.iter().try_for_each(|(key, it)| {
                self.charge(key.len() / CHARS_PER_UNIT)?;
                self.charge_copy(it)
            }),
            _ => Ok(()),
        }
    }

    /// Counts what reading a text costs.
    pub fn charge_text(&self, value: &Value) -> Result<(), PathError> {
        match value {
            Value::String(text) => self.charge(1 + text.len() / CHARS_PER_UNIT),
            _ => Ok(()),
        }
    }

    /// Whether two values are equal, counted.
    pub fn equal(&self, left: &Value, right: &Value) -> Result<bool, PathError> {
        self.charge(1)?;
        match (left, right) {
            (Value::Array(left), Value::Array(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right) {
                    if !self.equal(left, right)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Object(left), Value::Object(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (key, it) in left {
                    match right.get(key) {
                        Some(other) if self.equal(it, other)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
            (Value::String(_), _) => {
                self.charge_text(left)?;
                Ok(left == right)
            }
            _ => Ok(crate::expression::equal(left, right)),
        }
    }
}

/// Where a definite path came to nothing: the step, and the value that it met.
pub(super) struct Miss<'a> {
    index: usize,
    met: &'a Value,
}

impl Miss<'_> {
    /// What is wrong, in the words of Jayway.
    pub fn describe(&self, segments: &[Segment]) -> String {
        let Self { index, met } = self;
        match (&segments[*index].selector, met) {
            (Selector::Name(_), Value::Object(_)) if index + 1 < segments.len() => {
                format!(
                    "Missing property in path {}",
                    normalised(&segments[..=*index])
                )
            }
            (Selector::Name(_), Value::Object(_)) | (Selector::Index(_), Value::Array(_)) => {
                format!("No results for path: {}", normalised(segments))
            }
            (Selector::Index(at), _) => {
                format!("Filter: [{at}] can only be applied to arrays. Current context is: {met}")
            }
            _ => format!(
                "Expected to find an object with property {} in path {} but found {}.",
                &normalised(&segments[*index..=*index])[1..],
                normalised(&segments[..*index]),
                kind(met)
            ),
        }
    }

    /// Whether the last step is an index into an array that is too short.
    pub fn is_past_end(&self, segments: &[Segment]) -> bool {
        let is_index = matches!(segments[self.index].selector, Selector::Index(_));
        is_index && self.index + 1 == segments.len() && self.met.is_array()
    }
}

/// Follows a definite path.
pub(super) fn follow<'a>(
    segments: &[Segment],
    start: &'a Value,
) -> Result<Cow<'a, Value>, Miss<'a>> {
    let mut met = start;
    for (index, segment) in segments.iter().enumerate() {
        let found = match (&segment.selector, met) {
            (Selector::Names(names), Value::Object(fields)) => {
                return Ok(Cow::Owned(merged(fields, names)));
            }
            (Selector::Name(name), Value::Object(fields)) => fields.get(name),
            (Selector::Index(at), Value::Array(items)) => item(items, *at),
            _ => None,
        };
        match found {
            Some(found) => met = found,
            None => return Err(Miss { index, met }),
        }
    }
    Ok(Cow::Borrowed(met))
}

fn merged(fields: &Map<String, Value>, names: &[String]) -> Value {
    let fields = names
        .iter()
        .filter_map(|name| Some((name.clone(), fields.get(name)?.clone())));
    Value::Object(fields.collect())
}

/// The item at `index`; a negative one counts from the end.
fn item(items: &[Value], index: i64) -> Option<&Value> {
    items.get(position(items, index)?)
}

fn position(items: &[Value], index: i64) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 {
        items.len().checked_sub(distance)
    } else {
        Some(distance)
    }
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>) -> &[Value] {
    let bound = |index: i64| position(items, index).unwrap_or(0).min(items.len());
    let from = from.map_or(0, bound);
    let to = to.map_or(items.len(), bound);
    items.get(from..to).unwrap_or_default()
}
