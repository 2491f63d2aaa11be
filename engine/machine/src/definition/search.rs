//! Search attributes: the few codes by which a bank finds its workflows again.
//!
//! They are kept in the clear beside the workflow, so nothing that says who a person is may become
//! one: a value is a short code, a number, a flag or a time, and it may be taken from the input only
//! where `inputSchema` describes the field and gives it no `x-data-class`.

use serde_json::{Map, Value};

use super::reader::Reader;
use crate::finding::at;
use crate::limits::{
    SCHEMA_REFERENCES_MAX, SEARCH_ATTRIBUTE_NAME_BYTES_MAX, SEARCH_ATTRIBUTES_MAX,
};

/// What a search attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchKind {
    /// A short code, compared as it is written.
    Keyword,
    Integer,
    Boolean,
    /// An RFC 3339 time.
    Time,
}

impl SearchKind {
    const ALL: [(&'static str, Self); 4] = [
        ("keyword", Self::Keyword),
        ("integer", Self::Integer),
        ("boolean", Self::Boolean),
        ("time", Self::Time),
    ];

    /// The word of a definition for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keyword => "keyword",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Time => "time",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, kind)| kind)
    }
}

/// One declared search attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchAttribute {
    pub name: String,
    pub kind: SearchKind,
    /// Where in the input its first value is, as a JSON pointer.
    pub from: Option<String>,
}

/// Reads `searchAttributes`; `schema` is `inputSchema`.
pub(super) fn read(
    reader: &mut Reader,
    value: &Value,
    schema: Option<&Value>,
) -> Vec<SearchAttribute> {
    const PLACE: &str = "/searchAttributes";
    let Some(entries) = reader.object(value, PLACE) else {
        return Vec::new();
    };
    if SEARCH_ATTRIBUTES_MAX < entries.len() {
        reader.error(
            "search_attributes_too_many",
            PLACE,
            format!("a definition has at most {SEARCH_ATTRIBUTES_MAX} search attributes"),
            "keep those that people look for",
        );
    }
    let mut attributes = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let pointer = at(PLACE, name);
        if !is_name(name) {
            reader.error(
                "search_attribute_name_invalid",
                &pointer,
                format!(
                    "a search attribute's name is 1 to {SEARCH_ATTRIBUTE_NAME_BYTES_MAX} letters and \
                     digits, and begins with a lower-case letter"
                ),
                "choose such a name",
            );
        }
        let Some(fields) = reader.object(entry, &pointer) else {
            continue;
        };
        reader.only(fields, &pointer, &["type", "from"]);
        let Some(kind) = read_kind(reader, fields, &pointer) else {
            continue;
        };
        let from = reader.text(fields, "from", &pointer).map(str::to_owned);
        if let Some(from) = &from {
            check_source(reader, name, from, schema, &at(&pointer, "from"));
        }
        attributes.push(SearchAttribute {
            name: name.clone(),
            kind,
            from,
        });
    }
    attributes
}

fn read_kind(
    reader: &mut Reader,
    fields: &Map<String, Value>,
    pointer: &str,
) -> Option<SearchKind> {
    let word = reader.required_text(fields, "type", pointer)?;
    let kind = SearchKind::parse(word);
    if kind.is_none() {
        reader.error(
            "search_attribute_type_unknown",
            &at(pointer, "type"),
            format!("`{word}` is not a type of search attributes"),
            "write keyword, integer, boolean or time",
        );
    }
    kind
}

fn is_name(name: &str) -> bool {
    name.len() <= SEARCH_ATTRIBUTE_NAME_BYTES_MAX
        && name.starts_with(|it: char| it.is_ascii_lowercase())
        && name.bytes().all(|it| it.is_ascii_alphanumeric())
}

fn check_source(
    reader: &mut Reader,
    name: &str,
    from: &str,
    schema: Option<&Value>,
    pointer: &str,
) {
    let source = schema.map_or(Source::Unknown, |schema| look_up(schema, from));
    match source {
        Source::Plain => {}
        Source::Classified(class) => reader.error(
            "search_attribute_classified",
            pointer,
            format!(
                "`{name}` would carry the field `{from}`, which is of the data class `{class}`"
            ),
            "take it from a field without `x-data-class`",
        ),
        Source::Unknown => reader.error(
            "search_attribute_source_unknown",
            pointer,
            format!(
                "`inputSchema` does not describe `{from}`, so nobody knows what it would carry"
            ),
            "describe the field in `inputSchema`, or give the value with the start",
        ),
    }
}

/// What a schema says of a field.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Plain,
    /// It, something around it, or something in it has this `x-data-class`.
    Classified(String),
    Unknown,
}

/// Follows a JSON pointer through a schema. Every alternative counts: a field that one of them
/// classifies is classified.
fn look_up(schema: &Value, from: &str) -> Source {
    if !from.starts_with('/') {
        return Source::Unknown;
    }
    let mut places = vec![schema];
    for token in from.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let mut inner = Vec::new();
        for place in spread(schema, places) {
            if let Some(class) = class_of(place) {
                return Source::Classified(class);
            }
            inner.extend(place.get("properties").and_then(|it| it.get(&token)));
            if token.bytes().all(|it| it.is_ascii_digit()) {
                inner.extend(place.get("items"));
                inner.extend(
                    place
                        .get("prefixItems")
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten(),
                );
            }
        }
        places = inner;
    }
    let found = spread(schema, places);
    if found.is_empty() {
        return Source::Unknown;
    }
    let classes = found.into_iter().find_map(class_of);
    classes.map_or(Source::Plain, Source::Classified)
}

/// The class of a schema.
fn class_of(schema: &Value) -> Option<String> {
    let class = schema.get("x-data-class")?;
    Some(class.as_str().unwrap_or("unnamed").to_owned())
}

/// The schemas with everything that they refer to or choose between, each reference followed a
/// bounded number of times.
fn spread<'s>(root: &'s Value, schemas: Vec<&'s Value>) -> Vec<&'s Value> {
    let mut pending = schemas;
    let mut all = Vec::new();
    while let Some(schema) = pending.pop() {
        if SCHEMA_REFERENCES_MAX <= all.len() {
            break;
        }
        all.push(schema);
        for word in ["allOf", "anyOf", "oneOf"] {
            pending.extend(
                schema
                    .get(word)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten(),
            );
        }
        for word in ["if", "then", "else", "not"] {
            pending.extend(schema.get(word));
        }
        let reference = schema.get("$ref").and_then(Value::as_str);
        pending.extend(
            reference
                .and_then(|it| it.strip_prefix('#'))
                .and_then(|it| root.pointer(it)),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(attributes: &Value) -> Vec<(&'static str, String)> {
        let schema = json!({
            "type": "object",
            "$defs": { "person": { "properties": { "name": { "x-data-class": "name" }, "age": { "type": "integer" } } } },
            "properties": {
                "branch": { "type": "string" },
                "applicant": { "$ref": "#/$defs/person" },
                "contact": { "x-data-class": "contact", "properties": { "kind": { "type": "string" } } },
                "either": { "oneOf": [{ "type": "string" }, { "x-data-class": "document_number" }] },
            },
        });
        let mut reader = Reader::default();
        read(&mut reader, attributes, Some(&schema));
        let found = reader.findings.into_iter();
        found.map(|it| (it.code, it.pointer)).collect()
    }

    #[test]
    fn what_is_declared_well_is_read() {
        let declared = json!({
            "branch": { "type": "keyword", "from": "/branch" },
            "age": { "type": "integer", "from": "/applicant/age" },
            "vip": { "type": "boolean" }, "due": { "type": "time" },
        });
        assert_eq!(findings(&declared), []);
    }

    #[test]
    fn a_classified_or_unknown_field_does_not_become_an_attribute() {
        let refused = |from: &str| findings(&json!({ "a": { "type": "keyword", "from": from } }));
        for from in ["/applicant/name", "/contact", "/contact/kind", "/either"] {
            let expected = (
                "search_attribute_classified",
                "/searchAttributes/a/from".to_owned(),
            );
            assert_eq!(refused(from), [expected], "{from}");
        }
        for from in ["/nowhere", "branch", "/branch/deeper"] {
            let expected = (
                "search_attribute_source_unknown",
                "/searchAttributes/a/from".to_owned(),
            );
            assert_eq!(refused(from), [expected], "{from}");
        }
    }

    #[test]
    fn names_types_and_their_number_are_bounded() {
        let codes = |attributes: &Value| -> Vec<&str> {
            findings(attributes).into_iter().map(|it| it.0).collect()
        };
        let long = "a".repeat(SEARCH_ATTRIBUTE_NAME_BYTES_MAX + 1);
        for name in ["", "Branch", "with-hyphen", "with.dot", &long] {
            let declared = json!({ name: { "type": "keyword" } });
            assert_eq!(
                codes(&declared),
                ["search_attribute_name_invalid"],
                "{name}"
            );
        }
        let unknown = json!({ "a": { "type": "text" } });
        assert_eq!(codes(&unknown), ["search_attribute_type_unknown"]);
        let many: Map<String, Value> = (0..=SEARCH_ATTRIBUTES_MAX)
            .map(|it| (format!("a{it}"), json!({ "type": "integer" })))
            .collect();
        assert_eq!(codes(&Value::Object(many)), ["search_attributes_too_many"]);
    }
}
