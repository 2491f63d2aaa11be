//! Runs a recorded case: its tasks answer what they answered when it was recorded.

use serde_json::{Value, json};

use super::{Case, TaskResult, branches};
use crate::command::TurnResult;
use crate::definition::Definition;
use crate::effect::OpenTurn;
use crate::simulate::{Answer, Options, SimulateError, Simulation, drive};
use crate::state::State;

/// The recorded answers that have not been given yet.
struct Answers<'a> {
    case: &'a Case,
    left: Vec<&'a TaskResult>,
    n_given: u32,
}

pub(super) fn run(
    definition: &Definition,
    input: &Value,
    case: &Case,
) -> Result<Simulation, SimulateError> {
    let mut answers = Answers {
        case,
        left: case.task_results.iter().collect(),
        n_given: 0,
    };
    drive(
        definition,
        input.clone().into(),
        &Options::default(),
        &[],
        &mut |turn, state| answers.answer(turn, state),
    )
}

impl Answers<'_> {
    fn answer(&mut self, turn: &OpenTurn, state: &State) -> Result<Answer, SimulateError> {
        self.n_given += 1;
        let Some(index) = self.choose(turn, state) else {
            if is_distributed(state, turn.task) {
                return Ok(Answer {
                    delay_ms: 0,
                    result: Some(lost_answer(turn)),
                    is_refused: false,
                });
            }
            return Err(SimulateError::MockMissing {
                state: turn.state_name.clone(),
                run: self.n_given,
                attempt: turn.attempt,
                detail: "`taskResults` has no more answers of this state".to_owned(),
            });
        };
        let recorded = self.left.remove(index);
        let result = match (&recorded.error, recorded.timeout) {
            (_, true) => None,
            (Some(error), false) => Some(TurnResult::Fail {
                error: error.clone(),
                cause: as_text(recorded.cause.as_ref()),
            }),
            (None, false) => Some(TurnResult::Output {
                output: recorded.output.clone().unwrap_or_default().into(),
            }),
        };
        Ok(Answer {
            delay_ms: 0,
            is_refused: result.is_some() && !self.was_submitted(recorded),
            result,
        })
    }

    /// The first answer of the state; where items run side by side, that of the same item.
    fn choose(&self, turn: &OpenTurn, state: &State) -> Option<usize> {
        let of_state = |it: &&TaskResult| it.state == turn.state_name;
        let ours = item_of_task(state, turn.task);
        let of_item = self
            .left
            .iter()
            .position(|it| of_state(it) && ours.is_some() && self.item_of(it) == ours);
        of_item.or_else(|| self.left.iter().position(of_state))
    }

    fn item_of(&self, recorded: &TaskResult) -> Option<usize> {
        let by_history = || {
            let scheduled = recorded.scheduled_event_id?;
            branches::item_of(&self.case.history, scheduled)
        };
        recorded.map_index.or_else(by_history)
    }

    /// Whether the work had been handed on before the answer came.
    fn was_submitted(&self, recorded: &TaskResult) -> bool {
        let Some(scheduled) = recorded.scheduled_event_id else {
            return recorded.error.is_none();
        };
        // Scheduled, started, submitted: each follows the one before.
        let mut ids = vec![scheduled];
        for event in &self.case.history {
            let previous = event["previousEventId"].as_u64().unwrap_or_default();
            let kind = event["type"].as_str().unwrap_or_default();
            if ids.contains(&previous) && kind.ends_with("Started") {
                ids.push(event["id"].as_u64().unwrap_or_default());
            }
            if ids.contains(&previous) && kind == "TaskSubmitted" {
                return true;
            }
        }
        self.case.history.is_empty() && recorded.error.is_none()
    }
}

/// The item of the innermost `Map` that a task belongs to.
fn item_of_task(state: &State, task: u32) -> Option<usize> {
    let mut thread = state.threads.get(&state.thread_of_task(task)?)?;
    loop {
        if let Some(item) = &thread.item {
            return Some(item.index);
        }
        thread = state.threads.get(&thread.parent?)?;
    }
}

/// Whether a task belongs to an item of a distributed `Map`.
fn is_distributed(state: &State, task: u32) -> bool {
    let thread = state.thread_of_task(task);
    thread
        .and_then(|it| state.threads.get(&it))
        .is_some_and(|it| it.child.is_some())
}

/// The answer of a task whose history was not recorded: it gives back what it was given.
///
/// Items of a distributed `Map` have histories of their own, which the recordings do not have. Where
/// another answer matters, the output of the `Map` differs, and the case fails.
fn lost_answer(turn: &OpenTurn) -> TurnResult {
    const INVOKE: &str = "arn:aws:states:::lambda:invoke";
    let output = match turn.arguments.get("Payload") {
        Some(payload) if turn.resource == INVOKE => json!({"Payload": payload}).into(),
        _ => turn.arguments.clone(),
    };
    TurnResult::Output { output }
}

/// A cause as the service sent it: a text, which the recorder shows as a document where it is one.
fn as_text(cause: Option<&Value>) -> String {
    match cause {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(document) => document.to_string(),
    }
}
