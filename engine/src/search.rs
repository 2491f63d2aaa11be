//! Search attributes: their values, and the texts under which an index sorts them.

use std::collections::BTreeMap;

use serde_json::Value;

use btrust_machine::{SearchAttribute, SearchKind};
use btrust_platform::clock::{parse_rfc3339, rfc3339};

use crate::error::EngineError;

/// Longest keyword, in bytes: a code, not a sentence.
///
/// Source: part of every entry of the index; the longest codes in use, IBANs and UUIDs, have 36.
pub const KEYWORD_BYTES_MAX: usize = 64;

/// The code of a value that a search attribute cannot have, or of an attribute that is not declared.
pub const SEARCH_ATTRIBUTE_INVALID: &str = "search_attribute_invalid";

/// The value of one search attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    Keyword(String),
    Integer(i64),
    Boolean(bool),
    /// Milliseconds since the epoch.
    Time(i64),
}

/// The search attributes of a workflow, by name.
pub type Attributes = BTreeMap<String, AttributeValue>;

impl AttributeValue {
    /// Reads a value as its declaration wants it; `None` when it is of another type, or no short code.
    #[must_use]
    pub fn read(kind: SearchKind, value: &Value) -> Option<Self> {
        match kind {
            SearchKind::Keyword => {
                let text = value.as_str().filter(|it| is_keyword(it))?;
                Some(Self::Keyword(text.to_owned()))
            }
            SearchKind::Integer => value.as_i64().map(Self::Integer),
            SearchKind::Boolean => value.as_bool().map(Self::Boolean),
            SearchKind::Time => value.as_str().and_then(parse_rfc3339).map(Self::Time),
        }
    }

    /// Everything that the text of a filter may mean: a filter does not know what is declared.
    #[must_use]
    pub fn meant_by(text: &str) -> Vec<Self> {
        let mut meant = Vec::new();
        if is_keyword(text) {
            meant.push(Self::Keyword(text.to_owned()));
        }
        meant.extend(text.parse().ok().map(Self::Integer));
        meant.extend(text.parse().ok().map(Self::Boolean));
        meant.extend(parse_rfc3339(text).map(Self::Time));
        meant
    }

    /// The end of a range: only numbers and times have an order that people mean.
    #[must_use]
    pub fn bound(text: &str) -> Option<Self> {
        let number = text.parse().ok().map(Self::Integer);
        number.or_else(|| parse_rfc3339(text).map(Self::Time))
    }

    /// The text of an index entry: a letter for the type, then a text that sorts as the value does.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Keyword(text) => format!("k{text}"),
            Self::Integer(number) => format!("i{}", sortable(*number)),
            Self::Boolean(false) => "b0".to_owned(),
            Self::Boolean(true) => "b1".to_owned(),
            Self::Time(at_ms) => format!("t{}", sortable(*at_ms)),
        }
    }

    /// The value of an index entry's text.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        match (kind, rest) {
            ("k", _) => Some(Self::Keyword(rest.to_owned())),
            ("i", _) => unsortable(rest).map(Self::Integer),
            ("b", "0") => Some(Self::Boolean(false)),
            ("b", "1") => Some(Self::Boolean(true)),
            ("t", _) => unsortable(rest).map(Self::Time),
            _ => None,
        }
    }

    /// The value as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Keyword(text) => Value::from(text.as_str()),
            Self::Integer(number) => Value::from(*number),
            Self::Boolean(flag) => Value::from(*flag),
            Self::Time(at_ms) => Value::from(rfc3339(*at_ms)),
        }
    }
}

/// Whether a text is a code: printable ASCII without spaces.
fn is_keyword(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= KEYWORD_BYTES_MAX
        && text.bytes().all(|it| it.is_ascii_graphic())
}

/// Sixteen hex digits that sort as the numbers do.
fn sortable(number: i64) -> String {
    format!("{:016x}", number.cast_unsigned() ^ (1 << 63))
}

fn unsortable(text: &str) -> Option<i64> {
    let number = u64::from_str_radix(text, 16).ok()?;
    Some((number ^ (1 << 63)).cast_signed())
}

/// The column of a workflow's row that holds its attributes; `None` where there are none.
#[expect(
    clippy::missing_panics_doc,
    reason = "texts by name are plain JSON: it never does"
)]
#[must_use]
pub fn column_of(attributes: &Attributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let encoded: BTreeMap<&str, String> = attributes
        .iter()
        .map(|(name, value)| (name.as_str(), value.encode()))
        .collect();
    Some(serde_json::to_string(&encoded).expect("texts by name are plain JSON"))
}

/// The entries of the index that a workflow's row asks for, as name and text.
#[must_use]
pub fn entries(column: Option<&str>) -> Vec<(String, String)> {
    let attributes = of_column(column);
    let entry = |(name, value): (String, AttributeValue)| (name, value.encode());
    attributes.into_iter().map(entry).collect()
}

/// The attributes that a workflow's row holds; what this program does not understand is left out.
#[must_use]
pub fn of_column(column: Option<&str>) -> Attributes {
    let encoded: BTreeMap<String, String> = column
        .and_then(|it| serde_json::from_str(it).ok())
        .unwrap_or_default();
    let decode = |(name, text): (String, String)| Some((name, AttributeValue::decode(&text)?));
    encoded.into_iter().filter_map(decode).collect()
}

/// The first values of a new workflow: those that the request gives, then those in its input.
///
/// # Errors
///
/// `search_attribute_invalid`, naming the attribute and never the value.
pub fn first_values(
    declared: &[SearchAttribute],
    given: &BTreeMap<String, Value>,
    input: &Value,
) -> Result<Attributes, EngineError> {
    let mut attributes = Attributes::new();
    for attribute in declared {
        let source = attribute.from.as_deref().and_then(|it| input.pointer(it));
        if let Some(value) = source.filter(|it| !it.is_null()) {
            attributes.insert(attribute.name.clone(), read(attribute, value)?);
        }
    }
    change(declared, &mut attributes, given)?;
    Ok(attributes)
}

/// The values of a workflow that another one starts, whose caller cannot be asked for better ones: what it
/// takes over from the run before, and what its input says; a value that fits no attribute is left out.
#[must_use]
pub fn owed_values(declared: &[SearchAttribute], before: &Attributes, input: &Value) -> Attributes {
    let mut attributes = Attributes::new();
    for attribute in declared {
        let source = attribute.from.as_deref().and_then(|it| input.pointer(it));
        let value = source.and_then(|it| AttributeValue::read(attribute.kind, it));
        let taken_over = || {
            let value = before.get(&attribute.name)?;
            AttributeValue::read(attribute.kind, &value.to_json())
        };
        if let Some(value) = value.or_else(taken_over) {
            attributes.insert(attribute.name.clone(), value);
        }
    }
    attributes
}

/// Gives attributes other values; null takes one away. Returns the names of those that are other now.
///
/// # Errors
///
/// As [`first_values`].
pub fn change(
    declared: &[SearchAttribute],
    attributes: &mut Attributes,
    changes: &BTreeMap<String, Value>,
) -> Result<Vec<String>, EngineError> {
    let mut names = Vec::new();
    for (name, value) in changes {
        let Some(attribute) = declared.iter().find(|it| it.name == *name) else {
            return Err(invalid(name, "is not declared by the definition"));
        };
        let before = attributes.get(name).cloned();
        if value.is_null() {
            attributes.remove(name);
        } else {
            attributes.insert(name.clone(), read(attribute, value)?);
        }
        if before.as_ref() != attributes.get(name) {
            names.push(name.clone());
        }
    }
    Ok(names)
}

fn read(attribute: &SearchAttribute, value: &Value) -> Result<AttributeValue, EngineError> {
    AttributeValue::read(attribute.kind, value).ok_or_else(|| {
        let wanted = match attribute.kind {
            SearchKind::Keyword => format!(
                "has to be a code of 1 to {KEYWORD_BYTES_MAX} printable characters without spaces"
            ),
            SearchKind::Integer => "has to be a whole number of 64 bits".to_owned(),
            SearchKind::Boolean => "has to be true or false".to_owned(),
            SearchKind::Time => "has to be an RFC 3339 time".to_owned(),
        };
        invalid(&attribute.name, &wanted)
    })
}

fn invalid(name: &str, wanted: &str) -> EngineError {
    // The name is the caller's own text where it is not a declared one.
    let name: String = name.chars().take(KEYWORD_BYTES_MAX).collect();
    EngineError::Invalid {
        code: SEARCH_ATTRIBUTE_INVALID,
        detail: format!("the search attribute `{name}` {wanted}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared() -> Vec<SearchAttribute> {
        let attribute = |name: &str, kind, from: Option<&str>| SearchAttribute {
            name: name.to_owned(),
            kind,
            from: from.map(str::to_owned),
        };
        vec![
            attribute("amount", SearchKind::Integer, Some("/loan/amount")),
            attribute("branch", SearchKind::Keyword, None),
            attribute("due", SearchKind::Time, None),
            attribute("vip", SearchKind::Boolean, None),
        ]
    }

    #[test]
    fn a_next_run_keeps_what_its_input_does_not_say_and_what_fits_no_attribute_is_left_out() {
        let before = Attributes::from([
            ("amount".to_owned(), AttributeValue::Integer(5)),
            (
                "branch".to_owned(),
                AttributeValue::Keyword("NORTH".to_owned()),
            ),
            ("due".to_owned(), AttributeValue::Integer(7)),
            ("gone".to_owned(), AttributeValue::Boolean(true)),
        ]);
        let values = |input| owed_values(&declared(), &before, &input);
        let next = values(json!({"loan": {"amount": 6}}));
        assert_eq!(next["amount"], AttributeValue::Integer(6));
        assert_eq!(next["branch"], before["branch"]);
        assert_eq!(next.len(), 2);
        let next = values(json!({"loan": {"amount": "a lot"}}));
        assert_eq!(next["amount"], AttributeValue::Integer(5));
    }

    #[test]
    fn encoded_values_sort_as_the_values_do_and_come_back() {
        let numbers = [
            i64::MIN,
            -70_000,
            -1,
            0,
            1,
            9,
            10,
            1_800_000_000_000,
            i64::MAX,
        ];
        for wrap in [AttributeValue::Integer, AttributeValue::Time] {
            let encoded = numbers.map(|it| wrap(it).encode());
            assert!(encoded.is_sorted(), "{encoded:?}");
            for (number, text) in numbers.into_iter().zip(&encoded) {
                assert_eq!(AttributeValue::decode(text), Some(wrap(number)));
            }
        }
        for value in [
            AttributeValue::Keyword("k1".to_owned()),
            AttributeValue::Boolean(true),
            AttributeValue::Boolean(false),
        ] {
            assert_eq!(AttributeValue::decode(&value.encode()), Some(value));
        }
        for text in ["", "x1", "i", "b2", "é"] {
            assert_eq!(AttributeValue::decode(text), None, "{text}");
        }
    }

    #[test]
    fn values_come_from_the_request_and_from_the_input_and_the_request_wins() {
        let input = json!({ "loan": { "amount": 5 } });
        let given = |text: Value| serde_json::from_value(text).unwrap();
        let first =
            first_values(&declared(), &given(json!({ "branch": "NORTH" })), &input).unwrap();
        let expected = [
            ("amount".to_owned(), AttributeValue::Integer(5)),
            (
                "branch".to_owned(),
                AttributeValue::Keyword("NORTH".to_owned()),
            ),
        ];
        assert_eq!(first, Attributes::from(expected));
        assert_eq!(of_column(column_of(&first).as_deref()), first);
        let given = given(json!({ "amount": 7, "vip": false }));
        let first = first_values(&declared(), &given, &input).unwrap();
        assert_eq!(first["amount"], AttributeValue::Integer(7));
        assert_eq!(
            first_values(&declared(), &BTreeMap::new(), &json!({})).unwrap(),
            Attributes::new()
        );
        assert_eq!(column_of(&Attributes::new()), None);
    }

    #[test]
    fn what_is_not_declared_or_of_another_type_is_refused_by_name_only() {
        let long = "x".repeat(KEYWORD_BYTES_MAX + 1);
        for (name, value) in [
            ("branch", json!("two words")),
            ("branch", json!(long)),
            ("branch", json!("")),
            ("amount", json!("secret")),
            ("amount", json!(1.5)),
            ("vip", json!("secret")),
            ("due", json!("tomorrow")),
            ("other", json!(1)),
        ] {
            let given = BTreeMap::from([(name.to_owned(), value)]);
            let error = first_values(&declared(), &given, &json!({})).unwrap_err();
            assert_eq!(error.code(), SEARCH_ATTRIBUTE_INVALID);
            assert!(error.to_string().contains(name), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_change_names_what_is_other_afterwards() {
        let mut attributes = Attributes::from([
            (
                "branch".to_owned(),
                AttributeValue::Keyword("NORTH".to_owned()),
            ),
            ("vip".to_owned(), AttributeValue::Boolean(true)),
        ]);
        let changes = [
            ("branch".to_owned(), json!("NORTH")),
            ("vip".to_owned(), Value::Null),
            ("amount".to_owned(), json!(1)),
        ];
        let names = change(&declared(), &mut attributes, &BTreeMap::from(changes)).unwrap();
        assert_eq!(names, ["amount", "vip"]);
        assert_eq!(attributes.len(), 2);
    }

    #[test]
    fn a_filter_means_every_type_that_its_text_can_be_of() {
        let encoded = |text: &str| -> Vec<String> {
            let meant = AttributeValue::meant_by(text);
            meant.iter().map(AttributeValue::encode).collect()
        };
        assert_eq!(encoded("NORTH"), ["kNORTH"]);
        assert_eq!(encoded("5"), ["k5", "i8000000000000005"]);
        assert_eq!(encoded("true"), ["ktrue", "b1"]);
        assert_eq!(encoded("1970-01-01T00:00:01Z").len(), 2);
        assert_eq!(encoded("two words"), [""; 0]);
        assert_eq!(
            AttributeValue::bound("-3"),
            Some(AttributeValue::Integer(-3))
        );
        assert_eq!(AttributeValue::bound("NORTH"), None);
    }
}
