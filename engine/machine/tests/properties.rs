//! What holds for every sequence of commands.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use std::path::Path;

use btrust_machine::{Command, Definition, Env, Reply, State, Submitter, TurnResult, apply};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Follower, catalogue};

fn definition(name: &str) -> Definition {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/definitions/{name}.json"));
    let mut document: Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    document["timeoutSeconds"] = json!(5000);
    for state in document["definition"]["States"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        if state["Type"] == "Task" || state["Type"] == "Parallel" {
            state["Retry"] = json!([{"ErrorEquals": ["Down", "States.Timeout"], "IntervalSeconds": 2, "MaxAttempts": 2, "JitterStrategy": "FULL"}]);
        }
    }
    Definition::parse(&document)
        .and_then(|it| it.with_catalogue(&catalogue()))
        .unwrap()
}

const OUTCOMES: [&str; 8] = [
    "verified",
    "locked",
    "accepted",
    "unreadable",
    "match",
    "approved",
    "resubmit",
    "nonsense",
];

fn any_result() -> impl Strategy<Value = TurnResult> {
    prop_oneof![
        3 => (0..OUTCOMES.len()).prop_map(|it| TurnResult::Complete {
            outcome: OUTCOMES[it].to_owned(),
            output: json!({"fourEyes": true}).into(),
        }),
        3 => (1..400_i64, proptest::option::of(0..50_i64), 0..2_i64).prop_map(|(expires, wake, body)| TurnResult::Ask {
            audience: "applicant".to_owned(),
            kind: "code".to_owned(),
            body: json!({"n": body}).into(),
            state: json!({"parked": true}).into(),
            expires_in_ms: expires * 1000,
            wake_in_ms: wake.map(|it| it * 1000),
        }),
        1 => Just(TurnResult::Fail { error: "Down".to_owned(), cause: String::new() }),
    ]
}

/// Ids that mostly exist.
fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => (1..6_u32, 1..3_u32, 1..4_u32, 0..3_u8, any_result()).prop_map(|(task, attempt, turn, digest, result)| {
            Command::TurnResult { task, attempt, turn, digest: format!("{digest:064}"), result }
        }),
        1 => (1..6_u32, 1..3_u32, 1..4_u32).prop_map(|(task, attempt, turn)| Command::Checkpoint {
            task, attempt, turn, state: json!({"sending": true}).into(),
        }),
        3 => (1..6_u32, 0..3_u8).prop_map(|(prompt, digest)| Command::Submit {
            prompt,
            digest: format!("{digest:064}"),
            body: json!({"code": digest}).into(),
            submitter: Submitter { kind: "applicant".to_owned(), id: "a".to_owned(), device: None, address: None },
        }),
        3 => Just(Command::Tick),
        1 => (0..20_u8).prop_map(|it| if it == 0 { Command::Cancel { reason: None } } else { Command::Tick }),
    ]
}

/// Points a command at something that is open, so that random sequences get somewhere.
fn aim(command: Command, state: &State, choice: usize) -> Command {
    match command {
        Command::TurnResult {
            digest,
            result,
            task,
            attempt,
            turn,
        } if !choice.is_multiple_of(4) => match state.open_turns().first() {
            Some(open) => Command::TurnResult {
                task: open.task,
                attempt: open.attempt,
                turn: open.turn,
                digest,
                result,
            },
            None => Command::TurnResult {
                task,
                attempt,
                turn,
                digest,
                result,
            },
        },
        Command::Submit {
            prompt,
            digest,
            body,
            submitter,
        } if !choice.is_multiple_of(4) => {
            let prompt = state.open_prompts().first().map_or(prompt, |it| it.prompt);
            Command::Submit {
                prompt,
                digest,
                body,
                submitter,
            }
        }
        other => other,
    }
}

fn start() -> Command {
    Command::Start {
        workflow: "wf_00000000000000000000000000000001".to_owned(),
        definition: "golden".to_owned(),
        version: 1,
        input: json!({"phone": "+97250"}).into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent, in whatever order: what is open is what the effects have said, the same
    /// command has the same consequences, a refusal and a closed workflow change nothing.
    #[test]
    fn the_snapshot_is_what_the_effects_have_said(
        name in prop_oneof![Just("otp"), Just("rework"), Just("parallel")],
        commands in prop::collection::vec((any_command(), 0..200_i64, any::<usize>(), any::<u64>()), 0..60),
    ) {
        let definition = definition(name);
        let mut follower = Follower::default();
        let mut now_ms = 1_767_225_600_000;
        let applied = apply(&definition, None, &start(), &Env { now_ms, seed: 1 }).unwrap();
        follower.follow(&start(), &applied);
        let mut state = applied.state;
        for (command, seconds, choice, seed) in commands {
            now_ms += seconds * 1000;
            let command = aim(command, &state, choice);
            let env = Env { now_ms, seed };
            let was_closed = state.status().is_closed();
            let first = apply(&definition, Some(state.clone()), &command, &env);
            // The stored snapshot behaves as the one in memory.
            let stored: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            prop_assert_eq!(&first, &apply(&definition, Some(stored), &command, &env));
            let Ok(applied) = first else { continue };
            if was_closed || applied.reply == Reply::Duplicate {
                prop_assert_eq!(&applied.state, &state);
                prop_assert!(applied.events.is_empty() && applied.effects.is_empty());
            }
            follower.follow(&command, &applied);
            state = applied.state;
        }
    }

    /// Time alone ends every workflow that has a limit, and nothing is left open.
    #[test]
    fn a_workflow_that_nobody_serves_ends_by_its_deadline(name in prop_oneof![Just("otp"), Just("rework"), Just("parallel")]) {
        let definition = definition(name);
        let env = Env { now_ms: 0, seed: 1 };
        let mut state = apply(&definition, None, &start(), &env).unwrap().state;
        let mut n_wakes = 0;
        while let Some(at_ms) = state.wake_at() {
            prop_assert!(at_ms <= 5_000_000);
            state = apply(&definition, Some(state), &Command::Tick, &Env { now_ms: at_ms, seed: 1 }).unwrap().state;
            n_wakes += 1;
            prop_assert!(n_wakes < 100);
        }
        prop_assert!(state.status().is_closed());
        prop_assert!(state.open_turns().is_empty() && state.open_prompts().is_empty());
    }
}

/// Random small definitions: tasks, choices over their outcomes, decisions that need evidence.
fn any_definition() -> impl Strategy<Value = Value> {
    let n = 5_usize;
    prop::collection::vec((0..3_u8, 0..n + 2, 0..n + 2, 0..n + 2, 0..3_usize, 0..3_usize), n).prop_map(move |states| {
        // Of the two last targets one approves and one rejects.
        let target = |it: usize| match it.checked_sub(n) {
            None => format!("S{it}"),
            Some(0) => "Approved".to_owned(),
            Some(_) => "Rejected".to_owned(),
        };
        let mut written = json!({
            "Approved": {"Type": "Succeed", "Output": {"decision": "approved"}},
            "Rejected": {"Type": "Succeed", "Output": {"decision": "rejected"}},
        });
        for (index, (kind, first, second, third, variable, word)) in states.into_iter().enumerate() {
            let words = ["verified", "locked", "expired"];
            let (variable, word) = (format!("v{variable}"), words[word]);
            written[format!("S{index}")] = match kind {
                0 | 1 => json!({"Type": "Task", "Resource": "kyc:otp", "TimeoutSeconds": 9,
                    "Arguments": {"channels": [], "phone": "1"},
                    "Assign": {variable: "{% $states.result.outcome %}"}, "Next": target(first),
                    "Catch": [{"ErrorEquals": ["States.ALL"], "Next": target(second)}]}),
                _ => json!({"Type": "Choice", "Choices": [
                    {"Condition": format!("{{% ${variable} = '{word}' %}}"), "Next": target(first)},
                    {"Condition": format!("{{% $exists(${variable}) and ${variable} != 'locked' %}}"), "Next": target(second)}],
                    "Default": target(third)}),
            };
        }
        let tasks: Vec<String> = written.as_object().unwrap().iter().filter(|(_, it)| it["Type"] == "Task").map(|(name, _)| name.clone()).collect();
        let evidence: serde_json::Map<String, Value> = tasks
            .iter()
            .take(2)
            .enumerate()
            .map(|(index, state)| (format!("e{index}"), json!({"state": state, "outcome": "verified"})))
            .collect();
        let names: Vec<&String> = evidence.keys().collect();
        let needs = if names.is_empty() { json!({}) } else { json!({"anyOf": [names]}) };
        json!({"name": "random", "timeoutSeconds": 60, "evidence": evidence,
            "decisions": {"approved": needs, "rejected": {}},
            "definition": {"StartAt": "S0", "States": written}})
    })
}

/// Whether some sequence of at most `depth` results makes the run-time guard stop an approval.
fn a_run_is_guarded(
    definition: &Definition,
    state: &State,
    depth: usize,
    budget: &mut u32,
) -> bool {
    if state.error() == Some("BTrust.EvidenceMissing") {
        return true;
    }
    let Some(open) = state
        .open_turns()
        .into_iter()
        .next()
        .filter(|_| 0 < depth && 0 < *budget)
    else {
        return false;
    };
    let ends = ["verified", "locked", "undeliverable", "expired"].map(|it| TurnResult::Complete {
        outcome: it.to_owned(),
        output: json!({}).into(),
    });
    let fails = TurnResult::Fail {
        error: "Down".to_owned(),
        cause: String::new(),
    };
    ends.into_iter().chain([fails]).any(|result| {
        *budget = budget.saturating_sub(1);
        let command = Command::TurnResult {
            task: open.task,
            attempt: open.attempt,
            turn: open.turn,
            digest: String::new(),
            result,
        };
        let env = Env { now_ms: 1, seed: 1 };
        let applied = apply(definition, Some(state.clone()), &command, &env).unwrap();
        a_run_is_guarded(definition, &applied.state, depth - 1, budget)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// The proof refuses a definition exactly when the machine itself can be led to an approval
    /// without evidence: every condition here is decided, so nothing may be assumed.
    #[test]
    fn the_proof_agrees_with_running_every_way(document in any_definition()) {
        let Ok(definition) = Definition::parse(&document).and_then(|it| it.with_catalogue(&catalogue())) else {
            return Ok(());
        };
        let report = btrust_machine::check(&document, &catalogue());
        // A loop without a pause only fills the history.
        prop_assume!(!report.findings.iter().any(|it| it.is_error() && it.code == "loop_unbounded"));
        let proof = report.proof.unwrap();
        let state = apply(&definition, None, &start(), &Env { now_ms: 0, seed: 1 }).unwrap().state;
        let mut budget = 800;
        let is_guarded = a_run_is_guarded(&definition, &state, 5, &mut budget);
        if is_guarded {
            prop_assert!(!proof.counterexamples.is_empty(), "an unsafe definition was accepted");
        }
        for counterexample in &proof.counterexamples {
            prop_assert!(!counterexample.assumed);
            // A counterexample short enough to be tried must have been found by trying.
            let n_results = counterexample.path.iter().filter(|it| it.event.contains("ends with") || it.event.contains("fails with")).count();
            prop_assert!(is_guarded || 5 < n_results || budget == 0, "a false counterexample: {:?}", counterexample);
        }
    }
}
