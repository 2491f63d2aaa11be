//! `.waitForTaskToken`: the attempt ends when its token is sent back.

use super::{Failure, Run};
use crate::command::{Refusal, TurnResult};
use crate::event::EventKind;
use crate::payload::Payload;
use crate::state::{OpenTask, Phase};

impl Run<'_> {
    /// A new token: it names the workflow, so that it finds its way, and cannot be guessed.
    pub(super) fn mint_token(&self, task: u32) -> String {
        let workflow = self.state.workflow.trim_start_matches("wf_");
        let (high, low) = (self.random.next(), self.random.next());
        format!("tkn_{workflow}{task:08x}{high:016x}{low:016x}")
    }

    /// The worker has handed the work on: the attempt waits for its token.
    pub(super) fn submitted(&mut self, thread: u32, output: &Payload) -> Result<(), Refusal> {
        self.close_prompt(thread, crate::effect::CloseReason::Completed)?;
        let task = self.task_mut(thread)?;
        task.phase = Phase::Parked;
        let submitted = EventKind::TaskSubmitted {
            task: task.task,
            attempt: task.attempt,
            name: task.visit.state.clone(),
            resource: task.resource.clone(),
            output: output.clone(),
        };
        self.emit(thread, submitted);
        self.beat(thread)
    }

    /// The holder of the token has `HeartbeatSeconds` from now on.
    fn beat(&mut self, thread: u32) -> Result<(), Refusal> {
        let now_ms = self.now_ms();
        let task = self.task_mut(thread)?;
        task.heartbeat_ms = task
            .heartbeat_seconds
            .map(|it| now_ms.saturating_add(it * 1000));
        Ok(())
    }

    fn thread_of_token(&self, token: &str) -> Result<u32, Refusal> {
        self.state
            .thread_of_token(token)
            .ok_or(Refusal::TokenUnknown)
    }

    pub(super) fn token_success(&mut self, token: &str, result: &Payload) -> Result<(), Refusal> {
        let thread = self.thread_of_token(token)?;
        if let Some(excess) = result.excess() {
            return Err(excess.into());
        }
        self.withdraw_turn(thread)?;
        let task = self.task_mut(thread)?;
        task.give_back_token();
        let result = match (
            task.is_step(),
            result.get("outcome").and_then(|it| it.as_str()),
        ) {
            (true, Some(outcome)) => TurnResult::Complete {
                outcome: outcome.to_owned(),
                output: result.get("output").cloned().unwrap_or_default().into(),
            },
            _ => TurnResult::Output {
                output: result.clone(),
            },
        };
        self.conclude(thread, &result)
    }

    pub(super) fn token_failure(
        &mut self,
        token: &str,
        error: &str,
        cause: &str,
    ) -> Result<(), Refusal> {
        let thread = self.thread_of_token(token)?;
        self.withdraw_turn(thread)?;
        self.task_mut(thread)?.give_back_token();
        self.fail_attempt(thread, Failure::new(error, cause))
    }

    pub(super) fn token_heartbeat(&mut self, token: &str) -> Result<(), Refusal> {
        let thread = self.thread_of_token(token)?;
        self.beat(thread)
    }
}

impl OpenTask {
    fn give_back_token(&mut self) {
        self.token = None;
        self.heartbeat_ms = None;
    }

    /// Whether the resource is a step of ours, whose result is `{outcome, output}`.
    pub(super) fn is_step(&self) -> bool {
        self.resource.starts_with(crate::catalogue::RESOURCE_SCHEME)
    }
}
