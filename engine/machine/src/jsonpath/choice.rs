//! The rules of a `Choice` state: comparisons, and `And`, `Or`, `Not` of them.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::path::Path;
use super::value::{compare_numbers, compare_texts, timestamp};
use super::{PathError, PathScope};
use crate::definition::Reader;
use crate::finding::at;
use crate::limits::TEMPLATE_DEPTH_MAX;

/// A condition on the data of a state.
#[derive(Debug)]
pub(crate) enum ChoiceRule {
    All(Vec<ChoiceRule>),
    Any(Vec<ChoiceRule>),
    Not(Box<ChoiceRule>),
    Test { variable: Path, test: Test },
}

/// What is asked about the value of `Variable`.
#[derive(Debug)]
pub(crate) enum Test {
    IsPresent(bool),
    Is(Sort, bool),
    Matches(String),
    Compare(Sort, Relation, Operand),
}

/// A kind of value that comparisons know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Null,
    Boolean,
    Numeric,
    String,
    Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equals,
    LessThan,
    LessThanEquals,
    GreaterThan,
    GreaterThanEquals,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Literal(Value),
    Path(Path),
}

/// A comparison operator, by its name.
enum Operator {
    IsPresent,
    Is(Sort),
    Matches,
    Compare {
        sort: Sort,
        relation: Relation,
        by_path: bool,
    },
}

const SORTS: [(&str, Sort); 4] = [
    ("Boolean", Sort::Boolean),
    ("Numeric", Sort::Numeric),
    ("String", Sort::String),
    ("Timestamp", Sort::Timestamp),
];

const RELATIONS: [(&str, Relation); 5] = [
    ("Equals", Relation::Equals),
    ("LessThan", Relation::LessThan),
    ("LessThanEquals", Relation::LessThanEquals),
    ("GreaterThan", Relation::GreaterThan),
    ("GreaterThanEquals", Relation::GreaterThanEquals),
];

impl Operator {
    fn named(name: &str) -> Option<Self> {
        match name {
            "IsPresent" => return Some(Self::IsPresent),
            "IsNull" => return Some(Self::Is(Sort::Null)),
            "StringMatches" => return Some(Self::Matches),
            _ => {}
        }
        if let Some(sort) = name.strip_prefix("Is") {
            let (_, sort) = SORTS.iter().find(|(known, _)| *known == sort)?;
            return Some(Self::Is(*sort));
        }
        let (prefix, sort) = SORTS.iter().find(|(known, _)| name.starts_with(known))?;
        let rest = &name[prefix.len()..];
        let (rest, by_path) = match rest.strip_suffix("Path") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (_, relation) = RELATIONS.iter().find(|(known, _)| *known == rest)?;
        if *sort == Sort::Boolean && *relation != Relation::Equals {
            return None;
        }
        Some(Self::Compare {
            sort: *sort,
            relation: *relation,
            by_path,
        })
    }
}

impl ChoiceRule {
    /// Whether a field of a rule belongs to its condition.
    pub fn knows(field: &str) -> bool {
        matches!(field, "And" | "Or" | "Not" | "Variable") || Operator::named(field).is_some()
    }

    /// Parses the condition of a rule; what is wrong becomes a finding.
    ///
    /// Of the outermost rule only the fields that [`ChoiceRule::knows`] are read: `Next` and the
    /// others belong to the state.
    pub fn parse(reader: &mut Reader, fields: &Map<String, Value>, pointer: &str) -> Option<Self> {
        Self::parse_below(reader, fields, pointer, 0)
    }

    fn parse_below(
        reader: &mut Reader,
        fields: &Map<String, Value>,
        pointer: &str,
        depth: usize,
    ) -> Option<Self> {
        if TEMPLATE_DEPTH_MAX < depth {
            reader.error(
                "too_deep",
                pointer,
                format!("the rule is nested deeper than {TEMPLATE_DEPTH_MAX} levels"),
                "flatten it",
            );
            return None;
        }
        let mut found = fields
            .iter()
            .filter(|(key, _)| *key != "Variable" && Self::knows(key));
        let (Some((name, value)), None) = (found.next(), found.next()) else {
            reader.error(
                "rule_invalid",
                pointer,
                "a rule needs exactly one comparison, `And`, `Or` or `Not`",
                "write one, for example `StringEquals`",
            );
            return None;
        };
        let place = at(pointer, name);
        match name.as_str() {
            "And" => Self::parse_list(reader, value, &place, depth).map(Self::All),
            "Or" => Self::parse_list(reader, value, &place, depth).map(Self::Any),
            "Not" => {
                let inner = Self::parse_nested(reader, value, &place, depth)?;
                Some(Self::Not(Box::new(inner)))
            }
            _ => {
                let variable = reader.required_text(fields, "Variable", pointer)?;
                let variable = path(reader, variable, &at(pointer, "Variable"));
                let test = test(reader, name, value, &place);
                Some(Self::Test {
                    variable: variable?,
                    test: test?,
                })
            }
        }
    }

    fn parse_list(
        reader: &mut Reader,
        value: &Value,
        pointer: &str,
        depth: usize,
    ) -> Option<Vec<Self>> {
        let Some(items) = value.as_array().filter(|it| !it.is_empty()) else {
            reader.error(
                "wrong_type",
                pointer,
                "an array of rules is expected here",
                "write at least one rule",
            );
            return None;
        };
        let mut rules = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            rules.push(Self::parse_nested(
                reader,
                item,
                &format!("{pointer}/{index}"),
                depth,
            ));
        }
        rules.into_iter().collect()
    }

    fn parse_nested(
        reader: &mut Reader,
        value: &Value,
        pointer: &str,
        depth: usize,
    ) -> Option<Self> {
        let fields = reader.object(value, pointer)?;
        for key in fields
            .keys()
            .filter(|it| !Self::knows(it) && it.as_str() != "Comment")
        {
            reader.error(
                "unknown_field",
                &at(pointer, key),
                format!("`{key}` is not a field of a nested rule"),
                "remove it; `Next` belongs to the outermost rule",
            );
        }
        Self::parse_below(reader, fields, pointer, depth + 1)
    }

    /// Whether the condition holds; `And` and `Or` stop as soon as the answer is known.
    ///
    /// # Errors
    ///
    /// [`PathError::NotFound`] if a path leads nowhere, unless `IsPresent` asks about it. Step
    /// Functions words it "Invalid path '...': The choice state's condition path references an
    /// invalid value."
    pub fn evaluate(&self, scope: &dyn PathScope) -> Result<bool, PathError> {
        match self {
            Self::All(rules) => {
                for it in rules {
                    if !it.evaluate(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(rules) => {
                for it in rules {
                    if it.evaluate(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(rule) => Ok(!rule.evaluate(scope)?),
            Self::Test { variable, test } => test.evaluate(variable, scope),
        }
    }

    /// Visits every path in it.
    pub fn paths<'a>(&'a self, visit: &mut dyn FnMut(&'a Path)) {
        match self {
            Self::All(rules) | Self::Any(rules) => rules.iter().for_each(|it| it.paths(visit)),
            Self::Not(rule) => rule.paths(visit),
            Self::Test { variable, test } => {
                visit(variable);
                if let Test::Compare(_, _, Operand::Path(path)) = test {
                    visit(path);
                }
            }
        }
    }
}

fn path(reader: &mut Reader, text: &str, pointer: &str) -> Option<Path> {
    match Path::parse(text) {
        Ok(path) => Some(path),
        Err(message) => {
            reader.error("path_invalid", pointer, message, "correct the JSONPath");
            None
        }
    }
}

fn test(reader: &mut Reader, name: &str, value: &Value, pointer: &str) -> Option<Test> {
    let mut wrong = |expected: &str| {
        reader.error(
            "wrong_type",
            pointer,
            format!("`{name}` needs {expected}"),
            format!("write {expected}"),
        );
        None
    };
    match Operator::named(name)? {
        Operator::IsPresent => match value.as_bool() {
            Some(expected) => Some(Test::IsPresent(expected)),
            None => wrong("a boolean"),
        },
        Operator::Is(sort) => match value.as_bool() {
            Some(expected) => Some(Test::Is(sort, expected)),
            None => wrong("a boolean"),
        },
        Operator::Matches => match value.as_str() {
            Some(pattern) => Some(Test::Matches(pattern.to_owned())),
            None => wrong("a text"),
        },
        Operator::Compare {
            sort,
            relation,
            by_path: true,
        } => match value.as_str() {
            Some(text) => {
                let path = path(reader, text, pointer)?;
                Some(Test::Compare(sort, relation, Operand::Path(path)))
            }
            None => wrong("a path"),
        },
        Operator::Compare { sort, relation, .. } => {
            if sort.has(value) {
                return Some(Test::Compare(
                    sort,
                    relation,
                    Operand::Literal(value.clone()),
                ));
            }
            wrong(match sort {
                Sort::Null => "null",
                Sort::Boolean => "a boolean",
                Sort::Numeric => "a number",
                Sort::String => "a text",
                Sort::Timestamp => "a time such as 2026-01-31T12:00:00Z",
            })
        }
    }
}

impl Sort {
    fn has(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean => value.is_boolean(),
            Self::Numeric => value.is_number(),
            Self::String => value.is_string(),
            Self::Timestamp => value.as_str().and_then(timestamp).is_some(),
        }
    }

    /// How two values of this sort stand to each other; `None` if one is of another sort.
    fn order(self, left: &Value, right: &Value) -> Option<Ordering> {
        match (self, left, right) {
            (Self::Boolean, Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (Self::Numeric, Value::Number(left), Value::Number(right)) => {
                compare_numbers(left, right)
            }
            (Self::String, Value::String(left), Value::String(right)) => {
                Some(compare_texts(left, right))
            }
            (Self::Timestamp, Value::String(left), Value::String(right)) => {
                Some(timestamp(left)?.cmp(&timestamp(right)?))
            }
            _ => None,
        }
    }
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equals => order.is_eq(),
            Self::LessThan => order.is_lt(),
            Self::LessThanEquals => order.is_le(),
            Self::GreaterThan => order.is_gt(),
            Self::GreaterThanEquals => order.is_ge(),
        }
    }
}

impl Test {
    fn evaluate(&self, variable: &Path, scope: &dyn PathScope) -> Result<bool, PathError> {
        if let Self::IsPresent(expected) = self {
            return Ok(is_present(variable, scope)? == *expected);
        }
        let value = variable.evaluate(scope)?;
        match self {
            Self::IsPresent(_) => Ok(true),
            Self::Is(sort, expected) => Ok(sort.has(&value) == *expected),
            Self::Matches(pattern) => Ok(value.as_str().is_some_and(|it| matches(pattern, it))),
            Self::Compare(sort, relation, operand) => {
                let order = match operand {
                    Operand::Literal(literal) => sort.order(&value, literal),
                    Operand::Path(path) => sort.order(&value, &path.evaluate(scope)?),
                };
                Ok(order.is_some_and(|it| relation.holds(it)))
            }
        }
    }
}

/// Whether a path leads to a value, or to a match if it may lead to several.
fn is_present(variable: &Path, scope: &dyn PathScope) -> Result<bool, PathError> {
    match variable.evaluate(scope) {
        Ok(Value::Array(items)) if !variable.is_definite() => Ok(!items.is_empty()),
        Ok(_) => Ok(true),
        Err(PathError::NotFound { .. } | PathError::NoVariable(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text; `\*` and `\\` are literal.
///
/// Each piece between stars is searched once from where the one before ended.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = vec![String::new()];
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek(), pieces.last_mut()) {
            ('*', ..) => pieces.push(String::new()),
            ('\\', Some(escaped @ ('*' | '\\')), Some(piece)) => {
                piece.push(*escaped);
                chars.next();
            }
            (_, _, Some(piece)) => piece.push(char),
            (_, _, None) => {}
        }
    }
    let Some((first, rest)) = pieces.split_first() else {
        return text.is_empty();
    };
    let Some((last, middle)) = rest.split_last() else {
        return first == text;
    };
    let Some(mut open) = text
        .strip_prefix(first.as_str())
        .and_then(|it| it.strip_suffix(last.as_str()))
    else {
        return false;
    };
    for piece in middle {
        match open.find(piece.as_str()) {
            Some(start) => open = &open[start + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::Fixed;
    use super::*;

    fn parse(rule: &Value) -> (Option<ChoiceRule>, Vec<&'static str>) {
        let mut reader = Reader::default();
        let parsed = ChoiceRule::parse(&mut reader, rule.as_object().unwrap(), "");
        (parsed, reader.findings.iter().map(|it| it.code).collect())
    }

    fn evaluate(rule: &Value) -> Result<bool, PathError> {
        let scope = Fixed::new(json!({
            "n": 5, "same": 5.0, "text": "log-2026*.txt", "flag": true, "null": null,
            "at": "2026-01-01T12:00:00Z", "later": "2026-01-01T14:30:00+01:00", "list": [],
        }));
        let (parsed, findings) = parse(rule);
        assert_eq!(findings, Vec::<&str>::new(), "{rule}");
        parsed.unwrap().evaluate(&scope)
    }

    #[track_caller]
    fn check(variable: &str, operator: &str, operand: Value, expected: bool) {
        let rule = json!({"Variable": variable, operator: operand});
        assert_eq!(evaluate(&rule), Ok(expected), "{rule}");
    }

    #[test]
    fn every_comparison_holds_for_its_own_sort_only() {
        check("$.n", "NumericEquals", json!(5.0), true);
        check("$.n", "NumericEqualsPath", json!("$.same"), true);
        check("$.n", "NumericGreaterThan", json!(4.9), true);
        check("$.text", "NumericLessThan", json!(4), false);
        check(
            "$.text",
            "StringLessThanEquals",
            json!("log-2026*.txt"),
            true,
        );
        check("$.n", "StringEquals", json!("5"), false);
        check("$.flag", "BooleanEqualsPath", json!("$.flag"), true);
        check(
            "$.at",
            "TimestampLessThan",
            json!("2026-01-01T13:30:01+01:00"),
            true,
        );
        check("$.at", "TimestampLessThanPath", json!("$.later"), true);
        check("$.at", "TimestampEqualsPath", json!("$.n"), false);
        check("$.at", "IsTimestamp", json!(true), true);
        check("$.text", "IsTimestamp", json!(true), false);
        check("$.at", "IsString", json!(true), true);
        check("$.null", "IsNull", json!(true), true);
        check("$.list", "IsBoolean", json!(false), true);
    }

    #[test]
    fn only_presence_may_be_asked_of_what_is_missing() {
        check("$.null", "IsPresent", json!(true), true);
        check("$.nobody", "IsPresent", json!(true), false);
        check("$.nobody.x", "IsPresent", json!(false), true);
        check("$.list[?(@.x)]", "IsPresent", json!(true), false);
        for operator in ["IsNull", "IsString", "IsNumeric"] {
            let rule = json!({"Variable": "$.nobody", operator: true});
            assert!(
                matches!(evaluate(&rule), Err(PathError::NotFound { .. })),
                "{rule}"
            );
        }
        let rule = json!({"Variable": "$.n", "NumericEqualsPath": "$.nobody"});
        assert!(matches!(evaluate(&rule), Err(PathError::NotFound { .. })));
    }

    #[test]
    fn rules_combine_and_stop_when_the_answer_is_known() {
        let missing = json!({"Variable": "$.nobody", "NumericEquals": 1});
        let absent = json!({"Variable": "$.nobody", "IsPresent": true});
        let present = json!({"Variable": "$.n", "IsPresent": true});
        assert_eq!(evaluate(&json!({"And": [absent, missing]})), Ok(false));
        assert_eq!(evaluate(&json!({"Or": [present, missing]})), Ok(true));
        assert_eq!(
            evaluate(&json!({"Not": {"And": [present, absent]}})),
            Ok(true)
        );
        assert!(evaluate(&json!({"And": [present, missing]})).is_err());
    }

    #[test]
    fn a_star_stands_for_any_text_unless_escaped() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("log-*.txt", "log-2026.txt", true),
            ("log-*.txt", "log-2026.text", false),
            ("foo*.*", "foo23.zebra", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("aa*aa", "aaa", false),
            (r"log-\*.txt", "log-*.txt", true),
            (r"log-\*.txt", "log-2.txt", false),
            (r"a\\*", r"a\b", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        check("$.text", "StringMatches", json!(r"log-*\*.txt"), true);
        check("$.n", "StringMatches", json!("*"), false);
    }

    #[test]
    fn a_rule_that_means_nothing_is_refused() {
        for (rule, expected) in [
            (json!({"Variable": "$.n"}), "rule_invalid"),
            (
                json!({"Variable": "$.n", "IsNull": true, "IsPresent": true}),
                "rule_invalid",
            ),
            (
                json!({"Variable": "$.n", "BooleanLessThan": true}),
                "rule_invalid",
            ),
            (
                json!({"Variable": "$.n", "StringMatchesPath": "$.n"}),
                "rule_invalid",
            ),
            (json!({"IsNull": true}), "missing_field"),
            (json!({"Variable": "n", "IsNull": true}), "path_invalid"),
            (
                json!({"Variable": "$.n", "NumericEquals": "1"}),
                "wrong_type",
            ),
            (
                json!({"Variable": "$.n", "NumericEqualsPath": "x"}),
                "path_invalid",
            ),
            (
                json!({"Variable": "$.n", "TimestampEquals": "noon"}),
                "wrong_type",
            ),
            (json!({"Variable": "$.n", "IsNull": "true"}), "wrong_type"),
            (json!({"And": []}), "wrong_type"),
            (
                json!({"Not": {"Variable": "$.n", "IsNull": true, "Next": "X"}}),
                "unknown_field",
            ),
        ] {
            assert_eq!(parse(&rule).1, [expected], "{rule}");
        }
        let mut rule = json!({"Variable": "$.n", "IsNull": true});
        for _ in 0..100 {
            rule = json!({"Not": rule});
        }
        assert_eq!(parse(&rule).1, ["too_deep"]);
    }

    #[test]
    fn every_path_of_a_rule_is_visited() {
        let rule = json!({"Or": [
            {"Not": {"Variable": "$a", "StringEqualsPath": "$.b"}},
            {"Variable": "$.c", "IsNull": true},
        ]});
        let (parsed, _) = parse(&rule);
        let parsed = parsed.unwrap();
        let mut paths = Vec::new();
        parsed.paths(&mut |path| paths.push(path.source()));
        assert_eq!(paths, ["$a", "$.b", "$.c"]);
    }
}
