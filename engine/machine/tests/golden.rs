//! Histories written by hand from the text of the design; each names the sentence that it checks.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod showing;
mod support;

use std::path::{Path, PathBuf};

use btrust_machine::{
    ChildEnd, Command, Definition, Env, Event, OnParentClose, Reply, State, Status, Submitter,
    TurnResult, apply,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use showing::{show_event, show_owed};
use support::{Follower, catalogue, show_turn};

/// The time that `at: 0` means.
const START_MS: i64 = 1_767_225_600_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    /// The sentence of the design that is checked.
    checks: String,
    /// A file of `golden/definitions`, or the document itself.
    definition: Value,
    /// Whether the document is plain ASL without an envelope.
    #[serde(default)]
    bare: bool,
    /// Changes to states of the definition, by JSON pointer.
    #[serde(default)]
    with: Map<String, Value>,
    #[serde(default)]
    input: Value,
    steps: Vec<Step>,
    end: End,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    /// Seconds after the start.
    at: f64,
    #[serde(rename = "do")]
    action: Action,
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    events: Option<Vec<String>>,
    /// Events that are among those of the step, in this order.
    #[serde(default)]
    includes: Vec<String>,
    #[serde(default)]
    turns: Option<Vec<String>>,
    /// Numbers of the open prompts.
    #[serde(default)]
    prompts: Option<Vec<u32>>,
    /// Seconds after the start; `null` is never.
    #[serde(default, deserialize_with = "present")]
    wake: Option<Value>,
    /// Earliest and latest wake-up, for delays that chance decides.
    #[serde(default)]
    wake_within: Option<(f64, f64)>,
    #[serde(default)]
    evidence: Option<Vec<String>>,
    /// Arguments, parked state, checkpoint or reason of the first open turn, by JSON pointer.
    /// `token 1` is the first token that the workflow gave out.
    #[serde(default)]
    turn: Map<String, Value>,
    /// What other workflows are owed, in one line each.
    #[serde(default)]
    owed: Option<Vec<String>>,
    /// Numbers of the tokens that are waited for.
    #[serde(default)]
    tokens: Option<Vec<usize>>,
    /// Names of the signals that are waited for.
    #[serde(default)]
    signals: Option<Vec<String>>,
    /// `paused`, `cancelling`.
    #[serde(default)]
    flags: Option<Vec<String>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Action {
    Start,
    Tick,
    Cancel,
    /// `[seconds]` of grace.
    CancelWithin(i64),
    /// `[task, attempt, turn]` that nobody is at.
    Unheld(u32, u32, u32),
    Terminate,
    Pause,
    Resume,
    /// `[key, name, payload]`.
    Signal(String, String, Value),
    /// `[key]`.
    Redrive(String),
    /// `[workflow]`.
    NoteRestart(String),
    /// `[task, attempt, turn]`, then the whole result of something that is no step of ours.
    Output(u32, u32, u32, Value),
    /// `[task, attempt, turn, outcome]`, then the output.
    Complete(u32, u32, u32, String, Value),
    /// `[task, attempt, turn]`, then the question.
    Ask(u32, u32, u32, Value),
    /// `[task, attempt, turn, error]`.
    Fail(u32, u32, u32, String),
    Checkpoint(u32, u32, u32, Value),
    /// `[prompt, body]`, from the applicant.
    Submit(u32, Value),
    /// `[prompt, body]`, from a reviewer.
    Review(u32, Value),
    /// `[task, attempt, turn]` whose worker has been silent.
    HeartbeatMissed(u32, u32, u32),
    /// `[token, result]`; tokens count from 1, and 0 is one that was never given out.
    TokenSuccess(usize, Value),
    /// `[token, error]`.
    TokenFailure(usize, String),
    /// `[token]`.
    TokenHeartbeat(usize),
    /// `[number]` of a message.
    Delivered(u32),
    /// `[number, error]`.
    NotStarted(u32, String),
    /// `[task, attempt, status]`, then output and decision.
    ChildEnded(u32, u32, Status, Value, Option<String>),
    /// `[task, attempt, child]` that the child goes on as.
    ChildContinued(u32, u32, usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    status: Status,
    #[serde(default)]
    decision: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    output: Option<Value>,
    #[serde(default)]
    outcomes: Option<Value>,
}

#[test]
fn every_golden_history_happens_as_the_design_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    assert!(125 <= files.len(), "{} histories are too few", files.len());
    let mut failures = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let history: History =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let outcome = std::panic::catch_unwind(|| run(&folder, &history));
        if let Err(panic) = outcome {
            let detail = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            failures.push(format!("== {name}: {}\n{detail}", history.checks));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} histories differ\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}

fn run(folder: &Path, history: &History) {
    let definition = load(folder, history);
    let mut follower = Follower::default();
    let mut state: Option<State> = None;
    let mut tokens = Vec::new();
    for (index, step) in history.steps.iter().enumerate() {
        let command = command(&step.action, history, &tokens);
        #[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
        let now_ms = START_MS + (step.at * 1000.0) as i64;
        let seed = 7 + index as u64;
        let env = Env { now_ms, seed };
        let place = format!("step {} at {} s", index + 1, step.at);
        let applied = apply(&definition, state.clone(), &command, &env);
        let again = apply(&definition, state.clone(), &command, &env);
        assert_eq!(applied, again, "{place}: the same gives the same");
        match applied {
            Err(refusal) => {
                assert_eq!(
                    step.refused.as_deref(),
                    Some(refusal.code()),
                    "{place}: {refusal}"
                );
            }
            Ok(applied) => {
                assert_eq!(step.refused, None, "{place} must be refused");
                assert_eq!(
                    step.duplicate,
                    applied.reply == Reply::Duplicate,
                    "{place}: duplicate"
                );
                follower.follow(&command, &applied);
                check_events(step, &applied.events, &place);
                // The snapshot survives being stored.
                let stored = serde_json::to_string(&applied.state).unwrap();
                let read: State = serde_json::from_str(&stored).unwrap();
                assert_eq!(read, applied.state, "{place}: the stored snapshot");
                state = Some(read);
            }
        }
        if let Some(state) = &state {
            for token in state.open_tokens() {
                if !tokens.iter().any(|it| it == token) {
                    tokens.push(token.to_owned());
                }
            }
            check_state(step, state, &tokens, &place);
        }
    }
    check_end(&history.end, &state.unwrap());
}

fn check_events(step: &Step, events: &[Event], place: &str) {
    let shown: Vec<String> = events.iter().map(show_event).collect();
    if let Some(expected) = &step.events {
        assert_eq!(&shown, expected, "{place}: events");
    }
    let mut rest = shown.iter();
    for expected in &step.includes {
        assert!(
            rest.any(|it| it == expected),
            "{place}: no `{expected}`, or not in this order, among {shown:#?}"
        );
    }
}

fn load(folder: &Path, history: &History) -> Definition {
    let mut document = match &history.definition {
        Value::String(name) => {
            let path = folder.join("definitions").join(format!("{name}.json"));
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        }
        document => document.clone(),
    };
    for (pointer, value) in &history.with {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("nothing at {pointer}"));
        parent[key] = value.clone();
    }
    let parsed = if history.bare {
        Definition::parse_states(&document)
    } else {
        Definition::parse(&document).and_then(|it| it.with_catalogue(&catalogue()))
    };
    parsed.unwrap_or_else(|findings| panic!("{findings:#?}"))
}

fn check_state(step: &Step, state: &State, tokens: &[String], place: &str) {
    if let Some(expected) = &step.turns {
        let shown: Vec<String> = state.open_turns().iter().map(show_turn).collect();
        assert_eq!(&shown, expected, "{place}: open turns");
    }
    if let Some(expected) = &step.prompts {
        let numbers: Vec<u32> = state.open_prompts().iter().map(|it| it.prompt).collect();
        assert_eq!(&numbers, expected, "{place}: open prompts");
    }
    if let Some(expected) = &step.wake {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
        let seconds = state.wake_at().map(|it| (it - START_MS) as f64 / 1000.0);
        assert_eq!(seconds, expected.as_f64(), "{place}: wake-up");
    }
    if let Some(expected) = &step.evidence {
        assert_eq!(state.evidence(), expected, "{place}: evidence");
    }
    if let Some((earliest, latest)) = step.wake_within {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
        let seconds = (state.wake_at().unwrap() - START_MS) as f64 / 1000.0;
        assert!(
            (earliest..=latest).contains(&seconds),
            "{place}: wake-up at {seconds}"
        );
    }
    if let Some(expected) = &step.owed {
        let shown: Vec<String> = state.owed().iter().map(show_owed).collect();
        assert_eq!(&shown, expected, "{place}: owed");
    }
    if let Some(expected) = &step.tokens {
        let found: Vec<usize> = (1..)
            .zip(tokens)
            .filter(|(_, it)| state.open_tokens().contains(&it.as_str()))
            .map(|(number, _)| number)
            .collect();
        assert_eq!(&found, expected, "{place}: tokens");
    }
    if let Some(expected) = &step.signals {
        assert_eq!(&state.awaited_signals(), expected, "{place}: signals");
    }
    if let Some(expected) = &step.flags {
        let flags = [
            ("paused", state.is_paused()),
            ("cancelling", state.is_cancelling()),
        ];
        let set: Vec<&str> = flags.iter().filter(|it| it.1).map(|it| it.0).collect();
        assert_eq!(&set, expected, "{place}: flags");
    }
    for (pointer, expected) in &step.turn {
        let turns = json!(state.open_turns());
        let found = turns.pointer(&format!("/0{pointer}"));
        let number = expected
            .as_str()
            .and_then(|it| it.strip_prefix("token "))
            .and_then(|it| it.parse::<usize>().ok());
        let expected = match number {
            Some(number) => json!(tokens[number - 1]),
            None => expected.clone(),
        };
        assert_eq!(
            found,
            Some(&expected),
            "{place}: {pointer} of the open turn"
        );
    }
}

fn check_end(end: &End, state: &State) {
    assert_eq!(
        state.status(),
        end.status,
        "status; {:?} {:?}",
        state.error(),
        state.cause()
    );
    assert_eq!(state.decision(), end.decision.as_deref(), "decision");
    assert_eq!(
        state.error(),
        end.error.as_deref(),
        "error; {:?}",
        state.cause()
    );
    if let Some(expected) = &end.output {
        assert_eq!(
            state.output().map(btrust_machine::Payload::to_value),
            Some(expected.clone()),
            "output"
        );
    }
    if let Some(expected) = &end.outcomes {
        assert_eq!(&json!(state.outcomes()), expected, "outcomes");
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "a table: one arm for each kind of action"
)]
fn command(action: &Action, history: &History, tokens: &[String]) -> Command {
    let token = |number: &usize| match number {
        0 => "tkn_never_given_out".to_owned(),
        _ => tokens[number - 1].clone(),
    };
    let result = |task: &u32, attempt: &u32, turn: &u32, result: TurnResult| Command::TurnResult {
        task: *task,
        attempt: *attempt,
        turn: *turn,
        digest: digest(&format!("{result:?}")),
        result,
    };
    let submit = |kind: &str, prompt: &u32, body: &Value| Command::Submit {
        prompt: *prompt,
        digest: digest(&body.to_string()),
        body: body.clone().into(),
        submitter: Submitter {
            kind: kind.to_owned(),
            id: "someone".to_owned(),
            device: None,
            address: None,
            device_class: None,
        },
    };
    match action {
        Action::Start => Command::Start {
            workflow: "wf_00000000000000000000000000000001".to_owned(),
            definition: "golden".to_owned(),
            version: 1,
            input: history.input.clone().into(),
            origin: btrust_machine::Origin::default(),
        },
        Action::Tick => Command::Tick,
        Action::Cancel => Command::Cancel {
            reason: asked(),
            grace_seconds: 0,
            by: None,
        },
        Action::CancelWithin(seconds) => Command::Cancel {
            reason: asked(),
            grace_seconds: *seconds,
            by: somebody(),
        },
        Action::Unheld(task, attempt, turn) => Command::TurnsUnheld {
            turns: vec![(*task, *attempt, *turn)],
        },
        Action::Terminate => Command::Terminate {
            reason: asked(),
            by: somebody(),
        },
        Action::Pause => Command::Pause {
            reason: asked(),
            by: somebody(),
        },
        Action::Resume => Command::Resume { by: somebody() },
        Action::Signal(key, name, payload) => Command::Signal {
            name: expand(&json!(name)).as_str().unwrap().to_owned(),
            payload: expand(payload).into(),
            key: digest(key),
            digest: digest(&format!("{name}{payload}")),
            by: somebody(),
        },
        Action::NoteRestart(workflow) => Command::NoteRestart {
            workflow: workflow.clone(),
            by: somebody(),
        },
        Action::Redrive(key) => Command::Redrive {
            key: digest(key),
            reason: asked(),
            by: somebody(),
        },
        Action::Complete(task, attempt, turn, outcome, output) => result(
            task,
            attempt,
            turn,
            TurnResult::Complete {
                outcome: outcome.clone(),
                output: expand(output).into(),
            },
        ),
        Action::Output(task, attempt, turn, output) => result(
            task,
            attempt,
            turn,
            TurnResult::Output {
                output: expand(output).into(),
            },
        ),
        Action::Ask(task, attempt, turn, question) => result(task, attempt, turn, ask(question)),
        Action::Fail(task, attempt, turn, error) => result(
            task,
            attempt,
            turn,
            TurnResult::Fail {
                error: error.clone(),
                cause: "why".to_owned(),
            },
        ),
        Action::Checkpoint(task, attempt, turn, state) => Command::Checkpoint {
            task: *task,
            attempt: *attempt,
            turn: *turn,
            state: state.clone().into(),
        },
        Action::Submit(prompt, body) => submit("applicant", prompt, body),
        Action::Review(prompt, body) => submit("reviewer", prompt, body),
        Action::HeartbeatMissed(task, attempt, turn) => Command::HeartbeatMissed {
            task: *task,
            attempt: *attempt,
            turn: *turn,
        },
        Action::TokenSuccess(number, value) => Command::TokenSuccess {
            token: token(number),
            result: value.clone().into(),
        },
        Action::TokenFailure(number, error) => Command::TokenFailure {
            token: token(number),
            error: error.clone(),
            cause: "why".to_owned(),
        },
        Action::TokenHeartbeat(number) => Command::TokenHeartbeat {
            token: token(number),
        },
        Action::Delivered(number) => Command::Delivered { number: *number },
        Action::NotStarted(number, error) => Command::NotStarted {
            number: *number,
            error: error.clone(),
            cause: "why".to_owned(),
        },
        Action::ChildEnded(task, attempt, status, output, decision) => Command::ChildEnded {
            task: *task,
            attempt: *attempt,
            end: ChildEnd {
                workflow: "wf_c".to_owned(),
                status: *status,
                decision: decision.clone(),
                output: Some(output.clone().into()),
                error: (*status != Status::Succeeded).then(|| "Broken".to_owned()),
                cause: None,
            },
        },
        Action::ChildContinued(task, attempt, child) => Command::ChildContinued {
            task: *task,
            attempt: *attempt,
            next: format!("wf_next_{child}"),
            run: u32::try_from(*child).unwrap(),
            on_close: OnParentClose::Cancel,
        },
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it may be left out")]
fn asked() -> Option<String> {
    Some("asked".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "it may be left out")]
fn somebody() -> Option<String> {
    Some("somebody".to_owned())
}

fn ask(question: &Value) -> TurnResult {
    let seconds = |key: &str| question.get(key).and_then(Value::as_i64);
    let text = |key: &str, default: &str| {
        let given = question.get(key).and_then(Value::as_str);
        given.unwrap_or(default).to_owned()
    };
    TurnResult::Ask {
        audience: text("audience", "applicant"),
        kind: text("kind", "code"),
        body: question.get("body").cloned().unwrap_or(json!({})).into(),
        state: question.get("state").cloned().unwrap_or(json!({})).into(),
        expires_in_ms: seconds("expiresIn").unwrap() * 1000,
        wake_in_ms: seconds("wakeIn").map(|it| it * 1000),
    }
}

/// `{"repeat": [text, n]}`, wherever it stands, is the text, that often.
fn expand(value: &Value) -> Value {
    let Value::Object(fields) = value else {
        return value.clone();
    };
    match fields
        .get("repeat")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        Some([text, times]) => {
            let times = usize::try_from(times.as_u64().unwrap()).unwrap();
            json!(text.as_str().unwrap().repeat(times))
        }
        _ => fields
            .iter()
            .map(|(key, it)| (key.clone(), expand(it)))
            .collect(),
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[test]
fn what_a_person_submits_is_in_no_event_and_in_the_snapshot_only_until_its_turn_ends() {
    const CANARY: &str = "canary-739251";
    let history: History = serde_json::from_value(json!({
        "checks": "history does not carry what a person has submitted",
        "definition": "otp", "input": { "phone": "+97250" },
        "steps": [
            { "at": 0, "do": "start" },
            { "at": 1, "do": { "ask": [1, 1, 1, { "expiresIn": 300, "state": {} }] } },
            { "at": 2, "do": { "submit": [1, { "code": CANARY }] } },
            { "at": 3, "do": { "ask": [1, 1, 2, { "expiresIn": 300, "state": {} }] } },
        ],
        "end": { "status": "running" },
    }))
    .unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let definition = load(&folder, &history);
    let mut state: Option<State> = None;
    let mut is_in_snapshot = Vec::new();
    for (second, step) in (0..).zip(&history.steps) {
        let env = Env {
            now_ms: START_MS + second * 1_000,
            seed: 7,
        };
        let command = command(&step.action, &history, &[]);
        let applied = apply(&definition, state.take(), &command, &env).unwrap();
        let events = serde_json::to_string(&applied.events).unwrap();
        assert!(!events.contains(CANARY), "{events}");
        let snapshot = serde_json::to_string(&applied.state).unwrap();
        is_in_snapshot.push(snapshot.contains(CANARY));
        state = Some(applied.state);
    }
    assert_eq!(is_in_snapshot, [false, false, true, false]);
}

#[test]
fn a_history_that_grows_too_long_can_be_caught_once() {
    let work = |next: &str| {
        json!({
            "Type": "Task", "Resource": "kyc:form", "TimeoutSeconds": 60, "Next": next,
            "Catch": [{ "ErrorEquals": ["BTrust.HistoryLimitExceeded"], "Next": "Tidy" }],
        })
    };
    // `Tidy` has a `Catch` of its own; `rounds` is how often it runs before the workflow may end.
    let end_after = |rounds: u64| {
        let document = json!({ "name": "golden", "definition": { "StartAt": "Loop", "States": {
            "Loop": work("Loop"),
            "Tidy": work("IsTidy"),
            "IsTidy": { "Type": "Choice", "Choices": [
                { "Condition": "{% $states.input.output.last %}", "Next": "Done" } ], "Default": "Tidy" },
            "Done": { "Type": "Succeed" },
        } } });
        let definition = Definition::parse(&document)
            .and_then(|it| it.with_catalogue(&catalogue()))
            .unwrap_or_else(|findings| panic!("{findings:#?}"));
        let env = Env {
            now_ms: START_MS,
            seed: 7,
        };
        let start = Command::Start {
            workflow: "wf_00000000000000000000000000000001".to_owned(),
            definition: "golden".to_owned(),
            version: 1,
            input: json!({}).into(),
            origin: btrust_machine::Origin::default(),
        };
        let mut state = apply(&definition, None, &start, &env).unwrap().state;
        let mut caught_at = None;
        let mut n_rounds = 0;
        while state.status() == Status::Running {
            let turn = state.open_turns().remove(0);
            if turn.state_name == "Tidy" {
                caught_at = caught_at.or(Some(state.n_events()));
                n_rounds += 1;
            }
            let command = Command::TurnResult {
                task: turn.task,
                attempt: turn.attempt,
                turn: turn.turn,
                digest: digest(&turn.task.to_string()),
                result: TurnResult::Complete {
                    outcome: "submitted".to_owned(),
                    output: json!({ "last": n_rounds == rounds }).into(),
                },
            };
            state = apply(&definition, Some(state), &command, &env)
                .unwrap()
                .state;
        }
        (state, caught_at.unwrap())
    };

    let (state, caught_at) = end_after(3);
    assert_eq!(state.status(), Status::Succeeded);
    assert!((23_990..=24_100).contains(&caught_at), "{caught_at}");

    let (state, _) = end_after(10_000);
    assert_eq!(state.status(), Status::Failed);
    // As AWS says it, and nothing catches it.
    assert_eq!(state.error(), Some("States.Runtime"));
    assert!(state.n_events() <= 25_000, "{}", state.n_events());
}
