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

    /// # Errors
    ///
    /// As for [`Path::evaluate`], and [`PathError::Intrinsic`] if a function refuses its arguments.
    pub fn evaluate(&self, scope: &dyn PathScope, random: &Rc<Random>) -> Result<Value, PathError> {
        match self {
            Self::Path(path) => path.evaluate_in_template(scope),
            Self::Call(call) => call
                .evaluate(scope, random, &mut 0)
                .map_err(|it| call.named(it)),
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
                Argument::Path(path) => path.evaluate(scope)?,
                Argument::Call(call) => call.evaluate(scope, random, bytes)?,
            };
            *bytes = bytes.saturating_add(weight(&value));
            if INTRINSIC_BYTES_MAX < *bytes {
                return Err(PathError::Intrinsic(
                    "The arguments are too large.".to_owned(),
                ));
            }
            values.push(value);
        }
        intrinsic::apply(self.function, values, random).map_err(PathError::Intrinsic)
    }

    /// Names the whole call in an error, also where a call within it has failed.
    fn named(&self, error: PathError) -> PathError {
        let source = &self.source;
        match error {
            PathError::Intrinsic(reason) => PathError::Intrinsic(format!(
                "The function '{source}' had the following error: {reason}"
            )),
            PathError::NotFound { path, detail, .. } => PathError::NotFound {
                // A path into the context object is reported as a path into it.
                path: match path.strip_prefix("$$") {
                    Some(rest) => format!("${rest}"),
                    None => path,
                },
                detail,
                call: Some(source.clone()),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::Fixed;
    use super::*;

    fn evaluate(text: &str) -> Result<Value, PathError> {
        let mut scope = Fixed::new(json!({
            "name": "Ada",
            "list": [1, 2, 2.0, "2", {"a": 1}, {"a": 1.0}],
            "object": {"a": 1, "b": [true, null]},
            "big": "x".repeat(10_001),
        }));
        scope.context = json!({"Execution": {"Name": "e-1"}});
        scope
            .variables
            .insert("greeting".to_owned(), json!("Hello {}").into());
        let random = Rc::new(Random::new(42));
        PathExpression::parse(text)
            .unwrap()
            .evaluate(&scope, &random)
    }

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str) {
        let cause = match evaluate(text) {
            Err(PathError::Intrinsic(cause)) => cause,
            other => panic!("{text}: {other:?}"),
        };
        assert!(cause.contains("had the following error: "), "{cause}");
    }

    #[test]
    fn the_functions_of_arrays() {
        check(
            "States.Array(1, 'a', null, true, $.name)",
            json!([1, "a", null, true, "Ada"]),
        );
        check(
            "States.ArrayPartition($.list, 4)",
            json!([[1, 2, 2.0, "2"], [{"a": 1}, {"a": 1.0}]]),
        );
        check("States.ArrayContains($.list, '2')", json!(true));
        check("States.ArrayContains($.list, 3)", json!(false));
        check("States.ArrayRange(1, 9, 2)", json!([1, 3, 5, 7, 9]));
        check("States.ArrayRange(3, 0, -1)", json!([3, 2, 1, 0]));
        check("States.ArrayRange(0.6, 2, 1)", json!([1, 2]));
        check("States.ArrayGetItem($.list, 3)", json!("2"));
        check("States.ArrayLength($.list)", json!(6));
        check("States.ArrayUnique($.list)", json!([1, 2, "2", {"a": 1}]));
    }

    #[test]
    fn the_functions_of_texts() {
        check(
            "States.Format('Hi {}, {}', $.name, 1.5)",
            json!("Hi Ada, 1.5"),
        );
        check(
            r"States.Format('\'\{\}\\ {}', $.object)",
            json!(r"'{}\ {a=1, b=[true, null]}"),
        );
        check(
            "States.Format($greeting, $$.Execution.Name)",
            json!("Hello e-1"),
        );
        check("States.StringSplit('a.b,,c', '.,')", json!(["a", "b", "c"]));
        check("States.StringSplit('abc', '')", json!(["abc"]));
        check(
            "States.JsonToString($.object)",
            json!(r#"{"a":1,"b":[true,null]}"#),
        );
        check(
            r#"States.StringToJson('{"a": "it\'s"}')"#,
            json!({"a": "it's"}),
        );
        check(
            r#"States.StringToJson('{"text":"An \"escaped\" quote"}')"#,
            json!({"text": "An \"escaped\" quote"}),
        );
        check(
            "States.JsonMerge($.object, States.StringToJson('{\"a\":2}'), false)",
            json!({"a": 2, "b": [true, null]}),
        );
        check(
            "States.Base64Encode('Data to encode')",
            json!("RGF0YSB0byBlbmNvZGU="),
        );
        check(
            "States.Base64Decode('RGF0YSB0byBlbmNvZGU=')",
            json!("Data to encode"),
        );
        check(
            "States.Base64Decode('RGF0YSB0byBlbmNvZGU')",
            json!("Data to encode"),
        );
    }

    #[test]
    fn the_digests_are_the_published_ones() {
        for (algorithm, expected) in [
            ("MD5", "900150983cd24fb0d6963f7d28e17f72"),
            ("SHA-1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "SHA-256",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "SHA-384",
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
                 8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                "SHA-512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            check(
                &format!("States.Hash('abc', '{algorithm}')"),
                json!(expected),
            );
        }
    }

    #[test]
    fn chance_comes_from_the_command_or_from_the_seed() {
        let uuid = evaluate("States.UUID()").unwrap();
        assert_eq!(uuid.as_str().unwrap().len(), 36);
        assert_eq!(evaluate("States.UUID()").unwrap(), uuid);
        let pair = evaluate("States.Array(States.UUID(), States.UUID())").unwrap();
        assert_ne!(pair[0], pair[1]);
        assert_eq!(
            evaluate("States.Array(States.MathRandom(1, 1000000, 5))").unwrap(),
            evaluate("States.Array(States.MathRandom(1, 1000000, 5))").unwrap()
        );
        for seed in 0..50 {
            let drawn = evaluate(&format!("States.MathRandom(-2, 1, {seed})")).unwrap();
            assert!((-2..1).contains(&drawn.as_i64().unwrap()), "{drawn}");
        }
    }

    #[test]
    fn arguments_that_do_not_fit_fail_the_function() {
        for text in [
            "States.ArrayContains($.name, 1)",
            "States.ArrayGetItem($.list, 6)",
            "States.ArrayGetItem($.list, -1)",
            "States.ArrayPartition($.list, 0)",
            "States.ArrayRange(1, 1001, 1)",
            "States.ArrayRange(0, 1000, 1)",
            "States.ArrayRange(0, 1, 0)",
            "States.Base64Decode('?')",
            "States.Base64Encode($.big)",
            "States.Format('{} {}', 1)",
            "States.Format('{\"a\": {}}', 1)",
            "States.Format('{}', 1, 2)",
            "States.Hash('a', 'MD4')",
            "States.Hash($.big, 'MD5')",
            "States.JsonMerge($.object, $.object, true)",
            "States.JsonMerge($.object, $.list, false)",
            "States.MathAdd(9223372036854775807, 1)",
            "States.MathAdd('1', 1)",
            "States.MathRandom(1, 1)",
            "States.StringSplit(1, 'a')",
            "States.StringToJson('{')",
        ] {
            check_refused(text);
        }
        assert_eq!(
            evaluate("States.ArrayRange(1, 1000, 1)").unwrap()[999],
            json!(1000)
        );
    }

    #[test]
    fn a_failure_names_the_whole_call() {
        for (text, expected) in [
            ("States.Format('{}',  $.nobody)", "$.nobody"),
            ("States.Format('{}', States.Array($.list[6]))", "$.list[6]"),
            ("States.Array($$.Nobody.Id)", "$.Nobody.Id"),
        ] {
            match evaluate(text) {
                Err(PathError::NotFound { path, call, .. }) => {
                    assert_eq!(path, expected);
                    assert_eq!(call.as_deref(), Some(text));
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(
            evaluate("States.Array(States.Format('{}'))"),
            Err(PathError::Intrinsic(
                "The function 'States.Array(States.Format('{}'))' had the following error: \
                 Invalid arguments in States.Format: number of arguments do not match the \
                 occurrences of {}."
                    .to_owned()
            ))
        );
    }

    #[test]
    fn an_index_past_the_end_is_null_in_a_template_only() {
        check("$.list[6]", json!(null));
        for text in ["$.list[6].x", "$.name[0]", "$.nobody[0]", "$.nobody"] {
            assert!(
                matches!(evaluate(text), Err(PathError::NotFound { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn what_a_call_reads_is_known_before_it_runs() {
        let text = "States.Array($a.x, States.Format('{}', $b), $$.Execution.Id, $.c)";
        let call = PathExpression::parse(text).unwrap();
        assert!(call.variables().iter().eq(["a", "b"]));
        assert_eq!(call.source(), text);
    }

    #[test]
    fn what_is_not_a_call_is_refused() {
        let nested = format!("{}1{}", "States.Array(".repeat(11), ")".repeat(11));
        for text in [
            "States.Nothing()",
            "States.UUID(1)",
            "States.ArrayLength()",
            "States.Array(",
            "States.Array(1,)",
            "States.Array(1 2)",
            "States.Array(a)",
            "States.Array('a)",
            "States.Array($.)",
            "States.Array(1) x",
            "States.Array(\"a\")",
            "hello",
            &nested,
        ] {
            assert!(PathExpression::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_that_grow_without_end_are_stopped() {
        let list = ["$.big"; 500].join(", ");
        check_refused(&format!("States.ArrayLength(States.Array({list}))"));
    }

    proptest! {
        /// Whatever the arguments, a call is refused, fails, or gives a value.
        #[test]
        fn no_call_breaks_the_evaluation(
            function in "(Array(Contains|GetItem|Length|Partition|Range|Unique)?|Format|Hash\
                         |Base64(En|De)code|Json(Merge|ToString)|Math(Add|Random)\
                         |String(Split|ToJson))",
            arguments in prop::collection::vec(
                r"(\$\.(list|name|object|big)|'[{}\\'a,]{0,6}'|-?[0-9]{1,20}(\.5|e9)?|null|true)",
                0..4,
            ),
        ) {
            let text = format!("States.{function}({})", arguments.join(", "));
            if let Ok(call) = PathExpression::parse(&text) {
                prop_assert_eq!(call.source(), &text);
                let scope = Fixed::new(json!({"list": [1, [2]], "name": "a", "object": {"a": 1}}));
                let random = Rc::new(Random::new(1));
                let first = call.evaluate(&scope, &random);
                let again = call.evaluate(&scope, &Rc::new(Random::new(1)));
                prop_assert!(first == again, "{text}");
            }
        }
    }
}
