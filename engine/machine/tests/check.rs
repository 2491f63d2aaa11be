//! The gates, one document and one expectation at a time.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test may fail; its cases are data"
)]

mod failing;
mod signals;
#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use btrust_machine::{Definition, Gate, Report, check};
use serde_json::{Value, json};
use support::catalogue;

/// A definition that passes every gate; the tests change one thing in it.
fn sound() -> Value {
    json!({
        "name": "sound", "timeoutSeconds": 86400,
        "inputSchema": {"type": "object", "required": ["phone"], "properties": {"phone": {"type": "string"}}},
        "evidence": {
            "phone": {"state": "VerifyPhone", "outcome": "verified"},
            "reviewed": {"state": "Review", "outcome": "approved", "with": {"fourEyes": true}},
        },
        "decisions": {"approved": {"anyOf": [["phone"], ["reviewed"]]}, "rejected": {}},
        "definition": {"QueryLanguage": "JSONata", "StartAt": "VerifyPhone", "States": {
            "VerifyPhone": {"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 900,
                "Arguments": {"channels": ["sms"], "phone": "{% $states.input.phone %}"},
                "Assign": {"otp": "{% $states.result %}"},
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Review"}], "Next": "PhoneVerified"},
            "PhoneVerified": {"Type": "Choice", "Choices": [
                {"Condition": "{% $otp.outcome = 'verified' %}", "Next": "Approved"},
                {"Condition": "{% $otp.outcome in ['locked', 'undeliverable'] %}", "Next": "Review"}],
                "Default": "Rejected"},
            "Review": {"Type": "Task", "Resource": "kyc:review", "TimeoutSeconds": 3600,
                "Assign": {"review": "{% $states.result %}"},
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Rejected"}], "Next": "Reviewed"},
            "Reviewed": {"Type": "Choice", "Choices": [
                {"Condition": "{% $review.outcome = 'approved' and $review.output.fourEyes = true %}", "Next": "Approved"}],
                "Default": "Rejected"},
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
            "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected"}},
        }},
    })
}

/// The report on the sound definition after one change; `null` removes.
fn changed(pointer: &str, value: Value) -> Report {
    let mut document = sound();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = document
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("nothing at {pointer}"));
    match (value, parent) {
        (Value::Null, parent) => {
            parent.as_object_mut().unwrap().remove(key);
        }
        (value, Value::Array(items)) => items[key.parse::<usize>().unwrap()] = value,
        (value, parent) => parent[key] = value,
    }
    check(&document, &catalogue())
}

#[track_caller]
fn finds(report: &Report, gate: Gate, code: &str, pointer: &str) {
    let found = report
        .findings
        .iter()
        .any(|it| it.gate == gate && it.code == code && it.pointer == pointer);
    assert!(found, "no {code} at {pointer}: {:#?}", report.findings);
}

#[test]
fn a_sound_definition_passes_and_is_resolved() {
    let report = check(&sound(), &catalogue());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.proof.as_ref().unwrap().counterexamples.is_empty());
    let resolved = report.resolved.unwrap();
    assert_eq!(
        resolved.pointer("/definition/States/VerifyPhone/Resource"),
        Some(&json!("kyc:otp@1"))
    );
    assert_eq!(resolved["contracts"]["kyc:otp@1"]["hash"], "sha256:otp");
    let definition = Definition::parse(&resolved).unwrap();
    assert_eq!(
        definition.steps().collect::<Vec<_>>(),
        [("VerifyPhone", "kyc:otp@1"), ("Review", "kyc:review@1")]
    );
    // What was published can be checked again.
    assert!(check(&resolved, &catalogue()).is_publishable());
}

#[test]
fn the_gate_valid_names_the_place_of_every_mistake() {
    let states = "/definition/States";
    for (pointer, value, code, place) in [
        ("/nmae", json!("x"), "unknown_field", "/nmae".to_owned()),
        (
            "/name",
            json!("Not A Name"),
            "name_invalid",
            "/name".to_owned(),
        ),
        ("/definition", Value::Null, "missing_field", String::new()),
        (
            "/inputSchema",
            json!({"type": 7}),
            "schema_invalid",
            "/inputSchema/type".to_owned(),
        ),
        (
            "/definition/StartAt",
            json!("Nowhere"),
            "start_at_unknown",
            "/definition/StartAt".to_owned(),
        ),
        (
            "/definition/QueryLanguage",
            json!("JSONPath"),
            "query_language_mismatch",
            format!("{states}/VerifyPhone/Arguments"),
        ),
        (
            "/definition/States/VerifyPhone/Next",
            json!("Nowhere"),
            "next_unknown",
            format!("{states}/VerifyPhone/Next"),
        ),
        (
            "/definition/States/VerifyPhone/Next",
            Value::Null,
            "next_missing",
            format!("{states}/VerifyPhone"),
        ),
        (
            "/definition/States/VerifyPhone/End",
            json!(true),
            "next_and_end",
            format!("{states}/VerifyPhone"),
        ),
        (
            "/definition/States/VerifyPhone/ResultPath",
            json!("$"),
            "query_language_mismatch",
            format!("{states}/VerifyPhone/ResultPath"),
        ),
        (
            "/definition/States/VerifyPhone/Timeout",
            json!(1),
            "unknown_field",
            format!("{states}/VerifyPhone/Timeout"),
        ),
        (
            "/definition/States/VerifyPhone/Resource",
            json!("arn:aws:x"),
            "resource_invalid",
            format!("{states}/VerifyPhone/Resource"),
        ),
        (
            "/definition/States/VerifyPhone/Resource",
            json!("kyc:nothing"),
            "step_unknown",
            format!("{states}/VerifyPhone/Resource"),
        ),
        (
            "/definition/States/VerifyPhone/Resource",
            json!("kyc:otp@2"),
            "step_unknown",
            format!("{states}/VerifyPhone/Resource"),
        ),
        (
            "/definition/States/VerifyPhone/BTrust.Keep",
            json!(["verified", "lost"]),
            "outcome_unknown",
            format!("{states}/VerifyPhone/BTrust.Keep/1"),
        ),
        (
            "/definition/States/VerifyPhone/BTrust.Compensation",
            json!({"Resource": "kyc:otp"}),
            "missing_field",
            format!("{states}/VerifyPhone/BTrust.Compensation"),
        ),
        (
            "/definition/States/VerifyPhone/BTrust.Rework",
            json!("yes"),
            "wrong_type",
            format!("{states}/VerifyPhone/BTrust.Rework"),
        ),
        (
            "/definition/States/VerifyPhone/Type",
            json!("Map"),
            "missing_field",
            format!("{states}/VerifyPhone"),
        ),
        (
            "/definition/States/VerifyPhone/Type",
            json!("Magic"),
            "state_type_unknown",
            format!("{states}/VerifyPhone/Type"),
        ),
        (
            "/definition/States/VerifyPhone/TimeoutSeconds",
            json!(0),
            "wrong_type",
            format!("{states}/VerifyPhone/TimeoutSeconds"),
        ),
        (
            "/definition/States/VerifyPhone/Assign",
            json!({"states": 1}),
            "variable_invalid",
            format!("{states}/VerifyPhone/Assign/states"),
        ),
        (
            "/definition/States/VerifyPhone/Arguments/phone",
            json!("{% $a[ %}"),
            "expression_invalid",
            format!("{states}/VerifyPhone/Arguments/phone"),
        ),
        (
            "/definition/States/VerifyPhone/Arguments/phone",
            json!("{% $a"),
            "expression_invalid",
            format!("{states}/VerifyPhone/Arguments/phone"),
        ),
        (
            "/definition/States/VerifyPhone/Arguments/phone",
            json!("{% $eval('1') %}"),
            "expression_forbidden",
            format!("{states}/VerifyPhone/Arguments/phone"),
        ),
        (
            "/definition/States/VerifyPhone/Arguments/phone",
            json!("{% $contains('a', /a{1000000}/) %}"),
            "expression_forbidden",
            format!("{states}/VerifyPhone/Arguments/phone"),
        ),
        (
            "/definition/States/VerifyPhone/Catch/0",
            json!({"ErrorEquals": ["States.ALL", "A"], "Next": "Review"}),
            "states_all_misplaced",
            format!("{states}/VerifyPhone/Catch/0/ErrorEquals"),
        ),
        (
            "/definition/States/VerifyPhone/Retry",
            json!([{"ErrorEquals": ["A"], "BackoffRate": 0.5}]),
            "retry_invalid",
            format!("{states}/VerifyPhone/Retry/0/BackoffRate"),
        ),
        (
            "/definition/States/PhoneVerified/Choices/0/Condition",
            json!(7),
            "wrong_type",
            format!("{states}/PhoneVerified/Choices/0/Condition"),
        ),
        (
            "/definition/States/Approved/Output/decision",
            json!("{% $otp.outcome %}"),
            "decision_not_literal",
            format!("{states}/Approved/Output/decision"),
        ),
        (
            "/definition/States/Approved/Output/decision",
            json!("granted"),
            "decision_unknown",
            format!("{states}/Approved/Output/decision"),
        ),
        (
            "/evidence/phone/state",
            json!("Nowhere"),
            "evidence_state_unknown",
            "/evidence/phone/state".to_owned(),
        ),
        (
            "/evidence/phone/state",
            json!("Approved"),
            "evidence_state_not_task",
            "/evidence/phone/state".to_owned(),
        ),
        (
            "/evidence/phone/outcome",
            json!("verifed"),
            "evidence_outcome_unknown",
            "/evidence/phone/outcome".to_owned(),
        ),
        (
            "/decisions/approved/anyOf/0",
            json!(["passport"]),
            "evidence_unknown",
            "/decisions/approved/anyOf/0/0".to_owned(),
        ),
    ] {
        let report = changed(pointer, value);
        finds(&report, Gate::Valid, code, &place);
        assert!(report.resolved.is_none() && !report.is_publishable());
    }
}

#[test]
fn the_gate_lint_finds_what_cannot_be_meant() {
    let states = "/definition/States";
    for (pointer, value, code, place) in [
        (
            "/definition/States/Lost",
            json!({"Type": "Pass", "Next": "Review"}),
            "state_unreachable",
            "Lost",
        ),
        (
            "/definition/States/VerifyPhone/TimeoutSeconds",
            Value::Null,
            "timeout_missing",
            "VerifyPhone",
        ),
        (
            "/definition/States/PhoneVerified/Default",
            json!("PhoneVerified"),
            "loop_unbounded",
            "PhoneVerified",
        ),
        (
            "/definition/States/Reviewed/Default",
            json!("VerifyPhone"),
            "loop_unbounded",
            "VerifyPhone",
        ),
        (
            "/definition/States/PhoneVerified/Default",
            Value::Null,
            "outcome_unhandled",
            "PhoneVerified",
        ),
        (
            "/definition/States/VerifyPhone/Arguments",
            json!({"channels": ["sms"]}),
            "arguments_invalid",
            "VerifyPhone/Arguments",
        ),
        (
            "/definition/States/VerifyPhone/Arguments/channels",
            json!(["fax"]),
            "arguments_invalid",
            "VerifyPhone/Arguments/channels/0",
        ),
        (
            "/definition/States/VerifyPhone/Arguments/colour",
            json!("red"),
            "arguments_invalid",
            "VerifyPhone/Arguments/colour",
        ),
        (
            "/definition/States/VerifyPhone/Arguments/phone",
            json!("{% $states.input.telephone %}"),
            "field_unknown",
            "VerifyPhone/Arguments/phone",
        ),
        (
            "/definition/States/PhoneVerified/Choices/0/Condition",
            json!("{% $otp.output.chanel = 'sms' %}"),
            "field_unknown",
            "PhoneVerified/Choices/0/Condition",
        ),
        (
            "/definition/States/PhoneVerified/Choices/0/Condition",
            json!("{% $otp.result = 'x' %}"),
            "field_unknown",
            "PhoneVerified/Choices/0/Condition",
        ),
        (
            "/definition/States/PhoneVerified/Choices/0/Condition",
            json!("{% $otp.outcome = 'verifed' %}"),
            "outcome_unknown",
            "PhoneVerified/Choices/0/Condition",
        ),
        (
            "/definition/States/PhoneVerified/Choices/1/Condition",
            json!("{% $otp.outcome in ['looked'] %}"),
            "outcome_unknown",
            "PhoneVerified/Choices/1/Condition",
        ),
    ] {
        finds(
            &changed(pointer, value),
            Gate::Lint,
            code,
            &format!("{states}/{place}"),
        );
    }
    let no_end = json!({"Type": "Wait", "Seconds": 1, "Next": "Rejected"});
    finds(
        &changed("/definition/States/Rejected", no_end),
        Gate::Lint,
        "no_path_to_end",
        "/definition/States/Rejected",
    );
}

#[test]
fn a_counted_loop_is_no_finding() {
    let mut document = sound();
    let states = &mut document["definition"]["States"];
    states["VerifyPhone"]["Assign"]["n"] = json!("{% $exists($n) ? $n + 1 : 1 %}");
    states["PhoneVerified"]["Choices"]
        .as_array_mut()
        .unwrap()
        .push(json!({"Condition": "{% $n < 3 %}", "Next": "VerifyPhone"}));
    states["VerifyPhone"]["Arguments"]["phone"] =
        json!("{% $states.context.Execution.Input.phone %}");
    let report = check(&document, &catalogue());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

#[test]
fn an_approval_without_evidence_is_refused_with_the_shortest_way_to_it() {
    let report = changed(
        "/definition/States/VerifyPhone/Catch/0/Next",
        json!("Approved"),
    );
    finds(
        &report,
        Gate::Proof,
        "decision_without_evidence",
        "/definition/States/Approved/Output/decision",
    );
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    let states: Vec<&str> = counterexample
        .path
        .iter()
        .map(|it| it.state.as_str())
        .collect();
    assert_eq!(states, ["VerifyPhone", "Approved"]);
    assert_eq!(counterexample.missing, [["phone"], ["reviewed"]]);
    assert!(
        !counterexample.assumed,
        "an error is a fact, not an assumption"
    );
}

#[test]
fn an_outcome_is_followed_through_variables_and_objects() {
    for (assign, condition) in [
        ("{% $states.result.outcome %}", "{% $otp = 'verified' %}"),
        (
            "{% {'how': {'ended': $states.result.outcome}} %}",
            "{% $otp.how.ended = 'verified' %}",
        ),
        ("{% $states.result.outcome = 'verified' %}", "{% $otp %}"),
        (
            "{% $states.result.outcome = 'verified' ? 'yes' : 'no' %}",
            "{% $otp in ['yes'] %}",
        ),
        (
            "{% $states.result.outcome %}",
            "{% $not($otp != 'verified') %}",
        ),
        (
            "{% $states.result.outcome %}",
            "{% ($otp = 'verified' or $otp = 'locked') and $otp != 'locked' %}",
        ),
    ] {
        let mut document = sound();
        let states = &mut document["definition"]["States"];
        states["VerifyPhone"]["Assign"]["otp"] = json!(assign);
        states["PhoneVerified"]["Choices"] = json!([{"Condition": condition, "Next": "Approved"}]);
        states["PhoneVerified"]["Default"] = json!("Review");
        let report = check(&document, &catalogue());
        assert!(
            report.findings.is_empty(),
            "{assign} {condition}: {:#?}",
            report.findings
        );
    }
}

#[test]
fn what_cannot_be_decided_is_assumed_possible() {
    let report = changed(
        "/definition/States/PhoneVerified/Choices/0/Condition",
        json!("{% $length($otp.outcome) = 8 %}"),
    );
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert!(counterexample.assumed);
    assert!(
        counterexample
            .path
            .iter()
            .any(|it| it.state == "PhoneVerified" && it.assumed)
    );
}

#[test]
fn evidence_with_fields_needs_the_fields() {
    let report = changed(
        "/definition/States/Reviewed/Choices/0/Condition",
        json!("{% $review.outcome = 'approved' %}"),
    );
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert!(
        counterexample
            .path
            .iter()
            .any(|it| it.event.contains("without {\"fourEyes\":true}")),
        "{counterexample:#?}"
    );
    assert!(!counterexample.assumed);
}

#[test]
fn going_back_without_comparing_again_is_refused() {
    let document = json!({
        "name": "rework", "timeoutSeconds": 86400,
        "evidence": {"document": {"state": "Read", "outcome": "accepted"}, "match": {"state": "Compare", "outcome": "match"}},
        "decisions": {"approved": {"anyOf": [["document", "match"]]}, "rejected": {}},
        "definition": {"StartAt": "Read", "States": {
            "Read": {"Type": "Task", "Resource": "kyc:ocr", "TimeoutSeconds": 900, "Assign": {"read": "{% $states.result.outcome %}"}, "Next": "WasRead"},
            "WasRead": {"Type": "Choice", "Choices": [
                {"Condition": "{% $read = 'accepted' and $exists($face) %}", "Next": "Approved"},
                {"Condition": "{% $read = 'accepted' %}", "Next": "Compare"}], "Default": "Rejected"},
            "Compare": {"Type": "Task", "Resource": "kyc:face-match", "TimeoutSeconds": 60, "Assign": {"face": "{% $states.result.outcome %}"}, "Next": "Compared"},
            "Compared": {"Type": "Choice", "Choices": [{"Condition": "{% $face = 'match' %}", "Next": "Review"}], "Default": "Rejected"},
            "Review": {"Type": "Task", "Resource": "kyc:review", "TimeoutSeconds": 60, "Assign": {"review": "{% $states.result.outcome %}"}, "Next": "Reviewed"},
            "Reviewed": {"Type": "Choice", "Choices": [
                {"Condition": "{% $review = 'approved' %}", "Next": "Approved"},
                {"Condition": "{% $review = 'resubmit' %}", "Next": "Read"}], "Default": "Rejected"},
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
            "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected"}},
        }},
    });
    let report = check(&document, &catalogue());
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert_eq!(counterexample.held, ["document"]);
    assert_eq!(counterexample.missing, [["match"]]);
    let mut sound = document;
    sound["definition"]["States"]["WasRead"]["Choices"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    let report = check(&sound, &catalogue());
    assert!(report.is_publishable(), "{:#?}", report.findings);
}

#[test]
fn an_input_is_checked_without_repeating_it() {
    let definition = Definition::parse(&sound()).unwrap();
    assert!(definition.check_input(&json!({"phone": "+97250"})).is_ok());
    let findings = definition
        .check_input(&json!({"phone": {"secret": 7}}))
        .unwrap_err();
    assert_eq!(findings[0].pointer, "/phone");
    assert!(
        !findings[0].message.contains("secret"),
        "{}",
        findings[0].message
    );
}

/// A definition around these states: two tasks carry evidence, and both are needed.
fn around(states: &Value) -> Value {
    let mut document = json!({
        "name": "around", "timeoutSeconds": 86400,
        "inputSchema": {"type": "object", "properties": {"phones": {"type": "array"}}},
        "evidence": {"phone": {"state": "Phone", "outcome": "verified"}, "live": {"state": "Live", "outcome": "live"}},
        "decisions": {"approved": {"anyOf": [["phone", "live"]]}, "rejected": {}},
        "definition": {"StartAt": "Both", "States": {
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
            "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected"}},
        }},
    });
    for (name, state) in states.as_object().unwrap() {
        document["definition"]["States"][name] = state.clone();
    }
    document
}

fn phone() -> Value {
    json!({"StartAt": "Phone", "States": {"Phone": {"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 900,
        "Arguments": {"channels": [], "phone": "1"}, "Output": "{% $states.result.outcome %}", "End": true}}})
}

fn live() -> Value {
    json!({"StartAt": "Live", "States": {"Live": {"Type": "Task", "Resource": "kyc:liveness", "TimeoutSeconds": 900, "End": true}}})
}

/// Two branches, and an approval when both have ended as they should.
fn both() -> Value {
    json!({
        "Both": {"Type": "Parallel", "Branches": [phone(), live()], "Assign": {"both": "{% $states.result %}"},
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Rejected"}], "Next": "Chosen"},
        "Chosen": {"Type": "Choice", "Choices": [
            {"Condition": "{% $both[0] = 'verified' and $both[1].outcome = 'live' %}", "Next": "Approved"}],
            "Default": "Rejected"},
    })
}

#[test]
fn what_branches_end_with_is_followed_by_its_index() {
    let report = check(&around(&both()), &catalogue());
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.proof.unwrap().counterexamples.is_empty());
    let mut states = both();
    states["Chosen"]["Choices"][0]["Condition"] = json!("{% $both[0] = 'verified' %}");
    let report = check(&around(&states), &catalogue());
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert_eq!(counterexample.missing, [["live"]]);
    assert!(!counterexample.assumed);
}

#[test]
fn a_caught_parallel_contributes_nothing() {
    let mut states = both();
    states["Both"]["Catch"][0]["Next"] = json!("Approved");
    let report = check(&around(&states), &catalogue());
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert_eq!(counterexample.held, [] as [&str; 0]);
    assert!(!counterexample.assumed);
}

#[test]
fn the_losers_of_a_race_vouch_for_nothing() {
    let mut states = both();
    states["Both"]["BTrust.Race"] = json!(true);
    states["Chosen"]["Choices"][0]["Condition"] = json!("{% $both = 'verified' %}");
    let report = check(&around(&states), &catalogue());
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert_eq!(counterexample.held, ["phone"]);
    assert_eq!(counterexample.missing, [["live"]]);
}

#[test]
fn a_list_without_items_proves_nothing() {
    let map = |items: Value| {
        let mut document = around(&json!({
            "Both": {"Type": "Map", "Items": items, "ItemProcessor": {"StartAt": "Live", "States": {
                    "Live": {"Type": "Task", "Resource": "kyc:liveness", "TimeoutSeconds": 900, "Assign": {"life": "{% $states.result.outcome %}"}, "Next": "Lives"},
                    "Lives": {"Type": "Choice", "Choices": [{"Condition": "{% $life = 'live' %}", "Next": "Alive"}], "Default": "Dead"},
                    "Alive": {"Type": "Succeed"}, "Dead": {"Type": "Fail", "Error": "Dead"}}},
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Rejected"}], "Next": "Approved"},
        }));
        document["evidence"]
            .as_object_mut()
            .unwrap()
            .remove("phone");
        document["decisions"]["approved"] = json!({"anyOf": [["live"]]});
        check(&document, &catalogue())
    };
    let report = map(json!([1, 2]));
    assert!(report.is_publishable(), "{:#?}", report.findings);
    let report = map(json!("{% $states.input.phones %}"));
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert!(counterexample.assumed);
    assert!(
        counterexample
            .path
            .iter()
            .any(|it| it.event == "has no items")
    );
}

#[test]
fn what_is_compensated_is_proven_no_more() {
    let document = |compensates: bool| {
        let mut document = around(&json!({
            "Both": {"Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 900, "Next": "Last"},
            "Last": {"Type": "Task", "Resource": "kyc:review", "TimeoutSeconds": 900, "Next": "Rejected",
                "Catch": [{"ErrorEquals": ["States.ALL"], "BTrust.Compensate": compensates, "Next": "Chosen"}]},
            "Chosen": {"Type": "Choice", "Choices": [{"Condition": "{% $form = 'submitted' %}", "Next": "Approved"}], "Default": "Rejected"},
        }));
        let form = &mut document["definition"]["States"]["Both"];
        form["Assign"] = json!({"form": "{% $states.result.outcome %}"});
        form["BTrust.Compensation"] = json!({"Resource": "kyc:form", "TimeoutSeconds": 900});
        document["evidence"] = json!({"form": {"state": "Both", "outcome": "submitted"}});
        document["decisions"]["approved"] = json!({"anyOf": [["form"]]});
        check(&document, &catalogue())
    };
    assert!(
        document(false).is_publishable(),
        "{:#?}",
        document(false).findings
    );
    let report = document(true);
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert!(
        counterexample
            .path
            .iter()
            .any(|it| it.event == "is compensated")
    );
    assert!(!counterexample.assumed);
}

#[test]
fn an_outcome_is_followed_through_jsonpath() {
    let document = |wanted: &str| {
        let mut document = around(&json!({
            "Both": {"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 900, "QueryLanguage": "JSONPath",
                "Parameters": {"channels": [], "phone": "1"}, "ResultSelector": {"how.$": "$.outcome"}, "ResultPath": "$.otp", "Next": "Chosen"},
            "Chosen": {"Type": "Choice", "QueryLanguage": "JSONPath", "Choices": [
                {"And": [{"Variable": "$.otp.how", "IsPresent": true}, {"Variable": "$.otp.how", "StringEquals": wanted}], "Next": "Approved"}],
                "Default": "Rejected"},
        }));
        document["evidence"] = json!({"phone": {"state": "Both", "outcome": "verified"}});
        document["decisions"]["approved"] = json!({"anyOf": [["phone"]]});
        check(&document, &catalogue())
    };
    let report = document("verified");
    assert!(report.is_publishable(), "{:#?}", report.findings);
    let report = document("locked");
    let counterexample = &report.proof.as_ref().unwrap().counterexamples[0];
    assert!(!counterexample.assumed);
}

#[test]
fn a_field_is_looked_for_wherever_the_value_comes_from() {
    for (condition, is_wrong) in [
        ("{% $both[1].outcome = 'live' %}", false),
        ("{% $both[1].result = 'live' %}", true),
        ("{% $made.found.outcome = 'live' %}", false),
        ("{% $made.lost.outcome = 'live' %}", true),
        ("{% $states.input.kept.outcome = 'live' %}", false),
        ("{% $states.input.gone.outcome = 'live' %}", true),
        ("{% $reset.outcome = 'live' %}", false),
        ("{% $reset.result = 'live' %}", true),
        ("{% $unknown.anything.goes = 'live' %}", false),
    ] {
        let mut states = both();
        states["Both"]["Assign"]["made"] = json!({"found": "{% $states.result[1] %}"});
        states["Both"]["Assign"]["reset"] = Value::Null;
        states["Both"]["Output"] = json!({"kept": "{% $states.result[1] %}"});
        states["Both"]["Next"] = json!("Again");
        states["Again"] = json!({"Type": "Pass", "Assign": {"reset": "{% $states.input.kept %}"}, "Next": "Chosen"});
        states["Chosen"]["Choices"][0] = json!({"Condition": condition, "Next": "Rejected"});
        let report = check(&around(&states), &catalogue());
        let found = report.findings.iter().any(|it| it.code == "field_unknown");
        assert_eq!(found, is_wrong, "{condition}: {:#?}", report.findings);
    }
}
