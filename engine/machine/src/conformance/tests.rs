use serde_json::{Value, json};

use super::*;

fn case(changes: &[(&str, Value)]) -> Case {
    let mut document = json!({
        "name": "sample",
        "definition": {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": {"x": 1}, "End": true}}},
        "input": {},
        "expect": {"status": "SUCCEEDED", "output": {"x": 1}},
        "history": [
            {"id": 1, "previousEventId": 0, "type": "ExecutionStarted",
                "executionStartedEventDetails": {"input": {}, "inputDetails": {"truncated": false}, "roleArn": "role_arn"}},
            {"id": 2, "previousEventId": 0, "type": "PassStateEntered",
                "stateEnteredEventDetails": {"name": "A", "input": {}, "inputDetails": {"truncated": false}}},
            {"id": 3, "previousEventId": 2, "type": "PassStateExited",
                "stateExitedEventDetails": {"name": "A", "output": {"x": 1}, "outputDetails": {"truncated": false}}},
            {"id": 4, "previousEventId": 3, "type": "ExecutionSucceeded",
                "executionSucceededEventDetails": {"output": {"x": 1}, "outputDetails": {"truncated": false}}},
        ],
    });
    for (pointer, value) in changes {
        *document.pointer_mut(pointer).unwrap() = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

#[test]
fn an_execution_that_happens_as_recorded_passes() {
    assert_eq!(case(&[]).check(), Ok(()));
}

#[test]
fn every_difference_is_named() {
    let output = "/history/2/stateExitedEventDetails/output";
    for (pointer, value, what) in [
        ("/definition/StartAt", json!("B"), "definition"),
        ("/expect/status", json!("FAILED"), "status"),
        ("/expect/output", json!({"x": 2}), "output.x"),
        (
            "/history/2/type",
            json!("TaskStateExited"),
            "history: types",
        ),
        (
            output,
            json!({"x": 2}),
            "history, event 2 (PassStateExited).stateExitedEventDetails.output.x",
        ),
    ] {
        let found = case(&[(pointer, value)]).check().unwrap_err();
        assert_eq!(found.what, what);
    }
}

#[test]
fn an_exclusion_that_is_not_needed_is_reported() {
    let exclusions = Exclusions::from([("sample".to_owned(), "why".to_owned())]);
    let mut summary = Summary::default();
    summary.add(
        "a.json",
        &[case(&[]), case(&[("/expect/output", json!(1))])],
        &exclusions,
    );
    assert_eq!(
        (
            summary.total,
            summary.passed,
            summary.failed,
            summary.excluded
        ),
        (2, 0, 0, 2)
    );
    assert_eq!(summary.stale_exclusions, ["sample"]);
}

fn event(id: u64, previous: u64, kind: &str, details: (&str, Value)) -> Value {
    json!({"id": id, "previousEventId": previous, "type": kind, details.0: details.1})
}

#[test]
fn items_and_branches_that_interleave_are_told_apart() {
    let entered = |name: &str| ("stateEnteredEventDetails", json!({"name": name}));
    let exited = |name: &str| ("stateExitedEventDetails", json!({"name": name}));
    let item = |index: u64| {
        (
            "mapIterationStartedEventDetails",
            json!({"name": "M", "index": index}),
        )
    };
    let none = || ("none", json!({}));
    let history = [
        event(1, 0, "ExecutionStarted", none()),
        event(2, 0, "MapStateEntered", entered("M")),
        event(3, 2, "MapStateStarted", none()),
        event(4, 3, "MapIterationStarted", item(0)),
        event(5, 3, "MapIterationStarted", item(1)),
        event(6, 5, "ParallelStateEntered", entered("P")),
        event(7, 4, "PassStateEntered", entered("X")),
        event(8, 6, "ParallelStateStarted", none()),
        event(9, 8, "PassStateEntered", entered("L")),
        event(10, 8, "PassStateEntered", entered("R")),
        event(11, 10, "PassStateExited", exited("R")),
        event(12, 9, "PassStateExited", exited("L")),
        event(13, 12, "ParallelStateSucceeded", none()),
        event(14, 12, "ParallelStateExited", exited("P")),
        event(15, 14, "MapIterationSucceeded", none()),
        event(16, 7, "PassStateExited", exited("X")),
        // The third item follows the end of the first.
        event(17, 16, "MapIterationStarted", item(2)),
        event(18, 17, "MapIterationSucceeded", none()),
        event(19, 18, "MapStateSucceeded", none()),
        event(20, 18, "MapStateExited", exited("M")),
        event(21, 20, "ExecutionSucceeded", none()),
    ];
    let shown: Vec<(String, Vec<u64>)> = branches::split(&history)
        .into_iter()
        .map(|(branch, events)| {
            let ids = events.iter().map(|it| it["id"].as_u64().unwrap()).collect();
            (branch.to_string(), ids)
        })
        .collect();
    let expected: Vec<(String, Vec<u64>)> = [
        ("", vec![1, 2, 3, 19, 20, 21]),
        (" / M 0", vec![4, 7, 16]),
        (" / M 1", vec![5, 6, 8, 13, 14, 15]),
        (" / M 1 / P L", vec![9, 12]),
        (" / M 1 / P R", vec![10, 11]),
        (" / M 2", vec![17, 18]),
    ]
    .map(|(branch, ids)| (branch.to_owned(), ids))
    .to_vec();
    assert_eq!(shown, expected);
    assert_eq!(branches::item_of(&history, 11), Some(1));
}

#[test]
fn a_date_that_was_replaced_may_have_been_any() {
    let mut sample = case(&[
        (
            "/definition/States/A",
            json!({"Type": "Wait", "TimestampPath": "$.at", "End": true}),
        ),
        ("/input", json!({"at": "timestamp"})),
        ("/expect/output", json!({"at": "timestamp"})),
        ("/history", json!([])),
    ]);
    assert_eq!(sample.check(), Ok(()));
    sample.expect.status = "FAILED".to_owned();
    assert!(sample.check().is_err());
}
