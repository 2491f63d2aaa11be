//! What the workflows of a simulation are, and how steps and persons behave in them.
//!
//! Everything that decides how a workflow ends depends on the seed and on where it stands, never on
//! when something happens; so the pure machine, without any fault, ends it in the same way.

use serde_json::{Value, json};

use super::chance::digest;

/// How long a question stays open that somebody answers, ms: longer than every fault.
const ANSWERED_MS: i64 = 7 * 24 * 3_600_000;
/// How long a question stays open that nobody answers, ms.
const UNANSWERED_MS: i64 = 90_000;

/// What a step does with a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Complete {
        outcome: &'static str,
        output: Value,
    },
    /// Causes an effect that must not happen twice, behind a checkpoint, and completes.
    Effect {
        outcome: &'static str,
    },
    Ask {
        expires_in_ms: i64,
        wake_in_ms: Option<i64>,
    },
    Fail {
        error: &'static str,
    },
    /// Never ends.
    Hang,
    /// Gives the token of the task to somebody outside, who sends it back.
    HandOn,
}

/// Where a turn stands.
pub struct Place<'p> {
    pub seed: u64,
    pub label: &'p str,
    pub state_name: &'p str,
    pub item: String,
    pub attempt: u32,
    /// `first`, `submission`, `expired`, `woken`.
    pub reason: &'p str,
}

impl<'p> Place<'p> {
    /// Reads a place from the arguments that every task of a simulation has.
    pub fn new(
        seed: u64,
        state_name: &'p str,
        arguments: &'p Value,
        attempt: u32,
        reason: &'p str,
    ) -> Self {
        Self {
            seed,
            label: arguments["label"].as_str().unwrap_or_default(),
            state_name,
            item: arguments["item"].to_string(),
            attempt,
            reason,
        }
    }

    fn chance(&self, question: &str, n: u64) -> u64 {
        let words = [question, self.label, self.state_name, &self.item];
        digest(self.seed, &words) % n
    }

    pub fn act(&self) -> Act {
        match self.state_name {
            "Ask" | "AskAgain" if self.reason == "submission" => {
                complete("submitted", json!({ "n": self.chance("output", 100) }))
            }
            "Ask" if self.reason == "woken" => ask(ANSWERED_MS, None),
            "Ask" => {
                let wake_in_ms = (self.chance("wakes", 3) == 0).then_some(20_000);
                ask(ANSWERED_MS, wake_in_ms)
            }
            "AskAgain" => ask(ANSWERED_MS, None),
            "Ignored" if self.reason == "expired" => complete("expired", json!({})),
            "Ignored" => ask(UNANSWERED_MS, None),
            "Notify" => Act::Effect {
                outcome: "delivered",
            },
            "Item" => match self.chance("item", 4) {
                0 if self.attempt <= 2 => Act::Fail { error: "Flaky" },
                1 => Act::Fail { error: "Broken" },
                _ => Act::Effect {
                    outcome: "delivered",
                },
            },
            "Slow" if self.attempt == 1 && self.chance("hangs", 2) == 0 => Act::Hang,
            "Elsewhere" => Act::HandOn,
            _ => complete("ok", json!({ "n": self.chance("output", 100) })),
        }
    }
}

fn complete(outcome: &'static str, output: Value) -> Act {
    Act::Complete { outcome, output }
}

fn ask(expires_in_ms: i64, wake_in_ms: Option<i64>) -> Act {
    Act::Ask {
        expires_in_ms,
        wake_in_ms,
    }
}

/// Whether anybody answers the questions of a state.
pub fn is_answered(state_name: &str) -> bool {
    state_name != "Ignored"
}

/// The steps of the simulation's workers.
pub const QUEUES: [&str; 3] = ["form", "notify", "http"];

fn task(step: &str, rest: Value) -> Value {
    let mut task = json!({
        "Type": "Task",
        "Resource": format!("kyc:{step}@1"),
        "TimeoutSeconds": 864_000,
        "Arguments": { "label": "{% $label %}", "item": "" },
        "Output": "{% $states.result.outcome %}",
    });
    if let (Some(fields), Value::Object(rest)) = (task.as_object_mut(), rest) {
        fields.extend(rest);
    }
    task
}

fn labelled(next: &str) -> Value {
    json!({ "Type": "Pass", "Assign": { "label": "{% $states.input.label %}" }, "Next": next })
}

/// The names of the definitions.
pub const DEFINITIONS: [&str; 6] = ["line", "fork", "items", "slow", "token", "fails"];

/// The states of a definition.
fn states(name: &str) -> Value {
    let end = json!({ "Type": "Succeed" });
    match name {
        "line" => json!({
            "Begin": labelled("Ask"),
            "Ask": task("form", json!({ "Next": "Notify" })),
            "Notify": task("notify", json!({ "Next": "AskAgain" })),
            "AskAgain": task("form", json!({ "Next": "Look" })),
            "Look": task("http", json!({ "Next": "End" })),
            "End": end,
        }),
        "fork" => json!({
            "Begin": labelled("Fork"),
            "Fork": { "Type": "Parallel", "Next": "End", "Branches": [
                { "StartAt": "Notify", "States": { "Notify": task("notify", json!({ "End": true })) } },
                { "StartAt": "Ignored", "States": { "Ignored": task("form", json!({ "End": true })) } },
                { "StartAt": "Rest", "States": {
                    "Rest": { "Type": "Wait", "Seconds": 25, "Next": "Look" },
                    "Look": task("http", json!({ "End": true })),
                } },
            ] },
            "End": end,
        }),
        "items" => json!({
            "Begin": labelled("Items"),
            "Items": {
                "Type": "Map", "Items": "{% ['a', 'b', 'c', 'd'] %}", "MaxConcurrency": 2, "Next": "Notify",
                "ItemProcessor": { "ProcessorConfig": { "Mode": "INLINE" }, "StartAt": "Item", "States": {
                    "Item": task("notify", json!({
                        "Arguments": { "label": "{% $label %}", "item": "{% $states.input %}" },
                        "Retry": [{ "ErrorEquals": ["Flaky"], "IntervalSeconds": 2, "MaxAttempts": 5,
                                    "BackoffRate": 2, "JitterStrategy": "FULL" }],
                        "Catch": [{ "ErrorEquals": ["Broken"], "Output": "caught", "Next": "Skipped" }],
                        "End": true,
                    })),
                    "Skipped": { "Type": "Pass", "End": true },
                } },
            },
            "Notify": task("notify", json!({ "Next": "End" })),
            "End": end,
        }),
        "slow" => json!({
            "Begin": labelled("Slow"),
            "Slow": task("http", json!({
                "TimeoutSeconds": 40, "Next": "Rest",
                "Retry": [{ "ErrorEquals": ["States.Timeout"], "IntervalSeconds": 3, "MaxAttempts": 500,
                            "BackoffRate": 1.5, "MaxDelaySeconds": 60 }],
            })),
            "Rest": { "Type": "Wait", "Seconds": 10, "Next": "Notify" },
            "Notify": task("notify", json!({ "Next": "End" })),
            "End": end,
        }),
        "token" => json!({
            "Begin": labelled("Elsewhere"),
            "Elsewhere": task("http", json!({
                "Resource": "kyc:http@1.waitForTaskToken", "Next": "Notify",
                "Arguments": { "label": "{% $label %}", "item": "", "token": "{% $states.context.Task.Token %}" },
            })),
            "Notify": task("notify", json!({ "Next": "End" })),
            "End": end,
        }),
        _ => json!({
            "Begin": labelled("Notify"),
            "Notify": task("notify", json!({ "Next": "Ask" })),
            "Ask": task("form", json!({ "Next": "Lost" })),
            "Lost": { "Type": "Fail", "Error": "Lost", "Cause": "as planned" },
        }),
    }
}

/// A definition as a bank writes it.
pub fn envelope(name: &str) -> Value {
    json!({
        "name": name,
        "title": name,
        "definition": { "QueryLanguage": "JSONata", "StartAt": "Begin", "States": states(name) },
    })
}

/// What a workflow starts with.
pub fn input(label: &str) -> Value {
    json!({ "label": label })
}
