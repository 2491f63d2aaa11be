//! The proof against the machine itself: every way is tried, and every counterexample is replayed.

pub mod definitions;

use std::collections::HashMap;

use btrust_machine::{
    Command, Counterexample, Definition, Env, OpenTurn, State, TurnResult, apply,
};
use serde_json::{Value, json};

/// A machine that is led by hand.
pub struct Led<'d> {
    pub definition: &'d Definition,
    pub state: State,
    pub now_ms: i64,
}

impl Clone for Led<'_> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            ..*self
        }
    }
}

impl<'d> Led<'d> {
    pub fn start(definition: &'d Definition) -> Self {
        let start = Command::Start {
            workflow: "wf_00000000000000000000000000000001".to_owned(),
            definition: "random".to_owned(),
            version: 1,
            input: json!({"items": [1, 2]}).into(),
            origin: btrust_machine::Origin::default(),
        };
        let state = apply(definition, None, &start, &Env { now_ms: 0, seed: 1 })
            .unwrap()
            .state;
        Self {
            definition,
            state,
            now_ms: 0,
        }
    }

    fn apply(&mut self, command: &Command) {
        let env = Env {
            now_ms: self.now_ms,
            seed: 1,
        };
        self.state = apply(self.definition, Some(self.state.clone()), command, &env)
            .unwrap()
            .state;
    }

    fn answer(&mut self, turn: &OpenTurn, result: TurnResult) {
        self.apply(&Command::TurnResult {
            task: turn.task,
            attempt: turn.attempt,
            turn: turn.turn,
            digest: String::new(),
            result,
        });
    }

    fn turns(&self) -> Vec<OpenTurn> {
        let mut turns = self.state.open_turns();
        turns.sort_by_key(|it| it.task);
        turns
    }

    /// Lets the time pass that a wait or a retry takes; `false` when only a time limit is left.
    fn wait(&mut self) -> bool {
        let Some(at_ms) = self.state.wake_at().filter(|it| *it < self.now_ms + 60_000) else {
            return false;
        };
        self.now_ms = at_ms;
        self.apply(&Command::Tick);
        true
    }

    /// Whether the guard has stopped an approval without evidence.
    pub fn is_guarded(&self) -> bool {
        self.state.error() == Some("BTrust.EvidenceMissing")
    }
}

fn complete(outcome: &str) -> TurnResult {
    TurnResult::Complete {
        outcome: outcome.to_owned(),
        output: json!({}).into(),
    }
}

fn fail(error: &str) -> TurnResult {
    TurnResult::Fail {
        error: error.to_owned(),
        cause: String::new(),
    }
}

/// The results that are tried; a compensation just succeeds, and a writer may fail.
fn results(turn: &OpenTurn) -> Vec<TurnResult> {
    if is_compensation(turn) {
        return vec![complete("given")];
    }
    if turn.resource.starts_with("kyc:form") {
        return vec![complete("submitted"), fail("Down"), fail("Other")];
    }
    vec![
        complete("verified"),
        complete("locked"),
        fail("Down"),
        fail("Other"),
    ]
}

fn is_compensation(turn: &OpenTurn) -> bool {
    turn.resource.starts_with("kyc:consent")
}

/// Whether some sequence of results, and of waiting, leads to an approval without evidence.
pub fn is_unsafe(led: &Led<'_>, depth: usize, budget: &mut u32) -> bool {
    if led.is_guarded() {
        return true;
    }
    if depth == 0 || led.state.status().is_closed() {
        return false;
    }
    for turn in led.turns() {
        for result in results(&turn) {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let mut next = led.clone();
            next.answer(&turn, result);
            if is_unsafe(&next, depth - 1, budget) {
                return true;
            }
        }
    }
    let mut next = led.clone();
    next.wait() && is_unsafe(&next, depth - 1, budget)
}

/// Leads the machine along a counterexample; the error is the step that is not possible.
pub fn replay(
    definition: &Definition,
    document: &Value,
    path: &Counterexample,
) -> Result<(), String> {
    let mut types = HashMap::new();
    note_types(&document["definition"], &mut types);
    let mut led = Led::start(definition);
    for step in &path.path {
        let kind = types.get(step.state.as_str()).map_or("", String::as_str);
        let impossible = |led: &Led<'_>| Err(format!("{step:?} at {:?}", led.state.positions()));
        let turn = |led: &Led<'_>| {
            let mut turns = led.turns().into_iter();
            turns.find(|it| it.state_name == step.state && !is_compensation(it))
        };
        match (kind, step.event.as_str()) {
            ("Map", "has its results written") => {
                let Some(turn) = turn(&led) else {
                    return impossible(&led);
                };
                led.answer(&turn, complete("submitted"));
            }
            ("Task", event) if event.starts_with("ends with ") => {
                let Some(turn) = turn(&led) else {
                    return impossible(&led);
                };
                let outcome = event.trim_start_matches("ends with ").split(' ').next();
                led.answer(&turn, complete(outcome.unwrap_or_default()));
            }
            // A `Map` fails so where its results are written.
            ("Task" | "Map", event) if event.starts_with("fails with ") => {
                let error = event.trim_start_matches("fails with ");
                let Some(first) = turn(&led) else {
                    return impossible(&led);
                };
                led.answer(&first, fail(error));
                // Its retries fail as well.
                for _ in 0..5 {
                    let open = led.turns().into_iter().find(|it| it.task == first.task);
                    match open {
                        Some(turn) => led.answer(&turn, fail(error)),
                        None if led.state.positions().contains(&step.state.as_str()) => {
                            led.wait();
                        }
                        None => break,
                    }
                }
            }
            ("Wait", "passes") | (_, "is tried again") => {
                led.wait();
            }
            (_, "is compensated") => {
                while let Some(turn) = led.turns().into_iter().find(is_compensation) {
                    led.answer(&turn, complete("given"));
                }
            }
            _ => {}
        }
    }
    // A workflow that fails undoes what it has done before it ends.
    while let Some(turn) = led.turns().into_iter().find(is_compensation) {
        led.answer(&turn, complete("given"));
    }
    if led.is_guarded() {
        Ok(())
    } else {
        Err(format!(
            "it ends at {:?} with {:?}",
            led.state.positions(),
            led.state.error()
        ))
    }
}

fn note_types(level: &Value, types: &mut HashMap<String, String>) {
    for (name, state) in level["States"].as_object().into_iter().flatten() {
        types.insert(
            name.clone(),
            state["Type"].as_str().unwrap_or_default().to_owned(),
        );
        for branch in state["Branches"].as_array().into_iter().flatten() {
            note_types(branch, types);
        }
        for field in ["ItemProcessor", "Iterator"] {
            note_types(&state[field], types);
        }
    }
}
