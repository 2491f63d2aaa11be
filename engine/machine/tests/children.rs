//! Child workflows and continue-as-new: what a definition may say, and the limits.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use btrust_machine::simulate::{MockFile, Options, run};
use btrust_machine::{
    Applied, Command, Definition, Env, Message, OnParentClose, Origin, Parent, State, Status,
    apply, check, limits,
};
use serde_json::{Value, json};
use support::catalogue;

const PARENT: &str = "wf_a7000000000000000000000000000001";

fn calling(arguments: &Value) -> Value {
    json!({"name": "calling", "timeoutSeconds": 1000, "decisions": {"approved": {}},
        "definition": {"StartAt": "Call", "States": {
            "Call": {"Type": "Task", "Resource": "btrust:workflow", "TimeoutSeconds": 100,
                "Arguments": arguments, "Assign": {"child": "{% $states.result %}"}, "Next": "Done"},
            "Done": {"Type": "Succeed", "Output": {"decision": "approved"}}}}})
}

fn started(document: &Value, input: Value, origin: Origin) -> Applied {
    let definition = Definition::parse(document).unwrap();
    let command = Command::Start {
        workflow: PARENT.to_owned(),
        definition: "calling".to_owned(),
        version: 1,
        input: input.into(),
        origin,
    };
    apply(&definition, None, &command, &Env { now_ms: 0, seed: 1 }).unwrap()
}

fn below(depth: u32) -> Origin {
    Origin {
        parent: Some(Parent {
            workflow: "wf_b7000000000000000000000000000001".to_owned(),
            task: 4,
            attempt: 2,
            on_close: OnParentClose::Cancel,
        }),
        depth,
        ..Origin::default()
    }
}

#[test]
fn a_definition_that_calls_another_one_passes_the_gates() {
    for arguments in [
        json!({"definition": "inner"}),
        json!({"definition": "inner", "version": 3, "spread": true, "onParentClose": "abandon",
            "input": {"n": "{% $states.input.n %}"}}),
        json!("{% {'definition': $states.input.which} %}"),
    ] {
        let report = check(&calling(&arguments), &catalogue());
        assert!(report.is_publishable(), "{:#?}", report.findings);
        let resolved = report.resolved.unwrap();
        assert_eq!(
            resolved["definition"]["States"]["Call"]["Resource"],
            "btrust:workflow"
        );
        Definition::parse(&resolved).unwrap();
    }
}

#[test]
fn what_is_no_child_is_refused_with_its_place() {
    for (arguments, place) in [
        (json!({"input": {}}), ""),
        (json!({"definition": 5}), "/definition"),
        (json!({"definition": "a", "version": 0}), "/version"),
        (json!({"definition": "a", "spread": "yes"}), "/spread"),
        (
            json!({"definition": "a", "onParentClose": "leave"}),
            "/onParentClose",
        ),
        (json!({"definition": "a", "wait": true}), "/wait"),
        (json!([]), ""),
    ] {
        let findings = Definition::parse(&calling(&arguments)).unwrap_err();
        let found: Vec<_> = findings
            .iter()
            .map(|it| (it.code, it.pointer.as_str()))
            .collect();
        let place = format!("/definition/States/Call/Arguments{place}");
        assert_eq!(
            found,
            [("arguments_invalid", place.as_str())],
            "{arguments}"
        );
    }
}

#[test]
fn a_child_waits_for_no_token_and_undoes_nothing() {
    let mut document = calling(&json!({"definition": "inner"}));
    document["definition"]["States"]["Call"]["Resource"] =
        json!("btrust:workflow.waitForTaskToken");
    let findings = Definition::parse(&document).unwrap_err();
    assert_eq!(findings[0].code, "resource_invalid");
    let mut document = calling(&json!({"definition": "inner"}));
    document["definition"]["States"]["Call"]["BTrust.Compensation"] =
        json!({"Resource": "btrust:workflow", "TimeoutSeconds": 5});
    let findings = Definition::parse(&document).unwrap_err();
    assert_eq!(findings[0].code, "resource_invalid");
}

#[test]
fn a_child_proves_nothing_to_its_parent() {
    let mut document = calling(&json!({"definition": "inner"}));
    document["evidence"] = json!({"phone": {"state": "Call", "outcome": "verified"}});
    let report = check(&document, &catalogue());
    assert!(
        report
            .findings
            .iter()
            .any(|it| it.code == "evidence_of_child")
    );
}

#[test]
fn a_child_lies_beside_its_parent_unless_it_is_spread() {
    let to = |arguments: Value| {
        let applied = started(&calling(&arguments), json!({}), Origin::default());
        applied.state.owed()[0].to.clone()
    };
    let beside = to(json!({"definition": "inner"}));
    assert_eq!((beside.len(), &beside[..17]), (35, &PARENT[..17]));
    let spread = to(json!({"definition": "inner", "spread": true}));
    assert_eq!(
        (&beside[..15], &beside[17..]),
        (&spread[..15], &spread[17..])
    );
    assert_ne!(beside[15..17], spread[15..17]);
    // The same attempt has the same child, whoever asks and however often.
    assert_eq!(beside, to(json!({"definition": "inner"})));
}

#[test]
fn workflows_nest_so_deep_and_no_deeper() {
    let document = calling(&json!({"definition": "calling"}));
    let last = started(&document, json!({}), below(limits::CHILD_DEPTH_MAX - 1)).state;
    let Message::Start { origin, .. } = &last.owed()[0].message else {
        panic!("{:?}", last.owed())
    };
    assert_eq!(origin.depth, limits::CHILD_DEPTH_MAX);
    let parent = origin.parent.as_ref().unwrap();
    assert_eq!(
        (parent.workflow.as_str(), parent.task, parent.attempt),
        (PARENT, 1, 1)
    );
    let refused = started(&document, json!({}), below(limits::CHILD_DEPTH_MAX)).state;
    assert_eq!(refused.error(), Some("BTrust.ChildLimit"));
    // It has a parent itself, which hears of it.
    assert_eq!(
        refused.owed()[0].message,
        Message::Ended {
            task: 4,
            attempt: 2
        }
    );
    let end = refused.end_as_child().unwrap();
    assert_eq!(
        (end.workflow.as_str(), end.status),
        (PARENT, Status::Failed)
    );
}

#[test]
fn inputs_that_wait_for_their_children_are_bounded() {
    let branch = |n: usize| {
        let name = format!("Call{n}");
        json!({"StartAt": name, "States": {(name.clone()): {
            "Type": "Task", "Resource": "btrust:workflow", "TimeoutSeconds": 100, "End": true,
            "Arguments": {"definition": "inner", "input": "{% $states.context.Execution.Input %}"}}}})
    };
    let branches: Vec<Value> = (0..20).map(branch).collect();
    let document = json!({"name": "calling", "definition": {"StartAt": "All", "States": {
        "All": {"Type": "Parallel", "Branches": branches, "End": true}}}});
    let large = json!({"text": "a".repeat(limits::PAYLOAD_BYTES_MAX - 1000)});
    let state = started(&document, large, Origin::default()).state;
    assert_eq!(state.error(), Some("BTrust.ChildLimit"));
    let bytes = serde_json::to_vec(state.owed()).unwrap().len();
    assert!(
        bytes < limits::OWED_BYTES_MAX + 2 * limits::PAYLOAD_BYTES_MAX,
        "{bytes}"
    );
    let small = started(&document, json!({"text": "a"}), Origin::default()).state;
    assert_eq!((small.status(), small.owed().len()), (Status::Running, 20));
    assert_eq!(small.children(), Vec::<&str>::new());
}

#[test]
fn a_workflow_without_messages_is_stored_as_before() {
    let document = json!({"name": "calling", "definition": {"StartAt": "Rest", "States": {
        "Rest": {"Type": "Wait", "Seconds": 5, "End": true}}}});
    let stored =
        serde_json::to_value(started(&document, json!({}), Origin::default()).state).unwrap();
    for field in ["origin", "nMessages", "owed"] {
        assert_eq!(stored.get(field), None, "{field}");
    }
    let read: State = serde_json::from_value(stored).unwrap();
    assert!(read.origin().is_caller());
}

fn going_on(first: &Value) -> Value {
    json!({"name": "going", "timeoutSeconds": 1000, "definition": {"StartAt": "First", "States": {
        "First": first,
        "Again": {"Type": "Succeed", "BTrust.ContinueAsNew": {"input": {"n": 1}, "version": 2}}}}})
}

#[test]
fn what_goes_on_as_new_pauses_first() {
    let report = check(
        &going_on(&json!({"Type": "Wait", "Seconds": 5, "Next": "Again"})),
        &catalogue(),
    );
    assert!(report.is_publishable(), "{:#?}", report.findings);
    let report = check(
        &going_on(&json!({"Type": "Pass", "Next": "Again"})),
        &catalogue(),
    );
    let codes: Vec<_> = report.findings.iter().map(|it| it.code).collect();
    assert_eq!(codes, ["continue_unpaused"]);
}

#[test]
fn going_on_as_new_has_no_output_and_is_not_for_branches() {
    let mut document = going_on(&json!({"Type": "Wait", "Seconds": 5, "Next": "Again"}));
    document["definition"]["States"]["Again"]["Output"] = json!({"decision": "approved"});
    let findings = Definition::parse(&document).unwrap_err();
    assert!(
        findings.iter().any(|it| it.code == "continue_with_output"),
        "{findings:#?}"
    );
    let branch =
        going_on(&json!({"Type": "Wait", "Seconds": 5, "Next": "Again"}))["definition"].take();
    let document = json!({"name": "going", "definition": {"StartAt": "All", "States": {
        "All": {"Type": "Parallel", "Branches": [branch], "End": true}}}});
    let findings = Definition::parse(&document).unwrap_err();
    assert_eq!(findings[0].code, "continue_in_branch");
}

#[test]
fn the_next_run_of_a_child_has_the_same_parent() {
    let document = going_on(&json!({"Type": "Wait", "Seconds": 5, "Next": "Again"}));
    let definition = Definition::parse(&document).unwrap();
    let first = started(&document, json!({}), below(3)).state;
    let env = Env {
        now_ms: 5_000,
        seed: 1,
    };
    let state = apply(&definition, Some(first), &Command::Tick, &env)
        .unwrap()
        .state;
    let next = state.continued_as().unwrap();
    assert_eq!((next.len(), &next[..5]), (35, "wf_a7"));
    let [start, told] = state.owed() else {
        panic!("{:?}", state.owed())
    };
    assert_eq!(
        (start.to.as_str(), start.not_before_ms),
        (next, Some(limits::CONTINUE_INTERVAL_MIN_MS))
    );
    let Message::Start {
        origin, version, ..
    } = &start.message
    else {
        panic!("{start:?}")
    };
    assert_eq!(*version, Some(2));
    let expected = Origin {
        continued_from: Some(PARENT.to_owned()),
        run: 1,
        ..below(3)
    };
    assert_eq!(**origin, expected);
    assert_eq!(told.to, "wf_b7000000000000000000000000000001");
    assert!(matches!(&told.message, Message::Continued { next: it, .. } if it == next));
    assert_eq!(state.decision(), None);
}

#[test]
fn a_child_is_mocked_like_any_task() {
    let document = calling(&json!({"definition": "inner"}));
    let definition = Definition::parse(&document).unwrap();
    let simulate = |mocks: Value| {
        let file = MockFile::parse(&mocks).unwrap();
        run(
            &definition,
            json!({}).into(),
            &file.cases[0].mocks,
            &Options::default(),
        )
    };
    let simulation =
        simulate(json!({"Call": {"Return": {"decision": "approved"}, "After": 60}})).unwrap();
    assert_eq!(simulation.state.decision(), Some("approved"));
    let failing = json!({"Call": {"Throw": {"Error": "BTrust.ChildFailed"}}});
    assert_eq!(
        simulate(failing).unwrap().state.error(),
        Some("BTrust.ChildFailed")
    );
    let silent = json!({"Call": {"Timeout": true}});
    assert_eq!(
        simulate(silent).unwrap().state.error(),
        Some("States.Timeout")
    );
    assert!(simulate(json!({"Call": {"Return": {"outcome": "x"}}})).is_err());
}
