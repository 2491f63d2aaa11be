//! The value of a key `k.$`: a path or a call of an intrinsic function.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::cursor::{Cursor, unescape};
use super::filter::word;
use super::intrinsic::{self, Function};
use super::path::Path;
use super::value::weight;
use super::{PathError, PathScope};
use crate::expression::Random;
use crate::limits::{EXPRESSION_BYTES_MAX, INTRINSIC_BYTES_MAX, INTRINSIC_NESTING_MAX};

/// A path or a call.
#[derive(Debug)]
pub(crate) enum PathExpression {
    Path(Path),
    Call(IntrinsicCall),
}

/// A call such as `States.Format('Hello {}', $.name)`.
#[derive(Debug)]
pub(crate) struct IntrinsicCall {
    source: String,
    function: Function,
    arguments: Vec<Argument>,
    variables: BTreeSet<String>,
}

#[derive(Debug)]
enum Argument {
    /// A text between single quotes, with its escapes.
    Text(String),
    Literal(Value),
    Path(Path),
    Call(IntrinsicCall),
}

impl PathExpression {
    /// Parses a whole text.
    ///
    /// # Errors
    ///
    /// A sentence for a finding.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("States.") {
            return Path::parse(text).map(Self::Path);
        }
        if EXPRESSION_BYTES_MAX < text.len() {
            return Err(format!(
                "the call has more than {EXPRESSION_BYTES_MAX} bytes"
            ));
        }
        let mut cursor = Cursor::new(text);
        let call = IntrinsicCall::read(&mut cursor, 1)?;
        cursor.skip_space();
        if cursor.peek().is_some() {
            return Err(cursor.unexpected("the end of the call"));
        }
        Ok(Self::Call(call))
    }

    pub fn source(&self) -> &str {
        match self {
            Self::Path(path) => path.source(),
            Self::Call(call) => &call.source,
        }
    }

    /// The variables that it reads, without the `$`.
    pub fn variables(&self) -> &BTreeSet<String> {
        match self {
            Self::Path(path) => path.variables(),
            Self::Call(call) => &call.variables,
        }
    }

    /// Visits every path in it.
    pub fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Self::Path(path) => visit(path),
            Self::Call(call) => call.paths(visit),
        }
    }

    /// # Errors
    ///
    /// As for [`Path::evaluate`], and [`PathError::Intrinsic`] if a function refuses its arguments.
    pub fn evaluate(&self, scope: &dyn PathScope, random: &Rc<Random>) -> Result<Value, PathError> {
        match self {
            Self::Path(path) => path.evaluate(scope),
            Self::Call(call) => call.evaluate(scope, random, &mut 0),
        }
    }
}

impl IntrinsicCall {
    fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        if INTRINSIC_NESTING_MAX < depth {
            return Err(format!(
                "functions are nested deeper than {INTRINSIC_NESTING_MAX} levels"
            ));
        }
        let start = cursor.at();
        let name = cursor.take_while(|it| it.is_ascii_alphanumeric() || it == '.');
        let (function, arity) =
            Function::named(name).ok_or_else(|| format!("`{name}` is not a function"))?;
        cursor.skip_space();
        cursor.expect("(")?;
        cursor.skip_space();
        let mut arguments = Vec::new();
        while !cursor.eat(")") {
            if !arguments.is_empty() {
                cursor.expect(",")?;
                cursor.skip_space();
            }
            arguments.push(Argument::read(cursor, depth)?);
            cursor.skip_space();
        }
        if !arity.contains(&arguments.len()) {
            return Err(format!(
                "`{name}` does not take {} arguments",
                arguments.len()
            ));
        }
        let mut call = Self {
            source: cursor.since(start).to_owned(),
            function,
            arguments,
            variables: BTreeSet::new(),
        };
        let mut variables = BTreeSet::new();
        call.paths(&mut |path| variables.extend(path.variables().iter().cloned()));
        call.variables = variables;
        Ok(call)
    }

    fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        for it in &self.arguments {
            match it {
                Argument::Path(path) => visit(path),
                Argument::Call(call) => call.paths(visit),
                Argument::Text(_) | Argument::Literal(_) => {}
            }
        }
    }

    /// `bytes` is what the arguments of the whole expression have taken so far.
    fn evaluate(
        &self,
        scope: &dyn PathScope,
        random: &Rc<Random>,
        bytes: &mut usize,
    ) -> Result<Value, PathError> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for (index, argument) in self.arguments.iter().enumerate() {
            let value = match argument {
                // The template of `States.Format` reads its own escapes.
                Argument::Text(raw) if self.function == Function::Format && index == 0 => {
                    Value::from(raw.as_str())
                }
                Argument::Text(raw) => Value::String(unescape(raw, &['\'', '\\', '{', '}'])),
                Argument::Literal(value) => value.clone(),
                Argument::Path(path) => path.evaluate(scope).map_err(|it| self.missing(it))?,
                Argument::Call(call) => call.evaluate(scope, random, bytes)?,
            };
            *bytes = bytes.saturating_add(weight(&value));
            if INTRINSIC_BYTES_MAX < *bytes {
                return Err(self.refused("The arguments are too large."));
            }
            values.push(value);
        }
        intrinsic::apply(self.function, values, random).map_err(|it| self.refused(&it))
    }

    fn refused(&self, reason: &str) -> PathError {
        PathError::Intrinsic(format!(
            "The function '{}' had the following error: {reason}",
            self.source
        ))
    }

    fn missing(&self, error: PathError) -> PathError {
        match error {
            PathError::NotFound { path, detail, .. } => PathError::NotFound {
                path,
                detail,
                call: Some(self.source.clone()),
            },
            other => other,
        }
    }
}

impl Argument {
    fn read(cursor: &mut Cursor<'_>, depth: usize) -> Result<Self, String> {
        match cursor.peek() {
            Some('\'') => cursor.quoted().map(|it| Self::Text(it.to_owned())),
            Some('$') => Path::read(cursor).map(Self::Path),
            Some('S') => IntrinsicCall::read(cursor, depth + 1).map(Self::Call),
            Some(_) => word(cursor).map(Self::Literal),
            None => Err(cursor.unexpected("an argument or `)`")),
        }
    }
}
