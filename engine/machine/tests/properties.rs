//! What holds for every sequence of commands.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod proving;
#[expect(dead_code, reason = "this binary uses a part of it")]
mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use btrust_machine::{
    Command, Definition, Env, Finding, Reply, State, Submitter, TurnResult, apply,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use proving::definitions::document;
use proving::{Led, is_unsafe, replay};
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
            submitter: Submitter { kind: "applicant".to_owned(), id: "a".to_owned(), device: None, address: None, device_class: None },
        }),
        3 => Just(Command::Tick),
        1 => (0..20_u8).prop_map(|it| if it == 0 {
            Command::Cancel { reason: None, grace_seconds: 0, by: None }
        } else {
            Command::Tick
        }),
        2 => any_act(),
    ]
}

/// What operators do, and senders of signals.
fn any_act() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => Just(Command::Pause { reason: None, by: None }),
        3 => Just(Command::Resume { by: None }),
        1 => (1..20_i64).prop_map(|it| Command::Cancel { reason: None, grace_seconds: it, by: None }),
        1 => (1..6_u32).prop_map(|it| Command::TurnsUnheld { turns: vec![(it, 1, 1)] }),
        1 => Just(Command::Terminate { reason: None, by: None }),
        4 => (0..200_u8).prop_map(|it| Command::Redrive { key: format!("{it:064}"), reason: None, by: None }),
        2 => (0..9_u8, 0..2_u8).prop_map(|(key, name)| Command::Signal {
            name: format!("s{name}"),
            payload: json!(key).into(),
            key: format!("{key:064}"),
            digest: format!("{name:064}"),
            by: None,
        }),
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
        origin: btrust_machine::Origin::default(),
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
            let is_redriven = matches!(command, Command::Redrive { .. }) && applied.reply == Reply::Done;
            if (was_closed && !is_redriven) || applied.reply == Reply::Duplicate {
                prop_assert_eq!(&applied.state, &state);
                prop_assert!(applied.events.is_empty() && applied.effects.is_empty());
            }
            follower.follow(&command, &applied);
            state = applied.state;
        }
    }

    /// Whatever operators do to a workflow, it is paused, waits for something, or has ended; and
    /// once nobody does anything any more, time alone ends it.
    #[test]
    fn whatever_is_done_to_a_workflow_it_does_not_stand_still(
        name in prop_oneof![Just("otp"), Just("rework"), Just("parallel")],
        commands in prop::collection::vec((prop_oneof![any_command(), any_act()], 0..60_i64, any::<usize>(), any::<u64>()), 0..40),
    ) {
        let definition = definition(name);
        let mut now_ms = 0;
        let mut state = apply(&definition, None, &start(), &Env { now_ms, seed: 1 }).unwrap().state;
        for (command, seconds, choice, seed) in commands {
            now_ms += seconds * 1000;
            let command = aim(command, &state, choice);
            if let Ok(applied) = apply(&definition, Some(state.clone()), &command, &Env { now_ms, seed }) {
                state = applied.state;
            }
            let is_waiting = state.wake_at().is_some() || !state.open_turns().is_empty() || !state.open_prompts().is_empty();
            prop_assert!(state.status().is_closed() || state.is_paused() || is_waiting);
            prop_assert!(!(state.status().is_closed() && (state.is_paused() || state.is_cancelling())));
        }
        if state.is_paused() {
            let resume = Command::Resume { by: None };
            state = apply(&definition, Some(state), &resume, &Env { now_ms, seed: 1 }).unwrap().state;
        }
        let mut n_wakes = 0;
        while let Some(at_ms) = state.wake_at() {
            state = apply(&definition, Some(state), &Command::Tick, &Env { now_ms: at_ms, seed: 1 }).unwrap().state;
            n_wakes += 1;
            prop_assert!(n_wakes < 100);
        }
        prop_assert!(state.status().is_closed());
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

/// What the paths of counterexamples have to lead through in some of the random definitions.
const REPLAYED: [&str; 7] = [
    "joins its branches",
    "ends its branches",
    "joins its items",
    "ends its items",
    "is tried again",
    "is compensated",
    "has its results written",
];

/// The proof refuses a definition when the machine itself can be led to an approval without
/// evidence, and every counterexample that is not assumed can be replayed by the machine.
#[test]
fn the_proof_agrees_with_running_every_way() {
    let config = ProptestConfig {
        cases: 1_000,
        max_shrink_iters: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let (n_unsafe, n_safe, n_assumed) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let seen = RefCell::new(BTreeMap::new());
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let strategy = prop::collection::vec(any::<u8>(), 0..90);
    let agreed = runner.run(&strategy, |bytes| {
        let document = document(&bytes);
        let definition =
            Definition::parse(&document).and_then(|it| it.with_catalogue(&catalogue()));
        let definition =
            definition.map_err(|it| TestCaseError::fail(format!("{it:?} in {document}")))?;
        let report = btrust_machine::check(&document, &catalogue());
        let is_busy = |it: &Finding| it.is_error() && it.code == "loop_unbounded";
        // A loop without a pause only fills the history.
        if report.findings.iter().any(is_busy) {
            return Ok(());
        }
        let proof = report.proof.unwrap();
        let mut budget = 600;
        if is_unsafe(&Led::start(&definition), 6, &mut budget) {
            prop_assert!(
                !proof.counterexamples.is_empty(),
                "an unsafe definition was accepted: {document}"
            );
        }
        for counterexample in proof.counterexamples.iter().filter(|it| !it.assumed) {
            let replayed = replay(&definition, &document, counterexample);
            prop_assert!(
                replayed.is_ok(),
                "a false counterexample: {replayed:?} of {counterexample:#?} in {document}"
            );
        }
        for counterexample in proof.counterexamples.iter().filter(|it| !it.assumed) {
            for step in &counterexample.path {
                if let Some(event) = REPLAYED.iter().find(|it| **it == step.event) {
                    *seen.borrow_mut().entry(*event).or_insert(0) += 1;
                }
            }
        }
        let count = match proof.counterexamples.as_slice() {
            [] => &n_safe,
            found if found.iter().all(|it| it.assumed) => &n_assumed,
            _ => &n_unsafe,
        };
        count.set(count.get() + 1);
        Ok(())
    });
    agreed.unwrap();
    let counts = (n_unsafe.get(), n_safe.get(), n_assumed.get());
    println!("unsafe, safe, assumed: {counts:?} {:?}", seen.borrow());
    assert!(
        200 < counts.0 && 200 < counts.1,
        "{counts:?} says too little"
    );
    for event in REPLAYED {
        assert!(
            seen.borrow().contains_key(event),
            "no path {event}: {seen:?}"
        );
    }
}
