//! Measures transitions of a linear definition of five steps on one core, without I/O, and whether
//! a transition costs more when the history is long.
//!
//! Prints one JSON line; run it with `cargo run --release -p btrust-machine --example transitions`.

use std::time::Instant;

use btrust_machine::{Command, Definition, Env, TurnResult, apply};
use serde_json::json;

fn definition() -> Definition {
    let mut states = serde_json::Map::new();
    for step in 1..=5 {
        let next = if step == 5 {
            "Done".to_owned()
        } else {
            format!("S{}", step + 1)
        };
        let name = format!("S{step}");
        states.insert(
            name,
            json!({"Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 60,
                "Assign": {"last": "{% $states.result.outcome %}"}, "Output": "{% $states.input %}", "Next": next}),
        );
    }
    states.insert("Done".to_owned(), json!({"Type": "Succeed"}));
    let document = json!({"name": "linear", "definition": {"StartAt": "S1", "States": states}});
    Definition::parse(&document).expect("the definition is valid")
}

/// A transition as AWS counts it: one state to the next.
struct Measured {
    transitions: u32,
    commands: u32,
    events: u64,
    seconds: f64,
}

fn env(number: u32) -> Env {
    Env {
        now_ms: 1_767_225_600_000,
        seed: u64::from(number),
    }
}

fn start(number: u32) -> Command {
    Command::Start {
        workflow: format!("wf_{number:032x}"),
        definition: "linear".to_owned(),
        version: 1,
        input: json!({"subject": "s", "phone": "+97250"}).into(),
        origin: btrust_machine::Origin::default(),
    }
}

fn complete(task: u32) -> Command {
    let result = TurnResult::Complete {
        outcome: "submitted".to_owned(),
        output: json!({"n": task}).into(),
    };
    Command::TurnResult {
        task,
        attempt: 1,
        turn: 1,
        digest: format!("{task:064x}"),
        result,
    }
}

/// Runs many workflows of five steps: seven transitions each, with the start and the end.
fn linear() -> Measured {
    const WORKFLOWS: u32 = 40_000;
    let definition = definition();
    let started = Instant::now();
    let (mut commands, mut events) = (0_u32, 0_u64);
    for number in 0..WORKFLOWS {
        let env = env(number);
        let mut applied =
            apply(&definition, None, &start(number), &env).expect("a start is not refused");
        commands += 1;
        for task in 1..=5 {
            applied = apply(&definition, Some(applied.state), &complete(task), &env)
                .expect("the turn is open");
            commands += 1;
        }
        events += applied.state.n_events();
    }
    Measured {
        // Into each of the six states, and out of the last one.
        transitions: WORKFLOWS * 7,
        commands,
        events,
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// Microseconds of a transition in one long workflow, for each tenth of its history.
fn by_history() -> Vec<f64> {
    const ROUNDS: u32 = 3_000;
    const TENTHS: u32 = 10;
    let document = json!({"name": "loop", "definition": {"StartAt": "Step", "States": {"Step":
        {"Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 60,
         "Output": "{% $states.input %}", "Next": "Step"}}}});
    let definition = Definition::parse(&document).expect("the definition is valid");
    let mut applied = apply(&definition, None, &start(0), &env(0)).expect("it starts");
    let mut task = 0;
    let mut of_tenths = Vec::new();
    for _ in 0..TENTHS {
        let started = Instant::now();
        for _ in 0..ROUNDS / TENTHS {
            task += 1;
            applied = apply(
                &definition,
                Some(applied.state),
                &complete(task),
                &env(task),
            )
            .expect("the turn is open");
        }
        let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS / TENTHS);
        of_tenths.push((micros * 100.0).round() / 100.0);
    }
    of_tenths
}

fn main() {
    let measured = linear();
    let per_second = |count: u32| (f64::from(count) / measured.seconds).round();
    let shown = json!({
        "transitions": measured.transitions,
        "transitionsPerSecond": per_second(measured.transitions),
        "commandsPerSecond": per_second(measured.commands),
        "eventsPerCommand": measured.events / u64::from(measured.commands),
        "microsecondsPerTransitionByTenthOfHistory": by_history(),
    });
    println!("{shown}");
}
