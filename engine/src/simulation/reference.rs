//! How a workflow ends when nothing goes wrong: the pure machine alone, with the same steps and persons.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use btrust_machine::{
    Command, Definition, Env, OpenTurn, Origin, State, Status, Submitter, TurnReason, TurnResult,
    apply,
};

use super::script::{self, Act, Place};

/// Commands after which a workflow of a simulation has long ended.
const COMMANDS_MAX: usize = 2_000;

/// What every run of the workflow has to come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub status: Status,
    pub output: Option<Value>,
    pub outcomes: BTreeMap<String, String>,
    pub error: Option<String>,
    /// Effects, by the state that causes them.
    pub effects: BTreeMap<String, usize>,
    /// Answers, by the state that asks.
    pub answers: BTreeMap<String, usize>,
}

impl Expected {
    pub fn of(state: &State) -> Self {
        Self {
            status: state.status(),
            output: state.output().map(btrust_machine::Payload::to_value),
            outcomes: state.outcomes().clone(),
            error: state.error().map(str::to_owned),
            effects: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }
}

/// Runs a workflow to its end.
pub fn expected(seed: u64, definition: &Definition, label: &str) -> Expected {
    let mut env = Env {
        now_ms: 1_800_000_000_000,
        seed,
    };
    let start = Command::Start {
        workflow: format!("wf_{}", "0".repeat(32)),
        definition: definition.name().to_owned(),
        version: 1,
        input: script::input(label).into(),
        origin: Origin::default(),
    };
    let mut state = apply(definition, None, &start, &env)
        .expect("it starts")
        .state;
    let mut effects = BTreeMap::new();
    let mut answers = BTreeMap::new();
    for _ in 0..COMMANDS_MAX {
        if state.status().is_closed() {
            break;
        }
        let command = next(seed, &state, &mut effects, &mut answers).unwrap_or_else(|| {
            env.now_ms = state
                .wake_at()
                .expect("an open workflow waits for something");
            Command::Tick
        });
        env.seed += 1;
        state = apply(definition, Some(state), &command, &env)
            .expect("the command fits the state")
            .state;
    }
    Expected {
        effects,
        answers,
        ..Expected::of(&state)
    }
}

/// What happens next, unless it is time that passes.
fn next(
    seed: u64,
    state: &State,
    effects: &mut BTreeMap<String, usize>,
    answers: &mut BTreeMap<String, usize>,
) -> Option<Command> {
    for turn in state.open_turns() {
        if let Some(result) = act(seed, &turn, effects) {
            return Some(Command::TurnResult {
                task: turn.task,
                attempt: turn.attempt,
                turn: turn.turn,
                digest: format!("{}-{}-{}", turn.task, turn.attempt, turn.turn),
                result,
            });
        }
    }
    let asked = state.open_prompts();
    if let Some(prompt) = asked.iter().find(|it| script::is_answered(&it.state_name)) {
        *answers.entry(prompt.state_name.clone()).or_default() += 1;
        return Some(Command::Submit {
            prompt: prompt.prompt,
            digest: format!("answer-{}", prompt.prompt),
            body: json!({}).into(),
            submitter: Submitter {
                kind: prompt.audience.clone(),
                id: "applicant".to_owned(),
                device: None,
                address: None,
                device_class: None,
            },
        });
    }
    let token = state.open_tokens().first().map(|it| (*it).to_owned())?;
    Some(Command::TokenSuccess {
        token,
        result: json!({ "outcome": "returned", "output": {} }).into(),
    })
}

fn act(seed: u64, turn: &OpenTurn, effects: &mut BTreeMap<String, usize>) -> Option<TurnResult> {
    let reason = match turn.reason {
        TurnReason::First => "first",
        TurnReason::Submission { .. } => "submission",
        TurnReason::Expired { .. } => "expired",
        TurnReason::Woken => "woken",
    };
    let arguments = turn.arguments.to_value();
    let place = Place::new(seed, &turn.state_name, &arguments, turn.attempt, reason);
    let complete = |outcome: &str, output: Value| TurnResult::Complete {
        outcome: outcome.to_owned(),
        output: output.into(),
    };
    Some(match place.act() {
        Act::Complete { outcome, output } => complete(outcome, output),
        Act::Effect { outcome } => {
            *effects.entry(turn.state_name.clone()).or_default() += 1;
            complete(outcome, json!({}))
        }
        Act::Ask {
            expires_in_ms,
            wake_in_ms,
        } => TurnResult::Ask {
            audience: "applicant".to_owned(),
            kind: "question".to_owned(),
            body: json!({ "label": arguments["label"] }).into(),
            state: json!({ "v": 1 }).into(),
            expires_in_ms,
            wake_in_ms,
        },
        Act::Fail { error } => TurnResult::Fail {
            error: error.to_owned(),
            cause: "as planned".to_owned(),
        },
        Act::Hang => return None,
        Act::HandOn => complete("handed_on", json!({})),
    })
}
