//! A JSON value in a definition: literal, expression, or a mixture of both.

use serde_json::Value;

use super::reader::Reader;
use super::states::Language;
use super::visit::Query;
use crate::expression::Expression;
use crate::finding::at;
use crate::jsonpath::PathExpression;
use crate::limits::TEMPLATE_DEPTH_MAX;
use crate::payload::Payload;

/// A JSON value whose texts may be `{% expressions %}`, or in JSONPath whose keys `k.$` hold paths.
#[derive(Debug)]
pub(crate) enum Template {
    Literal(Payload),
    Expression(Expression),
    Path(PathExpression),
    Array(Vec<Template>),
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Parses `value`; whatever is wrong becomes a finding and reads as `null`.
    pub fn parse(reader: &mut Reader, value: &Value, pointer: &str) -> Self {
        Self::parse_below(reader, value, pointer, 0)
    }

    fn parse_below(reader: &mut Reader, value: &Value, pointer: &str, depth: usize) -> Self {
        if TEMPLATE_DEPTH_MAX < depth {
            reader.error(
                "too_deep",
                pointer,
                format!("the document is nested deeper than {TEMPLATE_DEPTH_MAX} levels"),
                "flatten it",
            );
            return Self::Literal(Value::Null.into());
        }
        let parsed = match value {
            Value::String(text) if reader.language == Language::Jsonata => {
                return Self::parse_text(reader, text, pointer);
            }
            Value::Array(items) => Self::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, it)| {
                        Self::parse_below(reader, it, &format!("{pointer}/{index}"), depth + 1)
                    })
                    .collect(),
            ),
            Value::Object(fields) => Self::Object(
                fields
                    .iter()
                    .map(|(key, it)| Self::parse_field(reader, key, it, pointer, depth))
                    .collect(),
            ),
            _ => return Self::Literal(value.clone().into()),
        };
        if parsed.is_literal() {
            Self::Literal(value.clone().into())
        } else {
            parsed
        }
    }

    /// Parses one field of an object; in JSONPath the key `k.$` means `k`, and its value is a path.
    pub fn parse_field(
        reader: &mut Reader,
        key: &str,
        value: &Value,
        pointer: &str,
        depth: usize,
    ) -> (String, Self) {
        let place = at(pointer, key);
        match key.strip_suffix(".$") {
            Some(name) if reader.language == Language::JsonPath => {
                (name.to_owned(), Self::parse_path(reader, value, &place))
            }
            _ => (
                key.to_owned(),
                Self::parse_below(reader, value, &place, depth + 1),
            ),
        }
    }

    /// Parses a text that is a path or a call of an intrinsic function.
    pub fn parse_path(reader: &mut Reader, value: &Value, pointer: &str) -> Self {
        let parsed = match value.as_str() {
            Some(text) => PathExpression::parse(text),
            None => Err("a path is a text".to_owned()),
        };
        match parsed {
            Ok(it) => Self::Path(it),
            Err(message) => {
                reader.error(
                    "path_invalid",
                    pointer,
                    message,
                    "write a path such as `$.a.b`, or a call such as `States.Format('{}', $.a)`",
                );
                Self::Literal(Value::Null.into())
            }
        }
    }

    fn parse_text(reader: &mut Reader, text: &str, pointer: &str) -> Self {
        if let Some(source) = Self::delimited(text) {
            match Expression::parse(source) {
                Ok(expression) => Self::Expression(expression),
                Err((code, message)) => {
                    reader.error(
                        code,
                        pointer,
                        message,
                        "correct the JSONata between `{%` and `%}`",
                    );
                    Self::Literal(Value::Null.into())
                }
            }
        } else {
            if text.starts_with("{%") || text.ends_with("%}") {
                reader.error(
                    "expression_invalid",
                    pointer,
                    "an expression must begin with `{%` and end with `%}`",
                    "write `{% ... %}` around the whole text",
                );
            }
            Self::Literal(Value::String(text.to_owned()).into())
        }
    }

    /// The `JSONata` between the delimiters, if the text has both.
    fn delimited(text: &str) -> Option<&str> {
        Some(text.strip_prefix("{%")?.strip_suffix("%}")?.trim())
    }

    fn is_literal(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Expression(_) | Self::Path(_) => false,
            Self::Array(items) => items.iter().all(Self::is_literal),
            Self::Object(fields) => fields.iter().all(|(_, it)| it.is_literal()),
        }
    }

    /// The field of an object template.
    pub fn field(&self, name: &str) -> Option<FieldOf<'_>> {
        match self {
            Self::Literal(payload) => payload.get(name).map(FieldOf::Literal),
            Self::Object(fields) => {
                fields
                    .iter()
                    .find(|(key, _)| key == name)
                    .map(|(_, it)| match it {
                        Self::Literal(payload) => FieldOf::Literal(payload),
                        _ => FieldOf::Computed,
                    })
            }
            Self::Expression(_) | Self::Path(_) | Self::Array(_) => None,
        }
    }

    /// Visits every query with its JSON pointer below `pointer`.
    pub fn queries<'a>(&'a self, pointer: &str, visit: &mut dyn FnMut(&str, Query<'a>)) {
        match self {
            Self::Literal(_) => {}
            Self::Expression(it) => visit(pointer, Query::Expression(it)),
            Self::Path(it) => visit(pointer, Query::PathExpression(it)),
            Self::Array(items) => {
                for (index, it) in items.iter().enumerate() {
                    it.queries(&format!("{pointer}/{index}"), visit);
                }
            }
            Self::Object(fields) => {
                for (key, it) in fields {
                    let place = match it {
                        Self::Path(_) => at(pointer, &format!("{key}.$")),
                        _ => at(pointer, key),
                    };
                    it.queries(&place, visit);
                }
            }
        }
    }
}

/// What an object template says about one of its fields.
pub(crate) enum FieldOf<'a> {
    Literal(&'a Value),
    Computed,
}
