//! `JSONata` expressions: parsed once, bounded, and deterministic.

mod check;
mod fast;
mod functions;

use std::cell::Cell;
use std::collections::BTreeSet;

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Context, Evaluator, EvaluatorError, EvaluatorOptions};
use jsonata_core::parser;
use jsonata_core::value::JValue;
use serde_json::{Map, Number, Value};

use crate::Env;
use crate::limits::{
    EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX, EXPRESSION_SEQUENCE_MAX, EXPRESSION_TIMEOUT_MS,
};
use crate::payload::Payload;

pub(crate) use check::walk;
pub(crate) use fast::equal;
pub(crate) use functions::uuid;

/// A parsed `{% ... %}` expression.
#[derive(Debug)]
pub(crate) struct Expression {
    /// Without the delimiters.
    source: String,
    ast: AstNode,
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

/// The fields that `$states` may have.
pub(crate) const STATES_FIELDS: [&str; 4] = ["input", "result", "errorOutput", "context"];

/// A deterministic source of random numbers for one command.
///
/// Source: `SplitMix64` (Steele, Lea, Flood 2014); jitter and identifiers need spread, not secrecy.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
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
        let names = check::names(&ast);
        check::forbidden(&ast, &names).map_err(|message| ("expression_forbidden", message))?;
        let states_fields = check::states_fields(&ast);
        Ok(Self {
            source: source.to_owned(),
            ast,
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
        functions::register(&mut evaluator, &self.functions, env, random).map_err(failed)?;
        let value = evaluator
            .evaluate(&self.ast, &JValue::Undefined)
            .map_err(failed)?;
        to_json(&value)?
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
        _ => EvaluationError::Failed(error.message().to_owned()),
    }
}

/// Converts a result to JSON; `None` is undefined.
fn to_json(value: &JValue) -> Result<Option<Value>, EvaluationError> {
    jsonata_core::value::with_stack(|| {
        let json = match value {
            JValue::Undefined => return Ok(None),
            JValue::Null => Value::Null,
            JValue::Bool(it) => Value::Bool(*it),
            JValue::Number(it) => number(*it)?,
            JValue::String(it) => Value::String(it.to_string()),
            JValue::Array(items) => {
                let mut array = Vec::with_capacity(items.len());
                for item in items {
                    array.push(to_json(item)?.unwrap_or(Value::Null));
                }
                Value::Array(array)
            }
            JValue::Object(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for (key, it) in fields.iter() {
                    if let Some(it) = to_json(it)? {
                        object.insert(key.clone(), it);
                    }
                }
                Value::Object(object)
            }
            _ => {
                return Err(EvaluationError::Failed(
                    "the result is a function, not JSON".to_owned(),
                ));
            }
        };
        Ok(Some(json))
    })
}

/// A JSON number; whole numbers are written without a fraction, as JavaScript writes them.
#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
pub(crate) fn number(value: f64) -> Result<Value, EvaluationError> {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        return Ok(Value::from(value as i64));
    }
    Number::from_f64(value)
        .map(Value::Number)
        .ok_or_else(|| EvaluationError::Failed("the result is not a finite number".to_owned()))
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
            states: json!({"input": {"a": {"b": "c"}, "items": [{"x": 1}, {"x": 2}]}, "result": {"outcome": "live"}}),
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
        assert!(matches!(
            evaluate("$uppercase"),
            Err(EvaluationError::Failed(_))
        ));
        assert_eq!(evaluate("$otp.missing"), Err(EvaluationError::Undefined));
    }

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
