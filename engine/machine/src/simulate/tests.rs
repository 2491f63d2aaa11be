use serde_json::{Value, json};

use super::*;
use crate::state::Status;

/// A code, a second factor beside a document, and what may go wrong with them.
fn definition() -> Definition {
    let document = json!({
        "name": "sample",
        "timeoutSeconds": 864_000,
        "evidence": {"phone": {"state": "Code", "outcome": "verified"}},
        "decisions": {"approved": {"anyOf": [["phone"]]}, "rejected": {}},
        "definition": {"StartAt": "Code", "States": {
            "Code": {"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 600,
                "Retry": [{"ErrorEquals": ["BTrust.WorkerFault"], "IntervalSeconds": 2, "MaxAttempts": 2, "BackoffRate": 2}],
                "Catch": [{"ErrorEquals": ["States.Timeout"], "Output": {"why": "slow"}, "Next": "Rejected"}],
                "Assign": {"otp": "{% $states.result %}"}, "Next": "Verified"},
            "Verified": {"Type": "Choice",
                "Choices": [{"Condition": "{% $otp.outcome = 'verified' %}", "Next": "Both"}],
                "Output": {"why": "{% $otp.outcome %}"}, "Default": "Rejected"},
            "Both": {"Type": "Parallel", "Next": "Pause", "Branches": [
                {"StartAt": "Left", "States": {"Left": {"Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 60, "End": true}}},
                {"StartAt": "Right", "States": {"Right": {"Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 60, "End": true}}}
            ]},
            "Pause": {"Type": "Wait", "Seconds": 86_400, "Next": "Approved"},
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
            "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected", "why": "{% $states.input.why %}"}}
        }}
    });
    Definition::parse(&document).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

fn simulate(mocks: &Value) -> Result<Simulation, SimulateError> {
    let file = MockFile::parse(mocks).unwrap();
    run(
        &definition(),
        json!({}).into(),
        &file.cases[0].mocks,
        &Options::default(),
    )
}

/// Runs the short form of a mocks file with its expectations.
#[track_caller]
fn check(mocks: &Value) {
    let file = MockFile::parse(mocks).unwrap();
    let case = &file.cases[0];
    let simulation = run(
        &definition(),
        json!({}).into(),
        &case.mocks,
        &Options::default(),
    )
    .unwrap();
    let expect = case.expect.as_ref().unwrap();
    assert_eq!(expect.violations(&simulation), Vec::<String>::new());
}

fn happy() -> Value {
    json!({
        "Code": [{"Return": {"outcome": "verified"}, "After": 30}],
        "Left": {"Return": {"outcome": "submitted", "output": {"side": "left"}}, "After": 2},
        "Right": {"0": {"Return": {"outcome": "submitted"}, "After": 1.5}},
    })
}

#[test]
fn time_passes_only_where_a_mock_or_a_state_says_so() {
    let mut mocks = happy();
    mocks["Expect"] = json!({
        "status": "succeeded", "decision": "approved", "evidence": ["phone"],
        "path": ["Code", "Verified", "Both", "Left", "Right", "Pause", "Approved"],
        "seconds": 86_432,
    });
    check(&mocks);
}

#[test]
fn retries_are_calls_of_their_own() {
    let mut mocks = happy();
    mocks["Code"] = json!({
        "0-1": {"Throw": {"Error": "BTrust.WorkerFault", "Cause": "gone"}},
        "2": {"Return": {"outcome": "verified"}},
    });
    // Two and four seconds of back-off, two in the branches, a day of waiting.
    mocks["Expect"] = json!({"status": "succeeded", "seconds": 86_408});
    check(&mocks);
}

#[test]
fn a_mocked_timeout_lets_the_deadline_pass() {
    check(&json!({
        "Code": [{"Timeout": true}],
        "Expect": {"decision": "rejected", "output": {"why": "slow"}, "seconds": 600, "evidence": [],
            "path": ["Code", "Rejected"]},
    }));
}

#[test]
fn an_answer_after_the_deadline_is_too_late() {
    check(&json!({
        "Code": [{"Return": {"outcome": "verified"}, "After": 600}],
        "Expect": {"decision": "rejected", "output": {"why": "slow"}},
    }));
}

#[test]
fn a_workflow_that_fails_is_a_result_too() {
    check(&json!({
        "Code": {"Throw": {"Error": "BTrust.Bug", "Cause": "there"}},
        "Expect": {"status": "failed", "error": "BTrust.Bug", "cause": "there"},
    }));
}

#[test]
fn a_path_may_leave_states_out() {
    for (path, fits) in [
        (json!(["Code", "...", "Approved"]), true),
        (json!(["...", "Both", "...", "Pause", "..."]), true),
        (json!(["..."]), true),
        (json!(["Code", "Approved"]), false),
        (json!(["...", "Rejected", "..."]), false),
        (json!([]), false),
    ] {
        let mut mocks = happy();
        mocks["Expect"] = json!({"path": path});
        let file = MockFile::parse(&mocks).unwrap();
        let violations = file.cases[0]
            .expect
            .as_ref()
            .unwrap()
            .violations(&simulate(&mocks).unwrap());
        assert_eq!(violations.is_empty(), fits, "{path}: {violations:?}");
    }
}

#[test]
fn every_unmet_expectation_is_named() {
    let mut mocks = happy();
    mocks["Expect"] = json!({
        "status": "failed", "decision": "rejected", "error": "E", "cause": "C", "output": {"decision": "rejected"},
        "path": ["Code"], "evidence": [], "seconds": 1,
    });
    let file = MockFile::parse(&mocks).unwrap();
    let violations = file.cases[0]
        .expect
        .as_ref()
        .unwrap()
        .violations(&simulate(&mocks).unwrap());
    assert_eq!(violations.len(), 8, "{violations:#?}");
    assert_eq!(violations[1], "decision is `approved`, expected `rejected`");
}

#[test]
fn a_missing_mock_names_its_state_and_attempt() {
    let error = simulate(&json!({
        "Code": [{"Throw": {"Error": "BTrust.WorkerFault"}}],
    }))
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no mock for attempt 2 of run 1 of state `Code`: there is no entry `1`"
    );
    let error = simulate(&json!({"Code": {"Return": {"outcome": "verified"}}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no mock for attempt 1 of run 1 of state `Left`: the state is not mocked"
    );
}

#[test]
fn a_mock_that_is_no_result_of_a_step_is_refused() {
    for output in [
        json!("verified"),
        json!({}),
        json!({"outcome": "verified", "channel": "sms"}),
    ] {
        let error = simulate(&json!({"Code": {"Return": output}})).unwrap_err();
        assert!(matches!(error, SimulateError::MockUnfit { .. }), "{error}");
    }
}

#[test]
fn an_endless_workflow_is_abandoned() {
    let document = json!({"name": "loop", "definition": {"StartAt": "A", "States": {
        "A": {"Type": "Wait", "Seconds": 1, "Next": "A"}}}});
    let definition = Definition::parse(&document).unwrap();
    let options = Options {
        commands_max: 50,
        ..Options::default()
    };
    let error = run(&definition, json!({}).into(), &Mocks::default(), &options).unwrap_err();
    assert_eq!(error, SimulateError::Endless { commands_max: 50 });
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let first = simulate(&happy()).unwrap();
    assert_eq!(first, simulate(&happy()).unwrap());
    assert_eq!(first.state.status(), Status::Succeeded);
}

#[test]
fn a_whole_mocks_file_has_named_cases() {
    let file = MockFile::parse(&json!({
        "StateMachines": {"sample": {"TestCases": {
            "HappyPath": {"Code": "CodeVerified", "Left": "Submitted", "Right": "Submitted",
                "Input": {"phone": "+972"}, "Expect": {"status": "succeeded"}},
            "Locked": {"Code": "CodeLocked"},
        }}},
        "MockedResponses": {
            "CodeVerified": {"0": {"Return": {"outcome": "verified"}}},
            "CodeLocked": {"0": {"Return": {"outcome": "locked"}}},
            "Submitted": {"0": {"Return": {"outcome": "submitted"}}},
        },
    }))
    .unwrap();
    let names: Vec<&str> = file.cases.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["HappyPath", "Locked"]);
    assert_eq!(file.cases[0].state_machine.as_deref(), Some("sample"));
    assert_eq!(file.cases[0].input, Some(json!({"phone": "+972"}).into()));
    for case in &file.cases {
        let simulation = run(
            &definition(),
            json!({}).into(),
            &case.mocks,
            &Options::default(),
        )
        .unwrap();
        assert_eq!(
            simulation.state.status(),
            Status::Succeeded,
            "{}",
            case.name
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    for (mocks, place) in [
        (json!([]), "/"),
        (json!({"A": {"x": {"Return": 1}}}), "/A/x"),
        (
            json!({"A": {"0-2": {"Return": 1}, "1": {"Return": 1}}}),
            "/A/1",
        ),
        (json!({"A": {"2-1": {"Return": 1}}}), "/A/2-1"),
        (
            json!({"A": [{"Return": 1, "Throw": {"Error": "E"}}]}),
            "/A/0",
        ),
        (json!({"A": [{"After": 1}]}), "/A/0"),
        (json!({"A": {"Return": 1, "After": -1}}), "/A/After"),
        (json!({"A": {"Throw": {"Cause": "C"}}}), "/A/Throw"),
        (json!({"A": "Unknown"}), "/A"),
        (json!({"Expect": {"stauts": "failed"}}), "/Expect/stauts"),
        (json!({"Expect": {"status": "fine"}}), "/Expect/status"),
        (json!({"StateMachines": {}}), "/StateMachines"),
        (
            json!({"StateMachines": {"m": {"TestCases": {"c": {"A": "R"}}}}}),
            "/StateMachines/m/TestCases/c/A",
        ),
    ] {
        assert_eq!(MockFile::parse(&mocks).unwrap_err().place, place, "{mocks}");
    }
}

#[test]
fn a_timeline_reads_like_a_story() {
    let definition = definition();
    let mut mocks = happy();
    mocks["Code"] = json!([
        {"Throw": {"Error": "BTrust.WorkerFault", "Cause": "gone"}},
        {"Return": {"outcome": "verified"}, "After": 30},
    ]);
    let expected = "           +0s  sample started
                  Code (Task)
                    kyc:otp
                    ! BTrust.WorkerFault: gone
           +2s      attempt 2
          +32s      = verified
                    + evidence phone
                  Verified (Choice)
                  Both (Parallel)
                    Left (Task)
                      kyc:form
                    Right (Task)
                      kyc:form
      +33.500s        = submitted
          +34s      Left = submitted
                  Pause (Wait)
       +1d 34s    Approved (Succeed)
       +1d 34s  succeeded, decision approved
                output {\"decision\":\"approved\"}
                evidence phone
";
    let shown = timeline(&definition, &simulate(&mocks).unwrap());
    assert_eq!(shown, expected, "{shown}");
}
