//! Moving running workflows to another version, and the limits of what a workflow may hold.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use btrust_machine::limits::{MAP_BYTES_MAX, PAYLOAD_DEPTH_MAX};
use btrust_machine::{
    Applied, Command, Definition, Env, Finding, Refusal, State, TurnResult, apply, check, migrate,
};
use serde_json::{Value, json};
use support::catalogue;

const ENV: Env = Env {
    now_ms: 1_767_225_600_000,
    seed: 7,
};

/// Reads a document, then asks a reviewer; approval needs the document.
fn document() -> Value {
    json!({
        "name": "moving", "timeoutSeconds": 86_400,
        "evidence": {"document": {"state": "Read", "outcome": "accepted"}},
        "decisions": {"approved": {"anyOf": [["document"]]}, "rejected": {}},
        "definition": {"StartAt": "Read", "States": {
            "Read": {"Type": "Task", "Resource": "kyc:ocr", "TimeoutSeconds": 900,
                "Assign": {"read": "{% $states.result.outcome %}"}, "Next": "WasRead"},
            "WasRead": {"Type": "Choice", "Choices": [
                {"Condition": "{% $read = 'accepted' %}", "Next": "Review"}], "Default": "Rejected"},
            "Review": {"Type": "Task", "Resource": "kyc:review", "TimeoutSeconds": 900,
                "Assign": {"review": "{% $states.result.outcome %}"}, "Next": "Reviewed"},
            "Reviewed": {"Type": "Choice", "Choices": [
                {"Condition": "{% $review = 'approved' %}", "Next": "Approved"}], "Default": "Rejected"},
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
            "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected"}}
        }}
    })
}

fn published(document: &Value) -> Definition {
    let report = check(document, &catalogue());
    let resolved = report
        .resolved
        .unwrap_or_else(|| panic!("{:#?}", report.findings));
    Definition::parse(&resolved).unwrap()
}

fn start(definition: &Definition, input: Value) -> Result<Applied, Refusal> {
    let command = Command::Start {
        workflow: format!("wf_{:032x}", 1),
        definition: "moving".to_owned(),
        version: 1,
        input: input.into(),
        origin: btrust_machine::Origin::default(),
    };
    apply(definition, None, &command, &ENV)
}

fn complete(definition: &Definition, state: State, task: u32, outcome: &str) -> Applied {
    let result = TurnResult::Complete {
        outcome: outcome.to_owned(),
        output: json!({}).into(),
    };
    let command = Command::TurnResult {
        task,
        attempt: 1,
        turn: 1,
        digest: format!("{task:064x}"),
        result,
    };
    apply(definition, Some(state), &command, &ENV).unwrap()
}

/// A workflow of the first version that waits for its reviewer.
fn in_review(definition: &Definition) -> State {
    let started = start(definition, json!({})).unwrap();
    complete(definition, started.state, 1, "accepted").state
}

fn move_to(new: &Value) -> Result<Applied, Vec<Finding>> {
    let (from, to) = (published(&document()), published(new));
    migrate(&from, &to, 2, &catalogue(), &in_review(&from), &ENV)
}

fn codes(moved: Result<Applied, Vec<Finding>>) -> Vec<&'static str> {
    moved.unwrap_err().iter().map(|it| it.code).collect()
}

#[test]
fn a_workflow_goes_on_in_the_new_version_with_what_it_holds() {
    let mut new = document();
    new["definition"]["States"]["Reviewed"]["Default"] = json!("Approved");
    let to = published(&new);
    let moved = move_to(&new).unwrap();
    assert_eq!(moved.events[0].type_name(), "WorkflowMigrated");
    assert_eq!(moved.state.definition(), ("moving", 2));
    assert_eq!(moved.state.evidence(), ["document"]);
    let ended = complete(&to, moved.state, 2, "rejected").state;
    assert_eq!(ended.decision(), Some("approved"));
}

#[test]
fn what_another_rule_has_proven_is_retracted_and_then_it_cannot_be_approved() {
    let mut new = document();
    new["evidence"]["document"]["with"] = json!({"needsReview": false});
    new["definition"]["States"]["WasRead"]["Choices"][0]["Condition"] =
        json!("{% $read = 'accepted' and $output.needsReview = false %}");
    new["definition"]["States"]["Read"]["Assign"]["output"] = json!("{% $states.result.output %}");
    assert_eq!(codes(move_to(&new)), ["migration_unproven"]);
}

#[test]
fn a_state_that_is_gone_or_other_work_holds_its_workflows_back() {
    let mut gone = document();
    let states = gone["definition"]["States"].as_object_mut().unwrap();
    let review = states.remove("Review").unwrap();
    states.insert("Judge".to_owned(), review);
    states["WasRead"]["Choices"][0]["Next"] = json!("Judge");
    assert_eq!(codes(move_to(&gone)), ["migration_state_missing"]);
    let mut other = document();
    other["definition"]["States"]["Review"]["Resource"] = json!("kyc:form");
    other["definition"]["States"]["Reviewed"]["Choices"][0]["Condition"] =
        json!("{% $review = 'submitted' %}");
    assert_eq!(codes(move_to(&other)), ["migration_state_changed"]);
}

#[test]
fn a_variable_that_was_never_assigned_holds_a_workflow_back() {
    let mut new = document();
    new["definition"]["States"]["Read"]["Assign"]["country"] = json!("{% 'UTO' %}");
    new["definition"]["States"]["Approved"]["Output"]["country"] = json!("{% $country %}");
    assert_eq!(codes(move_to(&new)), ["migration_variable_missing"]);
}

#[test]
fn a_state_that_carries_evidence_only_now_retracts_it_when_it_runs_again() {
    let mut new = document();
    new["evidence"]["reviewed"] = json!({"state": "Review", "outcome": "approved"});
    new["decisions"]["approved"]["anyOf"] = json!([["document", "reviewed"]]);
    new["definition"]["States"]["Reviewed"]["Choices"] = json!([
        {"Condition": "{% $review = 'approved' and $again = false %}",
         "Assign": {"again": true}, "Next": "Review"},
        {"Condition": "{% $review = 'approved' %}", "Next": "Approved"}]);
    new["definition"]["States"]["Review"]["Assign"]["again"] =
        json!("{% $exists($again) ? $again : false %}");
    new["definition"]["States"]["Read"]["Assign"]["again"] = json!(false);
    let to = published(&new);
    let moved = move_to(&new).unwrap();
    let first = complete(&to, moved.state, 2, "approved");
    assert_eq!(
        first.state.evidence(),
        ["document"],
        "the second review has begun"
    );
    let ended = complete(&to, first.state, 3, "rejected").state;
    assert_eq!(ended.decision(), Some("rejected"));
    assert_eq!(ended.evidence(), ["document"]);
}

#[test]
fn what_is_nested_too_deeply_is_refused_before_it_is_stored() {
    let deep = (0..=PAYLOAD_DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
    let refused = start(&published(&document()), deep).unwrap_err();
    assert_eq!(refused.code(), "payload_too_deep");
}

#[test]
fn a_map_that_would_fill_the_snapshot_fails_instead() {
    let map = |selector: &str| {
        Definition::parse_states(
            &json!({"QueryLanguage": "JSONata", "StartAt": "Each", "States": {
            "Each": {"Type": "Map", "Items": "{% $states.input.items %}", "MaxConcurrency": 1,
                "ItemSelector": selector,
                "ItemProcessor": {"StartAt": "Copy", "States": {"Copy": {"Type": "Pass",
                    "Output": "{% $states.context.Execution.Input %}", "End": true}}},
                "End": true}}}),
        )
        .unwrap()
    };
    let items: Vec<u32> = (0..1_000).collect();
    let input = json!({"items": items, "text": "x".repeat(MAP_BYTES_MAX / 8)});
    for selector in ["{% $states.input %}", "{% 1 %}"] {
        let state = start(&map(selector), input.clone()).unwrap().state;
        assert_eq!(
            state.error(),
            Some("States.DataLimitExceeded"),
            "{selector}"
        );
        assert!(serde_json::to_string(&state).unwrap().len() < MAP_BYTES_MAX);
    }
}
