//! The end of a workflow.

use super::{Failure, Run, Seen, Trouble};
use crate::command::Refusal;
use crate::effect::{CloseReason, Effect};
use crate::event::EventKind;
use crate::message::Message;
use crate::payload::Payload;
use crate::state::{Closing, ROOT, Status};

const EVIDENCE_MISSING: &str = "BTrust.EvidenceMissing";
const DECISION_NOT_LITERAL: &str = "BTrust.DecisionNotLiteral";

impl Run<'_> {
    /// Lets a decision through only with the evidence that it needs.
    pub(super) fn guard(&self, decision: &str, seen: &Seen<'_>) -> Result<(), Trouble> {
        let Some(rule) = self.definition.decisions.get(decision) else {
            let cause = format!("`{decision}` is not a decision of this definition.");
            return Err(Failure::new(EVIDENCE_MISSING, cause).into());
        };
        let evidence = &self.thread(seen.thread)?.evidence;
        if rule.is_met(|name| evidence.held().iter().any(|it| it == name)) {
            return Ok(());
        }
        let cause = format!(
            "`{decision}` needs one of {:?}; the workflow holds {:?}.",
            rule.any_of,
            evidence.held()
        );
        Err(Failure::new(EVIDENCE_MISSING, cause).into())
    }

    pub(super) fn close_succeeded(&mut self, output: Payload, decision: Option<String>) {
        let claims = output
            .get("decision")
            .is_some_and(serde_json::Value::is_string);
        if claims && decision.is_none() && !self.definition.decisions.is_empty() {
            let cause = "The output carries a decision that no Succeed state has taken.";
            self.close_failed(Failure::new(DECISION_NOT_LITERAL, cause));
            return;
        }
        let event = EventKind::ExecutionSucceeded {
            output: output.clone(),
            decision: decision.clone(),
        };
        let closing = Closing {
            output: Some(output),
            decision,
            ..self.closing()
        };
        self.close(Status::Succeeded, closing, event);
    }

    pub(super) fn close_failed(&mut self, failure: Failure) {
        let Failure { error, cause, .. } = failure;
        let event = EventKind::ExecutionFailed {
            error: error.clone(),
            cause: cause.clone(),
        };
        let some = |text: String| if text.is_empty() { None } else { Some(text) };
        let closing = Closing {
            error: some(error),
            cause: some(cause),
            ..self.closing()
        };
        self.close(Status::Failed, closing, event);
    }

    pub(super) fn close_timed_out(&mut self) {
        let closing = Closing {
            error: Some("States.Timeout".to_owned()),
            ..self.closing()
        };
        self.close(Status::TimedOut, closing, EventKind::ExecutionTimedOut {});
    }

    pub(super) fn close_cancelled(&mut self, reason: Option<String>, by: Option<String>) {
        let closing = Closing {
            cause: reason.clone(),
            ..self.closing()
        };
        let event = EventKind::ExecutionAborted { reason, by };
        self.close(Status::Cancelled, closing, event);
    }

    pub(super) fn close_terminated(&mut self, reason: Option<String>, by: Option<String>) {
        let closing = Closing {
            cause: reason.clone(),
            ..self.closing()
        };
        let event = EventKind::ExecutionTerminated { reason, by };
        self.close(Status::Terminated, closing, event);
    }

    pub(super) fn closing(&self) -> Closing {
        Closing {
            at_ms: self.now_ms(),
            output: None,
            decision: None,
            error: None,
            cause: None,
            evidence: Vec::new(),
            continued_as: None,
        }
    }

    pub(super) fn close(&mut self, status: Status, mut closing: Closing, event: EventKind) {
        if matches!(status, Status::Succeeded | Status::Continued) {
            self.state.wreck = None;
        } else {
            self.note_wreck();
        }
        if std::mem::take(&mut self.state.paused) {
            self.effects.push(Effect::Resume);
        }
        self.state.cancelling = None;
        // Nothing open may survive the end; a branch that cannot be withdrawn has nothing open.
        let _: Result<(), Refusal> = self.withdraw(ROOT, CloseReason::Withdrawn);
        if let Some(root) = self.state.threads.get(&ROOT) {
            closing.evidence = root.evidence.held().to_vec();
        }
        self.emit(ROOT, event);
        self.effects.push(Effect::Close {
            status,
            decision: closing.decision.clone(),
        });
        self.state.status = status;
        self.state.closed = Some(closing);
        self.state.deadline_ms = None;
        self.state.threads.clear();
        self.moves.clear();
        if status != Status::Continued
            && let Some(parent) = self.state.origin.parent.clone()
        {
            let message = Message::Ended {
                task: parent.task,
                attempt: parent.attempt,
            };
            self.owe(parent.workflow, None, message);
        }
    }
}
