//! Paths: parsed once, evaluated often.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::cursor::{Cursor, unescape};
use super::evaluation::Evaluation;
use super::filter::Filter;
use super::{PathError, PathScope};
use crate::limits::{EXPRESSION_BYTES_MAX, JSONPATH_NESTING_MAX, JSONPATH_SEGMENTS_MAX};

/// A parsed path: `$.a[0].b`, `$..x`, `$$.Execution.Id`, `$variable.field`.
#[derive(Debug)]
pub(crate) struct Path {
    source: String,
    root: Root,
    segments: Vec<Segment>,
    variables: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Root {
    Data,
    Context,
    Variable(String),
}

/// One step of a path.
#[derive(Debug)]
pub(super) struct Segment {
    /// Whether it looks at all descendants (`..`), not just at the value itself.
    pub deep: bool,
    pub selector: Selector,
}

#[derive(Debug)]
pub(super) enum Selector {
    Name(String),
    Names(Vec<String>),
    Wildcard,
    Index(i64),
    Indexes(Vec<i64>),
    Slice { from: Option<i64>, to: Option<i64> },
    Filter(Filter),
}

impl Path {
    /// Parses a whole text.
    ///
    /// # Errors
    ///
    /// A sentence for a finding.
    pub fn parse(text: &str) -> Result<Self, String> {
        if EXPRESSION_BYTES_MAX < text.len() {
            return Err(format!(
                "the path has more than {EXPRESSION_BYTES_MAX} bytes"
            ));
        }
        let mut cursor = Cursor::new(text);
        let path = Self::read(&mut cursor)?;
        if cursor.peek().is_some() {
            return Err(cursor.unexpected("the end of the path"));
        }
        Ok(path)
    }

    /// Reads the path that begins here.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let start = cursor.at();
        cursor.expect("$")?;
        let mut variables = BTreeSet::new();
        let root = if cursor.eat("$") {
            Root::Context
        } else {
            match cursor.take_while(|it| it.is_alphanumeric() || it == '_') {
                "" => Root::Data,
                name => {
                    variables.insert(name.to_owned());
                    Root::Variable(name.to_owned())
                }
            }
        };
        let segments = segments(cursor, false, 0)?;
        Ok(Self {
            source: cursor.since(start).to_owned(),
            root,
            segments,
            variables,
        })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that it reads, without the `$`.
    pub fn variables(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// Whether it begins at `$`.
    pub fn reads_data(&self) -> bool {
        self.root == Root::Data
    }

    /// Whether it begins at `$$`.
    pub fn reads_context(&self) -> bool {
        self.root == Root::Context
    }

    /// Whether it leads to one value at most.
    pub fn is_definite(&self) -> bool {
        is_definite(&self.segments)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The value of a definite path, or the array of matches of any other.
    ///
    /// # Errors
    ///
    /// [`PathError::NotFound`] only for a definite path.
    pub fn evaluate(&self, scope: &dyn PathScope) -> Result<Value, PathError> {
        match &self.root {
            Root::Data => self.evaluate_in(scope.data()),
            Root::Context => self.evaluate_in(&scope.context()),
            Root::Variable(name) => match scope.variable(name) {
                Some(value) => self.evaluate_in(value),
                None => Err(PathError::NoVariable(name.clone())),
            },
        }
    }

    fn evaluate_in(&self, root: &Value) -> Result<Value, PathError> {
        let evaluation = Evaluation::new(root);
        if !self.is_definite() {
            return evaluation
                .select(&self.segments, root)
                .and_then(|it| evaluation.copy(it))
                .map(Value::Array);
        }
        evaluation
            .follow(&self.segments, root)
            .map(std::borrow::Cow::into_owned)
            .map_err(|detail| PathError::NotFound {
                path: self.source.clone(),
                detail,
                call: None,
            })
    }
}

/// Whether these steps lead to one value at most.
pub(super) fn is_definite(segments: &[Segment]) -> bool {
    segments.iter().enumerate().all(|(index, segment)| {
        let is_last = index + 1 == segments.len();
        match segment.selector {
            Selector::Name(_) | Selector::Index(_) => !segment.deep,
            // Several names at the end are one object with these fields.
            Selector::Names(_) => is_last && !segment.deep,
            _ => false,
        }
    })
}

/// Writes the steps of a definite path as Jayway does: `$['a'][0]`.
pub(super) fn normalised(segments: &[Segment]) -> String {
    let mut text = "$".to_owned();
    for segment in segments {
        // Writing to a text cannot fail.
        let _ = match &segment.selector {
            Selector::Name(name) => write!(text, "['{name}']"),
            Selector::Names(names) => write!(text, "['{}']", names.join("','")),
            Selector::Index(index) => write!(text, "[{index}]"),
            _ => write!(text, "[*]"),
        };
    }
    text
}

/// Reads steps up to what cannot be one.
pub(super) fn segments(
    cursor: &mut Cursor<'_>,
    in_filter: bool,
    depth: usize,
) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    loop {
        let deep = cursor.eat("..");
        let selector = if cursor.eat("[") {
            bracketed(cursor, depth)?
        } else if deep || cursor.eat(".") {
            dotted(cursor, in_filter)?
        } else {
            break;
        };
        if segments.len() == JSONPATH_SEGMENTS_MAX {
            return Err(format!(
                "the path has more than {JSONPATH_SEGMENTS_MAX} steps"
            ));
        }
        segments.push(Segment { deep, selector });
    }
    if cursor.peek() == Some('(') {
        return Err("a path may not call functions".to_owned());
    }
    Ok(segments)
}

fn dotted(cursor: &mut Cursor<'_>, in_filter: bool) -> Result<Selector, String> {
    if cursor.eat("*") {
        return Ok(Selector::Wildcard);
    }
    let name = cursor.take_while(|it| {
        let ends = matches!(
            it,
            '.' | '[' | ']' | '(' | ')' | ',' | '\'' | '"' | '*' | '?'
        ) || it.is_whitespace()
            || (in_filter && matches!(it, '=' | '!' | '<' | '>' | '&' | '|'));
        !ends
    });
    if name.is_empty() {
        return Err(cursor.unexpected("a name"));
    }
    Ok(Selector::Name(name.to_owned()))
}

fn bracketed(cursor: &mut Cursor<'_>, depth: usize) -> Result<Selector, String> {
    cursor.skip_space();
    let selector = match cursor.peek() {
        Some('*') => {
            cursor.next();
            Selector::Wildcard
        }
        Some('\'' | '"') => names(cursor)?,
        Some('?') => {
            if depth == JSONPATH_NESTING_MAX {
                return Err("the path is nested too deep".to_owned());
            }
            cursor.next();
            cursor.skip_space();
            cursor.expect("(")?;
            let filter = Filter::read(cursor, depth + 1)?;
            cursor.expect(")")?;
            Selector::Filter(filter)
        }
        Some(':' | '-' | '0'..='9') => positions(cursor)?,
        _ => return Err(cursor.unexpected("a name, an index, a slice, `*` or `?(`")),
    };
    cursor.skip_space();
    cursor.expect("]")?;
    Ok(selector)
}

fn names(cursor: &mut Cursor<'_>) -> Result<Selector, String> {
    let mut names = Vec::new();
    loop {
        let Some(quote @ ('\'' | '"')) = cursor.peek() else {
            return Err(cursor.unexpected("a quoted name"));
        };
        names.push(unescape(cursor.quoted()?, &[quote, '\\']));
        cursor.skip_space();
        if !cursor.eat(",") {
            break;
        }
        cursor.skip_space();
    }
    Ok(match names.pop() {
        Some(only) if names.is_empty() => Selector::Name(only),
        last => {
            names.extend(last);
            Selector::Names(names)
        }
    })
}

/// An index, several, or a slice.
fn positions(cursor: &mut Cursor<'_>) -> Result<Selector, String> {
    let from = match cursor.peek() {
        Some(':') => None,
        _ => Some(cursor.whole()?),
    };
    cursor.skip_space();
    if cursor.eat(":") {
        cursor.skip_space();
        let to = match cursor.peek() {
            Some(']') => None,
            _ => Some(cursor.whole()?),
        };
        return Ok(Selector::Slice { from, to });
    }
    let mut indexes: Vec<i64> = from.into_iter().collect();
    while cursor.eat(",") {
        cursor.skip_space();
        indexes.push(cursor.whole()?);
        cursor.skip_space();
    }
    Ok(match indexes[..] {
        [only] => Selector::Index(only),
        _ => Selector::Indexes(indexes),
    })
}
