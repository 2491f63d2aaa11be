//! Prompts: what a step asks a person for, and what becomes of it.

use super::Run;
use crate::command::{Refusal, Submitter};
use crate::effect::{CloseReason, Effect, OpenPrompt, TurnReason};
use crate::event::EventKind;
use crate::limits::{CLOSED_PROMPTS_MAX, SECONDS_MAX};
use crate::payload::Payload;
use crate::state::{ClosedPrompt, Phase, Position};

/// What a turn asks for.
pub(super) struct Question<'q> {
    pub audience: &'q str,
    pub kind: &'q str,
    pub body: &'q Payload,
    pub expires_in_ms: i64,
    pub wake_in_ms: Option<i64>,
}

impl Run<'_> {
    /// Parks the task until somebody answers, nobody does, or it is woken.
    pub(super) fn ask(&mut self, thread: u32, question: &Question<'_>) -> Result<(), Refusal> {
        let task = self.task_mut(thread)?;
        let phase = std::mem::replace(&mut task.phase, Phase::Parked);
        if self.state.is_in_grace() {
            // Nobody is asked any more.
            return self.close_prompt(thread, CloseReason::Withdrawn);
        }
        if let Phase::Open {
            answer: Some(answer),
            ..
        } = phase
        {
            // The person was faster than the woken turn: their answer is what happens next.
            return self.open_turn(thread, answer);
        }
        let now_ms = self.now_ms();
        let in_ms = |span_ms: i64| now_ms.saturating_add(span_ms.clamp(0, SECONDS_MAX * 1000));
        let expires_ms = in_ms(question.expires_in_ms);
        let task = self.task_mut(thread)?;
        task.wake_ms = question.wake_in_ms.map(in_ms);
        let number = task.task;
        if let Some(prompt) = task.prompt.as_mut().filter(|it| is_same(it, question)) {
            prompt.expires_ms = expires_ms;
            let prompt = prompt.clone();
            self.emit(
                thread,
                EventKind::PromptExtended {
                    prompt: prompt.prompt,
                    task: number,
                    expires_ms,
                },
            );
            self.effects.push(Effect::OpenPrompt(prompt));
            return Ok(());
        }
        self.close_prompt(thread, CloseReason::Replaced)?;
        self.state.n_prompts += 1;
        let prompt = OpenPrompt {
            prompt: self.state.n_prompts,
            task: number,
            state_name: self.task_mut(thread)?.visit.state.clone(),
            audience: question.audience.to_owned(),
            kind: question.kind.to_owned(),
            body: question.body.clone(),
            opened_ms: now_ms,
            expires_ms,
        };
        self.task_mut(thread)?.prompt = Some(prompt.clone());
        self.emit(
            thread,
            EventKind::PromptOpened {
                prompt: prompt.prompt,
                task: number,
                name: prompt.state_name.clone(),
                audience: prompt.audience.clone(),
                kind: prompt.kind.clone(),
                body: prompt.body.clone(),
                expires_ms,
            },
        );
        self.effects.push(Effect::OpenPrompt(prompt));
        Ok(())
    }

    /// A person answers; the first answer wins.
    pub(super) fn submit(
        &mut self,
        prompt: u32,
        digest: &str,
        body: &Payload,
        submitter: &Submitter,
    ) -> Result<(), Refusal> {
        let Some(thread) = self.state.thread_of_prompt(prompt) else {
            let was = 0 < prompt && prompt <= self.state.n_prompts;
            return Err(if was {
                Refusal::PromptClosed { prompt }
            } else {
                Refusal::PromptUnknown { prompt }
            });
        };
        if let Some(excess) = body.excess() {
            return Err(excess.into());
        }
        let task = self.task_mut(thread)?;
        let number = task.task;
        if let Some(open) = task
            .prompt
            .as_ref()
            .filter(|it| it.audience != submitter.kind)
        {
            return Err(Refusal::AudienceMismatch {
                prompt,
                audience: open.audience.clone(),
            });
        }
        task.prompt = None;
        if self.state.closed_prompts.len() == CLOSED_PROMPTS_MAX {
            self.state.closed_prompts.pop_front();
        }
        self.state.closed_prompts.push_back(ClosedPrompt {
            prompt,
            digest: super::remembered(digest).to_owned(),
        });
        if let Some(device) = &submitter.device_class {
            self.state.device = Some(device.clone());
        }
        let answered = EventKind::PromptAnswered {
            prompt,
            task: number,
            submitter: submitter.clone(),
        };
        self.emit(thread, answered);
        self.effects.push(Effect::ClosePrompt {
            prompt,
            reason: CloseReason::Answered,
        });
        let reason = TurnReason::Submission {
            prompt,
            body: body.clone(),
            submitter: submitter.clone(),
        };
        match &mut self.task_mut(thread)?.phase {
            Phase::Parked => self.open_turn(thread, reason),
            Phase::Open { answer, .. } => {
                *answer = Some(reason);
                Ok(())
            }
            Phase::BackingOff { .. } => Ok(()),
        }
    }

    /// Nobody answered in time.
    pub(super) fn expire(&mut self, thread: u32) -> Result<(), Refusal> {
        let Some(prompt) = self.task_mut(thread)?.prompt.as_ref().map(|it| it.prompt) else {
            return Ok(());
        };
        self.close_prompt(thread, CloseReason::Expired)?;
        match self.task_mut(thread)?.phase {
            Phase::Parked => self.open_turn(thread, TurnReason::Expired { prompt }),
            // A woken turn is open: what it returns decides how the task goes on.
            Phase::Open { .. } | Phase::BackingOff { .. } => Ok(()),
        }
    }

    /// Closes the task's prompt, if one is open.
    pub(super) fn close_prompt(&mut self, thread: u32, reason: CloseReason) -> Result<(), Refusal> {
        let Position::Task(task) = &mut self.thread_mut(thread)?.position else {
            return Ok(());
        };
        let number = task.task;
        let Some(OpenPrompt { prompt, .. }) = task.prompt.take() else {
            return Ok(());
        };
        self.emit(
            thread,
            EventKind::PromptClosed {
                prompt,
                task: number,
                reason,
            },
        );
        self.effects.push(Effect::ClosePrompt { prompt, reason });
        Ok(())
    }
}

fn is_same(prompt: &OpenPrompt, question: &Question<'_>) -> bool {
    prompt.audience == question.audience
        && prompt.kind == question.kind
        && prompt.body == *question.body
}
