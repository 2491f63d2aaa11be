//! The executions of `asl-conformance` that are one state, evaluated by this module alone.

use std::path::PathBuf;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::tests::Fixed;
use super::{ChoiceRule, PathExpression};
use crate::definition::Reader;
use crate::expression::{Random, equal};

/// The recordings of one topic, or `None` with a message where the folder is absent.
fn recordings(topic: &str) -> Option<Vec<Value>> {
    let folder = std::env::var_os("ASL_CONFORMANCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/asl-conformance"),
        PathBuf::from,
    );
    let file = folder.join(topic);
    match std::fs::read_to_string(&file) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) => {
            eprintln!("skipped: {} cannot be read: {error}", file.display());
            None
        }
    }
}

fn scope(case: &Value) -> Fixed {
    let mut scope = Fixed::new(case["input"].clone());
    scope.context = json!({
        "Execution": {"Input": case["input"], "Name": "<ExecArnPart_0idx>"},
        "StateMachine": {
            "Id": "arn:<partition>:states:<region>:111111111111:stateMachine:<ArnPart_0idx>",
            "Name": "<ArnPart_0idx>",
        },
    });
    scope
}

/// Evaluates the keys `k.$` of a template; others stand for themselves.
fn fill(template: &Map<String, Value>, scope: &Fixed) -> Value {
    let random = Rc::new(Random::new(1));
    let fields =
        template.iter().map(
            |(key, value)| match (key.strip_suffix(".$"), value.as_str()) {
                (Some(key), Some(text)) => {
                    let expression = PathExpression::parse(text).unwrap();
                    (key.to_owned(), expression.evaluate(scope, &random).unwrap())
                }
                _ => (key.clone(), value.clone()),
            },
        );
    Value::Object(fields.collect())
}

/// Checks every case that is a single `Pass` with `Parameters` and without other paths.
#[track_caller]
fn check_passes(topic: &str, n_cases_min: usize) {
    let Some(cases) = recordings(topic) else {
        return;
    };
    let mut n_cases = 0;
    for case in &cases {
        let states = case["definition"]["States"].as_object().unwrap();
        let state = states.values().next().unwrap();
        let Some(parameters) = state["Parameters"].as_object() else {
            continue;
        };
        if states.len() != 1 || state["Type"] != "Pass" {
            continue;
        }
        let mut actual = fill(parameters, &scope(case));
        if state["OutputPath"] == "$.result_path.merged" {
            actual = actual["merged"].clone();
        }
        let expected = &case["expect"]["output"];
        assert!(equal(&actual, expected), "{}: {actual}", case["name"]);
        n_cases += 1;
    }
    assert!(n_cases_min <= n_cases, "only {n_cases} cases in {topic}");
}

#[test]
fn the_recorded_intrinsic_functions_give_the_recorded_output() {
    check_passes("intrinsic_functions.json", 80);
}

#[test]
fn the_recorded_paths_give_the_recorded_output() {
    check_passes("base.json", 10);
}

#[test]
fn the_recorded_choices_take_the_recorded_way() {
    let Some(cases) = recordings("choice_operators.json") else {
        return;
    };
    for case in &cases {
        let states = case["definition"]["States"].as_object().unwrap();
        let choice = states.values().find(|it| it["Type"] == "Choice").unwrap();
        let mut next = choice["Default"].as_str();
        for rule in choice["Choices"].as_array().unwrap() {
            let mut reader = Reader::default();
            let parsed = ChoiceRule::parse(&mut reader, rule.as_object().unwrap(), "");
            assert!(reader.findings.is_empty(), "{:?}", reader.findings);
            if parsed.unwrap().evaluate(&scope(case)).unwrap() {
                next = rule["Next"].as_str();
                break;
            }
        }
        let actual = &states[next.unwrap()]["Result"];
        assert_eq!(actual, &case["expect"]["output"], "{}", case["name"]);
    }
    assert!(200 <= cases.len(), "only {} cases", cases.len());
}
