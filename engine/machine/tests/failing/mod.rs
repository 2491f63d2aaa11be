//! The proof, where a state fails for what none of its tasks has done.

use btrust_machine::{Report, check};
use serde_json::{Value, json};

use crate::support::catalogue;
use crate::{around, phone};

/// A `Map` with a writer that may fail.
fn live_and_written(item: &Value, caught: &str, next: &str) -> Value {
    json!({"Type": "Map", "Items": [1], "ResultWriter": {"Resource": "kyc:form"}, "Next": next,
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "Live", "States": item},
        "Catch": [{"ErrorEquals": ["Unwritten"], "Next": caught}]})
}

#[test]
fn a_writer_fails_with_what_the_items_have_gained_and_retracted() {
    let mut live = json!({"Live": {"Type": "Task", "Resource": "kyc:liveness", "TimeoutSeconds": 900, "End": true}});
    let mut document = around(&json!({
        "Both": live_and_written(&live, "Verified", "Phone"),
        "Phone": {"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 900, "Arguments": {"channels": [], "phone": "1"},
            "Assign": {"otp": "{% $states.result.outcome %}"}, "Next": "Both"},
        "Verified": {"Type": "Choice", "Choices": [{"Condition": "{% $exists($otp) and $otp = 'verified' %}", "Next": "Approved"}], "Default": "Rejected"},
    }));
    document["decisions"]["approved"] = json!({"anyOf": [["phone"]]});
    let report = check(&document, &catalogue());
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert!(!counterexample.assumed, "{counterexample:#?}");

    live["Live"] = json!({"Type": "Task", "Resource": "kyc:liveness", "TimeoutSeconds": 900, "Assign": {"life": "{% $states.result.outcome %}"}, "Next": "Lives"});
    live["Lives"] = json!({"Type": "Choice", "Choices": [{"Condition": "{% $life = 'live' %}", "Next": "Alive"}], "Default": "Dead"});
    live["Alive"] = json!({"Type": "Succeed"});
    live["Dead"] = json!({"Type": "Fail", "Error": "Dead"});
    document = around(&json!({"Both": live_and_written(&live, "Approved", "Rejected")}));
    document["evidence"]
        .as_object_mut()
        .unwrap()
        .remove("phone");
    document["decisions"]["approved"] = json!({"anyOf": [["live"]]});
    let report = check(&document, &catalogue());
    assert!(report.is_publishable(), "{:#?}", report.findings);
}

/// A state that nothing in its branches fails, with one catcher.
fn caught(kind: &str, error: &str, caught: &str, seconds: &Value) -> Report {
    let inner = json!({"StartAt": "Inner", "States": {"Inner": {"Type": "Wait", "Seconds": seconds, "End": true}}});
    let mut document = around(&json!({
        "Both": {"Type": kind, "Next": "Phone", "Catch": [{"ErrorEquals": [error], "Next": caught}]},
        "Phone": phone()["States"]["Phone"],
        "Chosen": {"Type": "Choice", "Choices": [{"Condition": "{% $states.input = 'verified' %}", "Next": "Approved"}], "Default": "Rejected"},
    }));
    let states = &mut document["definition"]["States"];
    states["Phone"].as_object_mut().unwrap().remove("End");
    states["Phone"]["Next"] = json!("Chosen");
    match kind {
        "Map" => {
            states["Both"]["Items"] = json!([1]);
            states["Both"]["ItemProcessor"] = inner;
        }
        _ => states["Both"]["Branches"] = json!([inner]),
    }
    document["evidence"].as_object_mut().unwrap().remove("live");
    document["decisions"]["approved"] = json!({"anyOf": [["phone"]]});
    check(&document, &catalogue())
}

#[test]
fn a_state_with_branches_fails_without_any_task_in_them() {
    let (literal, computed) = (json!(1), json!("{% $length('a') %}"));
    for kind in ["Parallel", "Map"] {
        for (error, seconds, is_raised) in [
            ("States.DataLimitExceeded", &literal, true),
            ("States.QueryEvaluationError", &computed, true),
            ("States.QueryEvaluationError", &literal, false),
            ("Down", &computed, false),
        ] {
            let report = caught(kind, error, "Approved", seconds);
            let found = &report.proof.as_ref().unwrap().counterexamples;
            assert_eq!(
                !found.is_empty(),
                is_raised,
                "{kind} {error}: {:#?}",
                report.findings
            );
            assert!(found.iter().all(|it| it.assumed), "{found:#?}");
            let report = caught(kind, error, "Rejected", seconds);
            assert!(report.is_publishable(), "{:#?}", report.findings);
        }
    }
}
