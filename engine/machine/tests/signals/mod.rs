//! What the gates say of states that wait for signals.

use btrust_machine::simulate::{MockFile, Options, run};
use btrust_machine::{Definition, Gate, Report, Status, check};
use serde_json::{Value, json};

use crate::finds;
use crate::support::catalogue;

/// An approval after a code, once a payment has come.
fn paid(pay: &Value) -> Value {
    json!({
        "name": "paid", "timeoutSeconds": 86_400,
        "evidence": {"phone": {"state": "VerifyPhone", "outcome": "verified"}},
        "decisions": {"approved": {"anyOf": [["phone"]]}, "rejected": {}},
        "definition": {"StartAt": "VerifyPhone", "States": {
            "VerifyPhone": {"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 900,
                "Arguments": {"channels": ["sms"], "phone": "+97250"},
                "Assign": {"otp": "{% $states.result.outcome %}"},
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Rejected"}], "Next": "Pay"},
            "Pay": pay,
            "Paid": {"Type": "Choice", "Choices": [
                {"Condition": "{% $otp = 'verified' and $paid %}", "Next": "Approved"}], "Default": "Rejected"},
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
            "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected"}},
        }},
    })
}

fn pay() -> Value {
    json!({"Type": "Task", "Resource": "btrust:signal", "Arguments": {"name": "payment-received"},
        "TimeoutSeconds": 600, "Assign": {"paid": "{% $states.result.amount = 7 %}"},
        "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Rejected"}], "Next": "Paid"})
}

fn with(field: &str, value: Value) -> Report {
    let mut pay = pay();
    pay[field] = value;
    check(&paid(&pay), &catalogue())
}

#[test]
fn a_state_that_waits_for_a_signal_passes_every_gate() {
    let report = check(&paid(&pay()), &catalogue());
    assert!(report.is_publishable(), "{:#?}", report.findings);
}

#[test]
fn what_a_signal_brings_is_no_evidence_and_proves_nothing() {
    let mut document = paid(&pay());
    document["evidence"]["paid"] = json!({"state": "Pay", "outcome": "verified"});
    let report = check(&document, &catalogue());
    finds(
        &report,
        Gate::Valid,
        "evidence_state_signal",
        "/evidence/paid/state",
    );

    // What it brings is unknown, so a way that only it keeps closed is open.
    let mut document = paid(&pay());
    document["definition"]["States"]["Paid"]["Choices"][0]["Condition"] = json!("{% $paid %}");
    let proof = check(&document, &catalogue()).proof.unwrap();
    assert!(!proof.counterexamples.is_empty());
}

#[test]
fn a_signal_is_named_bounded_and_waited_for_by_nobody() {
    let pointer = "/definition/States/Pay";
    let mut endless = pay();
    endless.as_object_mut().unwrap().remove("TimeoutSeconds");
    let report = check(&paid(&endless), &catalogue());
    finds(&report, Gate::Lint, "timeout_missing", pointer);
    let arguments = format!("{pointer}/Arguments");
    finds(
        &with("Arguments", json!({})),
        Gate::Lint,
        "arguments_invalid",
        &arguments,
    );
    let other = json!({"name": "x", "other": 1});
    finds(
        &with("Arguments", other),
        Gate::Lint,
        "arguments_invalid",
        &arguments,
    );
    let heartbeat = format!("{pointer}/HeartbeatSeconds");
    finds(
        &with("HeartbeatSeconds", json!(5)),
        Gate::Valid,
        "signal_field",
        &heartbeat,
    );
    let unknown = with("Resource", json!("btrust:other"));
    finds(
        &unknown,
        Gate::Valid,
        "resource_invalid",
        &format!("{pointer}/Resource"),
    );
    let undo = json!({"Resource": "btrust:signal", "TimeoutSeconds": 5});
    finds(
        &with("BTrust.Compensation", undo),
        Gate::Valid,
        "resource_invalid",
        &format!("{pointer}/BTrust.Compensation/Resource"),
    );
}

/// How the paid workflow ends when these signals are sent.
fn simulated(signals: &Value) -> (Status, Option<String>) {
    let definition = Definition::parse(&paid(&pay())).unwrap();
    let mocks = json!({
        "VerifyPhone": {"Return": {"outcome": "verified"}, "After": 10},
        "Signals": signals,
    });
    let file = MockFile::parse(&mocks).unwrap();
    let (input, options) = (json!({}).into(), Options::default());
    let state = run(&definition, input, &file.cases[0].mocks, &options)
        .unwrap()
        .state;
    (state.status(), state.decision().map(str::to_owned))
}

#[test]
fn the_simulator_sends_signals_early_in_time_and_too_late() {
    let signal = |after: u32, amount: u32| json!([{"Name": "payment-received", "After": after, "Payload": {"amount": amount}}]);
    let decided = |word: &str| (Status::Succeeded, Some(word.to_owned()));
    assert_eq!(simulated(&signal(1, 7)), decided("approved"));
    assert_eq!(simulated(&signal(609, 7)), decided("approved"));
    assert_eq!(simulated(&signal(610, 7)), decided("rejected"));
    assert_eq!(simulated(&signal(1, 8)), decided("rejected"));
    let nameless = MockFile::parse(&json!({"Signals": [{"After": 1}]})).unwrap_err();
    assert_eq!(nameless.place, "/Signals/0/Name");
}
