//! Reads the parts of a JSON document and collects what is wrong with them.

use serde_json::{Map, Value};

use super::states::Language;
use crate::finding::{Finding, Gate, at};

/// Collects the findings of the gate `valid`.
#[derive(Default)]
pub(crate) struct Reader {
    pub findings: Vec<Finding>,
    /// The query language of the state that is being read.
    pub language: Language,
    /// Whether the document has no envelope: any resource, plain ASL.
    pub is_bare: bool,
}

impl Reader {
    pub fn error(
        &mut self,
        code: &'static str,
        pointer: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings
            .push(Finding::error(Gate::Valid, code, pointer, message, fix));
    }

    /// The object at `pointer`, or a finding.
    pub fn object<'a>(
        &mut self,
        value: &'a Value,
        pointer: &str,
    ) -> Option<&'a Map<String, Value>> {
        if value.as_object().is_none() {
            self.error(
                "wrong_type",
                pointer,
                "an object is expected here",
                "write a JSON object",
            );
        }
        value.as_object()
    }

    /// Refuses every field that is not among `known`.
    pub fn only(&mut self, fields: &Map<String, Value>, pointer: &str, known: &[&str]) {
        for key in fields.keys().filter(|it| !known.contains(&it.as_str())) {
            self.error(
                "unknown_field",
                &at(pointer, key),
                format!("`{key}` is not a field of this place"),
                format!("remove it; the fields are {}", known.join(", ")),
            );
        }
    }

    /// A text that must be there.
    pub fn required_text<'a>(
        &mut self,
        fields: &'a Map<String, Value>,
        name: &str,
        pointer: &str,
    ) -> Option<&'a str> {
        if !fields.contains_key(name) {
            self.missing(name, pointer);
            return None;
        }
        self.text(fields, name, pointer)
    }

    /// A text that may be there.
    pub fn text<'a>(
        &mut self,
        fields: &'a Map<String, Value>,
        name: &str,
        pointer: &str,
    ) -> Option<&'a str> {
        let value = fields.get(name)?;
        if value.as_str().is_none() {
            self.error(
                "wrong_type",
                &at(pointer, name),
                format!("`{name}` must be a text"),
                "write a JSON string",
            );
        }
        value.as_str()
    }

    /// A whole number within `range` that may be there.
    pub fn whole(
        &mut self,
        fields: &Map<String, Value>,
        name: &str,
        pointer: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let value = fields.get(name)?;
        let whole = value.as_i64().filter(|it| range.contains(it));
        if whole.is_none() {
            self.error(
                "wrong_type",
                &at(pointer, name),
                format!(
                    "`{name}` must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
                "write such a number",
            );
        }
        whole
    }

    /// A switch that may be there; absent is off.
    pub fn flag(&mut self, fields: &Map<String, Value>, name: &str, pointer: &str) -> bool {
        match fields.get(name) {
            None => false,
            Some(Value::Bool(it)) => *it,
            Some(_) => {
                self.error(
                    "wrong_type",
                    &at(pointer, name),
                    format!("`{name}` must be `true`"),
                    format!("write `\"{name}\": true`"),
                );
                false
            }
        }
    }

    /// The texts of an array that may be there.
    pub fn texts(&mut self, value: &Value, pointer: &str) -> Vec<String> {
        let Some(items) = value.as_array() else {
            self.error(
                "wrong_type",
                pointer,
                "an array of texts is expected here",
                "write a JSON array",
            );
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.error(
                    "wrong_type",
                    &format!("{pointer}/{index}"),
                    "a text is expected here",
                    "write a JSON string",
                ),
            }
        }
        texts
    }

    pub fn missing(&mut self, name: &str, pointer: &str) {
        self.error(
            "missing_field",
            pointer,
            format!("`{name}` is missing"),
            format!("add `{name}`"),
        );
    }
}
