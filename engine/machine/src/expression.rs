//! `JSONata` expressions: parsed once, bounded, and deterministic.

mod budget;
mod check;
mod export;
mod fast;
mod functions;
mod meter;
mod regex;

use std::cell::Cell;
use std::collections::BTreeSet;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError, EvaluatorOptions};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::Env;
use crate::limits::{
    EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_NESTING_MAX, EXPRESSION_SEQUENCE_MAX,
    EXPRESSION_TIMEOUT_MS,
};
use crate::payload::Payload;

use budget::Budget;
pub(crate) use check::walk;
pub(crate) use export::number;
pub(crate) use fast::equal;
pub(crate) use functions::uuid;

/// A parsed `{% ... %}` expression.
#[derive(Debug)]
pub(crate) struct Expression {
    /// Without the delimiters.
    source: String,
    ast: Box<AstNode>,
    /// The same expression with the counting of work put in; this one is evaluated.
    metered: Box<AstNode>,
    /// What the largest pattern costs for each byte of text; 0 without a pattern.
    regex_weight: u64,
    /// Variables that it reads, without the `$`.
    variables: BTreeSet<String>,
    /// Fields of `$states` that it reads.
    states_fields: Vec<&'static str>,
    /// Functions that it calls or passes on.
    functions: BTreeSet<String>,
}

/// Why an expression gave no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EvaluationError {
    /// The expression is wrong for this data; the same every time.
    Failed(String),
    /// It gave nothing.
    Undefined,
    /// It gave a function, or a number that JSON does not have.
    Unsupported,
    /// It gave more than any state may hold.
    TooLarge,
    /// The wall-clock guard ended it; nothing may be concluded.
    WallClock,
}

/// What an expression may see.
pub(crate) trait Scope {
    /// A field of `$states`: `input`, `result`, `errorOutput` or `context`.
    fn states(&self, field: &str) -> Option<Payload>;
    /// An assigned variable.
    fn variable(&self, name: &str) -> Option<&Payload>;
}

/// Longest message of an evaluation that failed, in characters.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// The fields that `$states` may have.
pub(crate) const STATES_FIELDS: [&str; 4] = ["input", "result", "errorOutput", "context"];

/// A deterministic source of random numbers for one command: SHA-256 of the seed and a counter.
///
/// One-way, because tokens are drawn from it as well as what expressions show to anybody.
#[derive(Debug)]
pub(crate) struct Random {
    seed: u64,
    drawn: Cell<u64>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: Cell::new(0),
        }
    }

    pub fn next(&self) -> u64 {
        let Self { seed, drawn } = self;
        drawn.set(drawn.get().wrapping_add(1));
        let mut hash = Sha256::new();
        hash.update(seed.to_be_bytes());
        hash.update(drawn.get().to_be_bytes());
        let digest = hash.finalize();
        digest
            .iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A number in `[0, 1)`.
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits fit the mantissa exactly"
    )]
    pub fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Expression {
    /// Parses the text between the delimiters.
    ///
    /// # Errors
    ///
    /// A code and a message for a finding.
    pub fn parse(source: &str) -> Result<Self, (&'static str, String)> {
        if EXPRESSION_BYTES_MAX < source.len() {
            let message = format!("the expression has more than {EXPRESSION_BYTES_MAX} bytes");
            return Err(("expression_too_long", message));
        }
        let ast = parser::parse(source).map_err(|error| {
            (
                "expression_invalid",
                format!("the expression does not parse: {error}"),
            )
        })?;
        if EXPRESSION_NESTING_MAX < check::depth(&ast) {
            let message =
                format!("the expression is nested deeper than {EXPRESSION_NESTING_MAX} levels");
            return Err(("expression_too_deep", message));
        }
        let names = check::names(&ast);
        check::forbidden(&ast, &names).map_err(|message| ("expression_forbidden", message))?;
        let regex_weight =
            check::regex_weight(&ast).map_err(|message| ("expression_forbidden", message))?;
        let states_fields = check::states_fields(&ast);
        Ok(Self {
            source: source.to_owned(),
            metered: Box::new(meter::meter(&ast, regex_weight)),
            regex_weight,
            ast: Box::new(ast),
            variables: names.variables,
            states_fields,
            functions: names.functions,
        })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn ast(&self) -> &AstNode {
        &self.ast
    }

    pub fn variables(&self) -> &BTreeSet<String> {
        &self.variables
    }

    /// Whether it reads this field of `$states`.
    pub fn reads_states(&self, field: &str) -> bool {
        self.states_fields.contains(&field)
    }

    /// Evaluates within the limits.
    ///
    /// # Errors
    ///
    /// [`EvaluationError::WallClock`] must abort the command; the others are failures of the state.
    pub fn evaluate(
        &self,
        scope: &dyn Scope,
        env: &Env,
        random: &std::rc::Rc<Random>,
    ) -> Result<Payload, EvaluationError> {
        match fast::evaluate(&self.ast, scope) {
            fast::Answer::Value(value) => Ok(value),
            fast::Answer::Undefined => Err(EvaluationError::Undefined),
            fast::Answer::Unsupported => self.evaluate_fully(scope, env, random),
        }
    }

    fn evaluate_fully(
        &self,
        scope: &dyn Scope,
        env: &Env,
        random: &std::rc::Rc<Random>,
    ) -> Result<Payload, EvaluationError> {
        let mut context = Context::new();
        for name in &self.variables {
            if name == "states" {
                context.bind(name.clone(), self.states(scope));
            } else if let Some(value) = scope.variable(name) {
                context.bind(name.clone(), JValue::from((**value).clone()));
            }
        }
        let options = EvaluatorOptions {
            timeout_ms: Some(EXPRESSION_TIMEOUT_MS),
            cancel: None,
            max_stack_depth: Some(EXPRESSION_DEPTH_MAX),
            max_sequence_length: Some(EXPRESSION_SEQUENCE_MAX),
        };
        let mut evaluator = Evaluator::with_options(context, options);
        let budget = Budget::new();
        functions::register(&mut evaluator, &self.functions, env, random, &budget)
            .map_err(failed)?;
        budget::register(&mut evaluator, &budget, self.regex_weight).map_err(failed)?;
        let value = evaluator
            .evaluate(&self.metered, &JValue::Undefined)
            .map_err(failed)?;
        export::to_json(&value)?
            .map(Payload::from)
            .ok_or(EvaluationError::Undefined)
    }

    fn states(&self, scope: &dyn Scope) -> JValue {
        let fields = self
            .states_fields
            .iter()
            .filter_map(|field| {
                scope
                    .states(field)
                    .map(|it| ((*field).to_owned(), it.to_value()))
            })
            .collect::<Map<_, _>>();
        JValue::from(Value::Object(fields))
    }
}

fn failed(error: EvaluatorError) -> EvaluationError {
    match error.code() {
        Some("D1012") => EvaluationError::WallClock,
        // An error of the expression's own (`$error`) may be of any length.
        _ => EvaluationError::Failed(error.message().chars().take(MESSAGE_CHARS_MAX).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use serde_json::json;

    use super::*;

    struct Fixed {
        states: Value,
        variables: BTreeMap<String, Payload>,
    }

    impl Scope for Fixed {
        fn states(&self, field: &str) -> Option<Payload> {
            self.states.get(field).cloned().map(Payload::from)
        }

        fn variable(&self, name: &str) -> Option<&Payload> {
            self.variables.get(name)
        }
    }

    fn scope() -> Fixed {
        let variables = [
            (
                "otp",
                json!({"outcome": "verified", "output": {"n": 1, "list": [1], "none": null}}),
            ),
            ("n", json!(3)),
            ("flag", json!(true)),
            ("list", json!([1, 2])),
        ];
        Fixed {
            states: json!({"input": {"a": {"b": "c"}, "items": [{"x": 1}, {"x": 2}], "nested": {
                "list": [[1, 2], [3]], "one": [[7]], "rows": [
                    {"name": "r1", "cells": [{"v": 1}, {"v": 2}]},
                    {"name": "r2", "cells": [{"v": 3}]}, {"name": "r3", "cells": []}]}}, "result": {"outcome": "live"}}),
            variables: variables
                .into_iter()
                .map(|(key, it)| (key.to_owned(), it.into()))
                .collect(),
        }
    }

    const ENV: Env = Env {
        now_ms: 1_767_225_600_000,
        seed: 42,
    };

    fn evaluate(source: &str) -> Result<Value, EvaluationError> {
        let random = Rc::new(Random::new(ENV.seed));
        Expression::parse(source)
            .unwrap()
            .evaluate(&scope(), &ENV, &random)
            .map(|it| it.to_value())
    }

    #[test]
    fn the_short_way_and_the_full_way_always_agree() {
        for source in [
            "$otp.outcome = 'verified'",
            "$otp.outcome != 'verified'",
            "$otp.missing = 'x'",
            "$otp.missing != 'x'",
            "$missing.a = 1",
            "$otp.output.n = 1 and $flag",
            "$otp.outcome in ['locked', 'verified']",
            "$otp.missing in ['locked']",
            "$otp.output.none",
            "$otp.output.list",
            "$otp.output",
            "$otp.output.n.deeper",
            "$states.input",
            "$states.input.a.b",
            "$states.input.items.x",
            "$states.input.missing",
            "$states.result.outcome",
            "$not($flag)",
            "$not($otp.missing)",
            "$exists($otp.outcome)",
            "$exists($otp.missing)",
            "$flag ? 'yes' : 'no'",
            "$n = 3 ? $otp.outcome",
            "$n = 4 ? $otp.outcome",
            "{'a': $n, 'b': $otp.missing, 'c': $otp.outcome}",
            "$flag or $missing.a",
            "$list",
            "null",
            "-1.5",
        ] {
            let expression = Expression::parse(source).unwrap();
            let random = Rc::new(Random::new(1));
            let short = expression
                .evaluate(&scope(), &ENV, &random)
                .map(|it| it.to_value());
            let full = expression
                .evaluate_fully(&scope(), &ENV, &random)
                .map(|it| it.to_value());
            assert_eq!(short, full, "{source}");
        }
    }

    #[test]
    fn time_and_chance_come_from_the_command() {
        assert_eq!(evaluate("$now()"), Ok(json!("2026-01-01T00:00:00.000Z")));
        assert_eq!(evaluate("$millis()"), Ok(json!(ENV.now_ms)));
        for source in [
            "$random()",
            "$uuid()",
            "$shuffle([1..20])",
            "[$uuid(), $uuid()]",
        ] {
            assert_eq!(evaluate(source), evaluate(source), "{source}");
        }
        let uuids = evaluate("[$uuid(), $uuid()]").unwrap();
        assert_ne!(uuids[0], uuids[1]);
        assert_eq!(uuids[0].as_str().unwrap().len(), 36);
        assert_eq!(evaluate("$random(5)"), evaluate("$random(5)"));
    }

    #[test]
    fn the_functions_of_step_functions_are_there() {
        assert_eq!(
            evaluate("$partition([1, 2, 3], 2)"),
            Ok(json!([[1, 2], [3]]))
        );
        assert_eq!(evaluate("$range(1, 5, 2)"), Ok(json!([1, 3, 5])));
        assert_eq!(evaluate("$parse('{\"a\": 1}').a"), Ok(json!(1)));
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(evaluate("$hash('abc', 'SHA-256')"), Ok(json!(sha)));
    }

    #[test]
    fn what_has_no_end_is_stopped_by_a_limit_that_is_the_same_everywhere() {
        for source in [
            "($f := function($n) { 1 + $f($n + 1) }; $f(0))",
            "[1..1000000]",
            "$range(1, 100000, 1)",
        ] {
            assert!(
                matches!(evaluate(source), Err(EvaluationError::Failed(_))),
                "{source}"
            );
        }
    }

    #[test]
    fn a_function_or_nothing_is_not_a_value() {
        assert_eq!(evaluate("$uppercase"), Err(EvaluationError::Unsupported));
        assert_eq!(evaluate("1/0"), Err(EvaluationError::Unsupported));
        assert_eq!(evaluate("$otp.missing"), Err(EvaluationError::Undefined));
    }

    /// The counting of work must not change what an expression means.
    #[test]
    fn a_counted_expression_gives_what_the_plain_one_gives() {
        // Our own functions word their errors in their own way; the code is the same.
        let coded = |it: Result<Value, EvaluationError>| match it {
            Err(EvaluationError::Failed(message)) => {
                Err(EvaluationError::Failed(message[..5].to_owned()))
            }
            other => other,
        };
        let mut differing = Vec::new();
        for source in MEANINGS {
            let expression =
                Expression::parse(source).unwrap_or_else(|it| panic!("{source}: {it:?}"));
            let random = Rc::new(Random::new(1));
            let mut context = Context::new();
            for name in &expression.variables {
                if name == "states" {
                    context.bind(name.clone(), expression.states(&scope()));
                } else if let Some(value) = scope().variable(name) {
                    context.bind(name.clone(), JValue::from(value.to_value()));
                }
            }
            let mut plain = Evaluator::with_context(context);
            let plain = plain.evaluate(&expression.ast, &JValue::Undefined);
            let plain = plain
                .map_err(failed)
                .and_then(|it| export::to_json(&it)?.ok_or(EvaluationError::Undefined));
            let counted = expression
                .evaluate_fully(&scope(), &ENV, &random)
                .map(|it| it.to_value());
            if coded(counted.clone()) != coded(plain.clone()) {
                differing.push(format!(
                    "{source}\n  counted: {counted:?}\n  plain:   {plain:?}"
                ));
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }

    const MEANINGS: &[&str] = &[
        // paths
        "$states.input.items.x",
        "$states.input.items[0].x",
        "$states.input.items[-1].x",
        "$states.input.items[x = 2].x",
        "$states.input.items[x > 1][0]",
        "$states.input.items[].x",
        "$states.input.items.x[]",
        "$states.input.items[x = 2].x[]",
        "$states.input.nested.list",
        "$states.input.nested.list[0]",
        "$states.input.nested.list[1][0]",
        "$states.input.nested.one",
        "$states.input.nested.one[0]",
        "$states.input.nested.rows.cells",
        "$states.input.nested.rows.cells.v",
        "$states.input.nested.rows.(cells.v)",
        "$states.input.nested.rows.cells[0].v",
        "$states.input.nested.rows.cells[v > 1].v",
        "$states.input.nested.rows.{'n': name, 'vs': cells.v}",
        "$states.input.nested.rows.[name, cells.v]",
        "$states.input.nested.rows.$string(cells)",
        "$states.input.nested.rows.name.$uppercase()",
        "$states.input.nested.rows.name.$replace('r', 'q')",
        "$states.input.nested.rows.name.$split('')",
        "$states.input.nested.rows{name: $sum(cells.v)}",
        "$states.input.nested.rows.cells{$string(v): $}",
        "$states.input.nested.rows^(>name).name",
        "$states.input.nested.rows^(>$sum(cells.v), name).cells.v",
        "$states.input.nested.rows.cells^(v)[0].v",
        "$states.input.nested.rows#$i.{'i': $i, 'n': name}",
        "$states.input.nested.rows@$r.cells@$c[$c.v > 1].{'n': $r.name, 'v': $c.v}",
        "$states.input.nested.rows.cells.{'v': v, 'n': %.name}",
        "$states.input.nested.rows.(cells.{'v': v, 'n': %.%.name})",
        "$states.input.nested.rows.cells[%.name = 'r2'].v",
        "$states.input.nested.*.name",
        "$states.input.nested.**.v",
        "$states.input.**[x].x",
        "$states.input.*",
        "$states.input.`a`.b",
        "[[1, 2], [3]].$",
        "[[1, 2], [3]][0]",
        "[{'c': [1]}, {'c': [2]}].c[0]",
        "([1, 2, 3])[1]",
        "[1..3].{'n': $}",
        "[1..3][$ > 1]",
        "[1..3].($ * 2)",
        "{'a': [1]}.a",
        "{'a': [[1, 2]]}.a",
        "{'a': {'b': [5]}}.a.b",
        "[{'k': 'a', 'v': 1}, {'k': 'b', 'v': 2}, {'k': 'a', 'v': 3}]{k: v}",
        "$n.missing.deeper",
        "$list.$string()",
        "$otp.output.list.$",
        // operators
        "'a' & $n & null & $flag",
        "$states.input.a = {'b': 'c'}",
        "$states.input.a != $states.input.items",
        "2 in $list",
        "$n in [1, 2, 3]",
        "-$n + 2 * 3 - 1 / 4 % 2",
        "$n > 2 and $n <= 3 or false",
        "$missing ? 1 : $n ? 2 : 3",
        "$missing ?? 'default'",
        "$missing ?: 'default'",
        // functions
        "$map($list, function($v, $i) { $v + $i })",
        "$map([3, 1], $string)",
        "$filter([1..9], function($v) { $v % 2 = 0 })",
        "$reduce([1..9], function($a, $b) { $a + $b }, 10)",
        "$reduce(['a', 'b'], function($a, $b) { $a & $b })",
        "$single([1, 2], function($v) { $v = 2 })",
        "$sift({'a': 1, 'b': 2}, function($v, $k) { $k = 'b' })",
        "$each({'a': 1, 'b': 2}, function($v, $k) { $k & $v })",
        "$sort([3, 1, 2])",
        "$sort([{'a': 2}, {'a': 1}], function($l, $r) { $l.a > $r.a })",
        "$zip([1, 2], ['a', 'b'])",
        "$distinct([1, 2, 1, 'a', 'a'])",
        "$merge([{'a': 1}, {'b': 2}])",
        "$spread({'a': 1, 'b': 2})",
        "$keys($states.input)",
        "$lookup($states.input, 'a').b",
        "$append($list, 3)",
        "$reverse($list)",
        "$count($states.input.items)",
        "$exists($missing) or $exists($list)",
        "$type($list)",
        "$sum($states.input.items.x) / $count($states.input.items)",
        "$max([1, 5, 3]) + $average([1, 2])",
        "$string({'a': [1, {'b': null}]}, true)",
        "$number('12.5') + $abs(-1) + $round(2.345, 2)",
        "$substring('hello', 1, 3) & $substringBefore('a-b', '-') & $substringAfter('a-b', '-')",
        "$uppercase('a') & $lowercase('B') & $trim('  c ')",
        "$length('hello')",
        "$pad('7', -3, '0') & $pad('a', 3) & '|'",
        "$pad('abc', 5, 'xy')",
        "$join(['a', 'b', 'c'], ', ')",
        "$join('a')",
        "$join($missing)",
        "$join([])",
        "$join([1])",
        "$split('a,b,c', ',')",
        "$split('a1b2c', /[0-9]/, 2)",
        "$match('a1b22', /[0-9]+/)",
        "$match('a1b22', /([a-z])([0-9])/)[0].groups",
        "$contains('Hello', /hello/i)",
        "$contains('Hello', 'ell')",
        "$replace('a-b-c', '-', '+')",
        "$replace('a-b-c', '-', '+', 1)",
        "$replace('John Smith', /(\\w+)\\s(\\w+)/, '$2, $1')",
        "$replace('abc', /b/, function($m) { $uppercase($m.match) })",
        "$replace($missing, 'a', 'b')",
        "$replace('abc', '', 'b')",
        "$replace(1, 'a', 'b')",
        "'abc' ~> $replace('a', 'x') ~> $uppercase()",
        "'abc' ~> $uppercase ~> $length",
        "($f := $uppercase ~> $trim; $f(' a '))",
        "$list ~> $map(function($v) { $v * 2 }) ~> $sum()",
        "$states.input.items ~> $filter(function($v) { $v.x = 1 })[0]",
        "$states.input ~> |items|{'x': x + 1}|",
        "$states.input ~> |a|{'d': 1}, 'b'|",
        "($add := function($a, $b) { $a + $b }; $inc := $add(1, ?); $inc(2))",
        "($f := function($n) { $n <= 1 ? 1 : $n * $f($n - 1) }; $f(10))",
        "($f := function($n, $a) { $n = 0 ? $a : $f($n - 1, $a + $n) }; $f(300, 0))",
        "(function($x) { $x * 2 })(21)",
        "($x := 5; $y := $x * 2; {'x': $x, 'y': $y})",
        "($y := function($f) { (function($x) { $x($x) })(function($g) { $f(function($a) { ($g($g))($a) }) }) }; $y(function($f) { function($n) { $n < 2 ? $n : $f($n - 1) + $f($n - 2) } })(10))",
        "$formatNumber(1234.5, '#,##0.00') & $formatBase(255, 16) & $formatInteger(12, 'w')",
        "$fromMillis(1510067557121, '[Y0001]-[M01]-[D01]')",
        "$toMillis('2017-11-07T15:07:54.972Z')",
        "$base64decode($base64encode('hello')) & $encodeUrlComponent('a b')",
        "$boolean([0]) or $not(true)",
        "$power(2, 10) + $sqrt(16) + $floor(1.5) + $ceil(1.5)",
        "$error('mine')",
        "$assert(false, 'mine')",
        "$sum('a')",
        "1 + 'a'",
        "$undefined_function(1)",
        "[1..3] ~> $join(', ')",
        "$map([1..5], function($x) { $x }) [0]",
        "$states.input.items.(x > 1 ? {'big': x} : {'small': x})",
        "$states.input.items.(($v := x; $v + 1))",
        "$states.input.items.$sum([x, 1])",
        "$states.input.items.$n",
        "$states.input.items.$otp.outcome",
    ];

    #[test]
    fn what_would_differ_between_runs_is_refused() {
        for source in [
            "$eval('1')",
            "$toMillis('12', '[H]')",
            "'12' ~> $toMillis('[H]')",
            "$map(['1'], $toMillis)",
            "$now('[Y]')",
        ] {
            assert_eq!(
                Expression::parse(source).unwrap_err().0,
                "expression_forbidden",
                "{source}"
            );
        }
        assert_eq!(
            Expression::parse("$a[").unwrap_err().0,
            "expression_invalid"
        );
    }
}
