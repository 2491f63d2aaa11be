//! Measures transitions of a linear definition of five steps on one core, without I/O.
//!
//! Prints one JSON line; run it with `cargo run --release -p btrust-machine --example transitions`.

use std::time::Instant;

use btrust_machine::{Command, Definition, Env, TurnResult, apply};
use serde_json::{Value, json};

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

fn main() {
    const WORKFLOWS: u32 = 40_000;
    let definition = definition();
    let started = Instant::now();
    let mut n_commands = 0_u32;
    let mut n_events = 0_u64;
    let input: Value = json!({"subject": "s", "phone": "+97250"});
    for number in 0..WORKFLOWS {
        let env = Env {
            now_ms: 1_767_225_600_000,
            seed: u64::from(number),
        };
        let start = Command::Start {
            workflow: format!("wf_{number:032x}"),
            definition: "linear".to_owned(),
            version: 1,
            input: input.clone().into(),
        };
        let mut applied = apply(&definition, None, &start, &env).expect("a start is not refused");
        n_commands += 1;
        for task in 1..=5 {
            let result = TurnResult::Complete {
                outcome: "submitted".to_owned(),
                output: json!({"n": task}).into(),
            };
            let command = Command::TurnResult {
                task,
                attempt: 1,
                turn: 1,
                digest: format!("{task:064x}"),
                result,
            };
            applied =
                apply(&definition, Some(applied.state), &command, &env).expect("the turn is open");
            n_commands += 1;
        }
        n_events += applied.state.n_events();
    }
    let seconds = started.elapsed().as_secs_f64();
    let shown = json!({
        "commands": n_commands,
        "commandsPerSecond": (f64::from(n_commands) / seconds).round(),
        "eventsPerCommand": n_events / u64::from(n_commands),
        "microsecondsPerCommand": (seconds * 1e6 / f64::from(n_commands) * 100.0).round() / 100.0,
    });
    println!("{shown}");
}
