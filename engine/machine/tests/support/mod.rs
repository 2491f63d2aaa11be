//! What the tests of the machine share: a catalogue, and a model that follows effects.

use std::collections::BTreeMap;

use btrust_machine::{
    Applied, Catalogue, Command, Contract, Effect, OpenPrompt, OpenTurn, Owed, Reply, State,
    TurnReason,
};
use serde_json::{Value, json};

/// A catalogue with the outcomes of the real steps and small schemas.
pub fn catalogue() -> Catalogue {
    let mut steps = BTreeMap::new();
    for (step, outcomes) in [
        ("consent", &["given", "declined", "expired"][..]),
        ("otp", &["verified", "locked", "undeliverable", "expired"]),
        (
            "ocr",
            &[
                "accepted",
                "rejected",
                "expired_document",
                "unreadable",
                "expired",
            ],
        ),
        (
            "liveness",
            &[
                "live",
                "spoof",
                "injection",
                "locked",
                "alternative_requested",
                "expired",
            ],
        ),
        ("face-match", &["match", "uncertain", "no_match", "no_face"]),
        ("review", &["approved", "rejected", "resubmit", "expired"]),
        ("form", &["submitted", "expired"]),
    ] {
        let contract = Contract {
            step: step.to_owned(),
            major: 1,
            outcomes: outcomes.iter().map(|it| (*it).to_owned()).collect(),
            arguments_schema: arguments_schema(step),
            output_schema: output_schema(step),
            hash: format!("sha256:{step}"),
        };
        steps.insert(step.to_owned(), contract);
    }
    Catalogue { steps }
}

fn arguments_schema(step: &str) -> Value {
    match step {
        "otp" => json!({
            "type": "object",
            "required": ["channels", "phone"],
            "properties": {
                "channels": {"type": "array", "items": {"$ref": "#/$defs/Channel"}},
                "phone": {"type": "string"},
            },
            "additionalProperties": false,
            "$defs": {"Channel": {"enum": ["sms", "email"]}},
        }),
        _ => json!({"type": "object"}),
    }
}

fn output_schema(step: &str) -> Value {
    match step {
        "review" => json!({
            "type": "object",
            "properties": {"fourEyes": {"type": "boolean"}, "reason": {"type": "string"}},
        }),
        "otp" => json!({"type": "object", "properties": {"channel": {"type": "string"}}}),
        _ => json!({"type": "object"}),
    }
}

/// What an engine knows that has only ever looked at the effects.
#[derive(Default, Debug)]
pub struct Follower {
    pub turns: BTreeMap<u32, OpenTurn>,
    pub prompts: BTreeMap<u32, OpenPrompt>,
    pub owed: Vec<Owed>,
    pub wake_at: Option<i64>,
    pub is_closed: bool,
    pub is_paused: bool,
    pub n_events: u64,
}

impl Follower {
    /// Takes in what a command has led to, and compares it with the snapshot.
    pub fn follow(&mut self, command: &Command, applied: &Applied) {
        if applied.reply == Reply::Duplicate {
            assert!(
                applied.events.is_empty() && applied.effects.is_empty(),
                "a duplicate changes nothing"
            );
            return;
        }
        match command {
            Command::TurnResult { task, .. } => {
                self.turns.remove(task);
            }
            Command::Checkpoint { task, state, .. } => {
                if let Some(turn) = self.turns.get_mut(task) {
                    turn.checkpoint = Some(state.clone());
                }
            }
            Command::Delivered { number } | Command::NotStarted { number, .. } => {
                self.owed.retain(|it| it.number != *number);
            }
            _ => {}
        }
        for effect in &applied.effects {
            self.carry_out(effect);
        }
        for event in &applied.events {
            self.n_events += 1;
            assert_eq!(event.id, self.n_events, "event ids have no gaps");
            assert!(event.previous < event.id, "an event follows an earlier one");
        }
        self.compare(&applied.state);
    }

    fn carry_out(&mut self, effect: &Effect) {
        match effect {
            Effect::Dispatch(turn) => {
                self.turns.insert(turn.task, turn.clone());
            }
            Effect::Withdraw { task } => {
                assert!(
                    self.turns.remove(task).is_some(),
                    "task {task} has no open turn to withdraw"
                );
            }
            Effect::OpenPrompt(prompt) => {
                self.prompts.insert(prompt.prompt, prompt.clone());
            }
            Effect::ClosePrompt { prompt, .. } => {
                assert!(
                    self.prompts.remove(prompt).is_some(),
                    "prompt {prompt} is not open"
                );
            }
            Effect::WakeAt { at_ms } => self.wake_at = *at_ms,
            Effect::Deliver(owed) => self.owed.push(owed.clone()),
            Effect::Close { .. } => {
                assert!(!self.is_closed, "a workflow closes once");
                self.is_closed = true;
            }
            Effect::Reopen => {
                assert!(self.is_closed, "only what is closed is opened again");
                self.is_closed = false;
            }
            Effect::Pause => {
                assert!(!self.is_paused, "a workflow is paused once");
                self.is_paused = true;
            }
            Effect::Resume => {
                assert!(self.is_paused, "only what is paused is resumed");
                self.is_paused = false;
            }
            Effect::Cancel => {}
        }
    }

    fn compare(&self, state: &State) {
        let turns: Vec<OpenTurn> = self.turns.values().cloned().collect();
        let mut open = state.open_turns();
        open.sort_by_key(|it| it.task);
        assert_eq!(open, turns, "open turns are what the effects say");
        assert_eq!(
            state.owed(),
            self.owed,
            "what is owed is what the effects say"
        );
        let prompts: Vec<OpenPrompt> = self.prompts.values().cloned().collect();
        let mut open = state.open_prompts();
        open.sort_by_key(|it| it.prompt);
        assert_eq!(open, prompts, "open prompts are what the effects say");
        assert_eq!(
            state.wake_at(),
            self.wake_at,
            "the wake-up is what the effects say"
        );
        assert_eq!(state.status().is_closed(), self.is_closed);
        assert_eq!(state.is_paused(), self.is_paused);
        assert_eq!(state.n_events(), self.n_events);
        if self.is_closed {
            assert!(self.turns.is_empty() && self.prompts.is_empty() && self.wake_at.is_none());
        }
    }
}

/// `task.attempt.turn reason`.
pub fn show_turn(turn: &OpenTurn) -> String {
    let reason = match &turn.reason {
        TurnReason::First => "first",
        TurnReason::Submission { .. } => "submission",
        TurnReason::Expired { .. } => "expired",
        TurnReason::Woken => "woken",
    };
    let checkpoint = if turn.checkpoint.is_some() {
        " checkpointed"
    } else {
        ""
    };
    format!(
        "{}.{}.{} {reason}{checkpoint}",
        turn.task, turn.attempt, turn.turn
    )
}
