//! Paths: parsed once, evaluated often.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::cursor::{Cursor, unescape};
use super::evaluation::{Evaluation, follow};
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
                name if name.starts_with(|it: char| it.is_numeric()) => {
                    return Err(format!("`{name}` is not the name of a variable"));
                }
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
        self.with_root(scope, |root| self.evaluate_in(root))
    }

    /// As [`Path::evaluate`], but an index past the end of an array is `null`.
    ///
    /// Step Functions does so for the keys `k.$` of a template and nowhere else.
    pub(super) fn evaluate_in_template(&self, scope: &dyn PathScope) -> Result<Value, PathError> {
        match self.evaluate(scope) {
            Err(PathError::NotFound { .. })
                if self.with_root(scope, |root| Ok(self.is_past_end(root)))? =>
            {
                Ok(Value::Null)
            }
            answer => answer,
        }
    }

    /// Whether it ends with an index into an array that is too short.
    fn is_past_end(&self, root: &Value) -> bool {
        follow(&self.segments, root).is_err_and(|miss| miss.is_past_end(&self.segments))
    }

    fn with_root<T>(
        &self,
        scope: &dyn PathScope,
        evaluate: impl FnOnce(&Value) -> Result<T, PathError>,
    ) -> Result<T, PathError> {
        match &self.root {
            Root::Data => evaluate(scope.data()),
            Root::Context => evaluate(&scope.context()),
            Root::Variable(name) => match scope.variable(name) {
                Some(value) => evaluate(value),
                None => Err(PathError::NoVariable(name.clone())),
            },
        }
    }

    fn evaluate_in(&self, root: &Value) -> Result<Value, PathError> {
        if self.is_definite() {
            return follow(&self.segments, root)
                .map(Cow::into_owned)
                .map_err(|miss| PathError::NotFound {
                    path: self.source.clone(),
                    detail: miss.describe(&self.segments),
                    call: None,
                });
        }
        let evaluation = Evaluation::new(root);
        let found = evaluation.select(&self.segments, root)?;
        evaluation.copy(found).map(Value::Array)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::Fixed;
    use super::*;

    fn store() -> Fixed {
        let mut scope = Fixed::new(json!({
            "list": [{"keep": true, "n": 1}, {"keep": false, "n": 2, "tag": "b"}, {"n": "2"}],
            "numbers": [0, 1, 2, 3, 4],
            "deep": {"x": {"a": [1, 2]}, "a": {"a": 5}},
            "limit": 2,
            "tags": ["a", "b"],
            "null": null,
            "a b": "spaced",
            "it's": "quoted",
        }));
        scope.context = json!({"Execution": {"Id": "e1"}});
        scope
            .variables
            .insert("order".to_owned(), json!({"lines": [{"id": 7}]}).into());
        scope
    }

    #[track_caller]
    fn check(path: &str, expected: Value) {
        let path = Path::parse(path).unwrap();
        assert_eq!(path.evaluate(&store()), Ok(expected), "{}", path.source());
    }

    #[test]
    fn a_definite_path_is_the_value_itself() {
        check("$.numbers", json!([0, 1, 2, 3, 4]));
        check("$.numbers[1]", json!(1));
        check("$.numbers[-1]", json!(4));
        check("$['deep']['x'].a[0]", json!(1));
        check("$[\"a b\"]", json!("spaced"));
        check(r"$['it\'s']", json!("quoted"));
        check("$.null", json!(null));
        check("$$.Execution.Id", json!("e1"));
        check("$order.lines[0].id", json!(7));
        check(
            "$['limit','missing','null']",
            json!({"limit": 2, "null": null}),
        );
    }

    #[test]
    fn any_other_path_is_the_array_of_its_matches() {
        check("$.numbers[*]", json!([0, 1, 2, 3, 4]));
        check("$.numbers[1:3]", json!([1, 2]));
        check("$.numbers[:2]", json!([0, 1]));
        check("$.numbers[-2:]", json!([3, 4]));
        check("$.numbers[1:-1]", json!([1, 2, 3]));
        check("$.numbers[-99:99]", json!([0, 1, 2, 3, 4]));
        check("$.numbers[3:1]", json!([]));
        check("$.numbers[4,0,9]", json!([4, 0]));
        check("$.list[*].tag", json!(["b"]));
        check(
            "$.list[*]['n','tag']",
            json!([{"n": 1}, {"n": 2, "tag": "b"}, {"n": "2"}]),
        );
        check("$.deep.*.a", json!([[1, 2], 5]));
        check("$.deep..a", json!([{"a": 5}, [1, 2], 5]));
        check("$.deep..a[*]", json!([5, 1, 2]));
        check("$.missing[*].x", json!([]));
        check("$.limit[*]", json!([]));
        check("$order.lines[*].id", json!([7]));
    }

    #[test]
    fn a_filter_keeps_what_its_condition_holds_for() {
        let n = |filter: &str| {
            let path = Path::parse(&format!("$.list[?({filter})].n")).unwrap();
            path.evaluate(&store()).unwrap()
        };
        assert_eq!(n("@.keep"), json!([1, 2]));
        assert_eq!(n("!@.keep"), json!(["2"]));
        assert_eq!(n("@.keep == true"), json!([1]));
        assert_eq!(n("@.keep != true"), json!([2, "2"]));
        assert_eq!(n("@.n == 2"), json!([2, "2"]));
        assert_eq!(n("@.n < 2"), json!([1]));
        assert_eq!(n("@.n >= $.limit"), json!([2]));
        assert_eq!(n("@.tag in ['a', \"b\"]"), json!([2]));
        assert_eq!(n("@.tag in $.tags"), json!([2]));
        assert_eq!(n("@.tag nin ['b']"), json!([1, "2"]));
        assert_eq!(n("@.tag == 'b' || (@.keep && @.n == 1)"), json!([1, 2]));
        assert_eq!(n("@.missing == null"), json!([]));
        check("$.numbers[?(@ > 2)]", json!([3, 4]));
        check("$..[?(@.tag)].tag", json!(["b"]));
    }

    #[test]
    fn a_path_that_leads_nowhere_says_where() {
        for (path, expected) in [
            ("$.x", "No results for path: $['x']"),
            ("$.x.y", "Missing property in path $['x']"),
            ("$.numbers[9]", "No results for path: $['numbers'][9]"),
            (
                "$.limit[0]",
                "Filter: [0] can only be applied to arrays. Current context is: 2",
            ),
            (
                "$.limit.x",
                "Expected to find an object with property ['x'] in path $['limit'] but found a number.",
            ),
        ] {
            match Path::parse(path).unwrap().evaluate(&store()) {
                Err(PathError::NotFound { detail, .. }) => assert_eq!(detail, expected),
                other => panic!("{path}: {other:?}"),
            }
        }
        assert_eq!(
            Path::parse("$nobody.x").unwrap().evaluate(&store()),
            Err(PathError::NoVariable("nobody".to_owned()))
        );
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        let nested = format!("$[?({}@.a{})]", "(".repeat(10_000), ")".repeat(10_000));
        let negated = format!("$[?({}@.a)]", "!".repeat(10_000));
        let filters = format!("$.a{}", "[?(@.a".repeat(2_000));
        let long = format!("${}", ".a".repeat(5_000));
        for text in [
            "",
            "a",
            "$.",
            "$..",
            "$.a.",
            "$.a[",
            "$.a[]",
            "$.a['b",
            "$.a[1:2:3]",
            "$.a b",
            "$.list.length()",
            "$.list[?(@.a =~ /x/)]",
            "$.list[?(@.a ~ 1)]",
            "$.list[?(1)]",
            "$1a",
            "$$a",
            "$.a[99999999999999999999]",
            "$[?@.a]",
            &nested,
            &negated,
            &filters,
            &long,
        ] {
            assert!(Path::parse(text).is_err(), "{text:.40}");
        }
    }

    #[test]
    fn a_path_whose_matches_multiply_is_stopped() {
        let mut value = json!(1);
        for _ in 0..60 {
            value = json!({"a": value, "b": [1, 2, 3]});
        }
        let scope = Fixed::new(value);
        let path = Path::parse("$..*..*..*..*").unwrap();
        assert!(matches!(path.evaluate(&scope), Err(PathError::Invalid(_))));
    }

    #[test]
    fn a_filter_that_reads_all_for_every_item_is_stopped() {
        let items: Vec<Value> = (0..60_000).map(|it| json!(it % 7)).collect();
        let text = "x".repeat(100_000);
        let scope = Fixed::new(json!({
            "items": items, "text": text, "other": text, "copy": items, "object": {"a": text},
        }));
        for filter in [
            "$.text <= $.other",
            "$.text == $.other",
            "$.text contains $.other",
            "$.text size 3",
            "$.copy.x == 1 || $.copy == $.items",
            "$.text == 1",
            "$.items == $.copy",
            "$.object['a', 'b'] == 1",
            "$..x == 1",
            "@ in $.text || 9 in $.copy",
        ] {
            let path = Path::parse(&format!("$.items[?({filter})]")).unwrap();
            let answer = path.evaluate(&scope);
            assert!(matches!(answer, Err(PathError::Invalid(_))), "{filter}");
        }
    }

    #[test]
    fn a_full_payload_can_be_searched_through() {
        let items: Vec<Value> = (0..60_000).map(|it| json!(it % 7)).collect();
        let scope = Fixed::new(json!({"items": items}));
        for (path, n_expected) in [("$..*", 60_001), ("$.items[?(@ == 3)]", 8_571)] {
            let found = Path::parse(path).unwrap().evaluate(&scope).unwrap();
            assert_eq!(found.as_array().unwrap().len(), n_expected, "{path}");
        }
    }

    proptest! {
        /// Whatever the text, it parses or is refused, and evaluates or fails.
        #[test]
        fn no_text_breaks_the_parser(text in r"\$[\$@.\[\]()*?:,'a!=<&| \\0-9-]{0,24}") {
            if let Ok(path) = Path::parse(&text) {
                prop_assert_eq!(path.source(), &text);
                let value = path.evaluate(&store());
                prop_assert!(path.is_definite() || value.is_err() || value.unwrap().is_array());
            }
        }
    }
}
