//! `BTrust.ContinueAsNew`: the workflow ends, and another one goes on from it with an empty history.

use serde_json::json;

use super::{Failure, Run, Seen, Trouble};
use crate::definition::{Again, StateDef};
use crate::event::EventKind;
use crate::limits::CONTINUE_INTERVAL_MIN_MS;
use crate::message::Message;
use crate::origin::Origin;
use crate::payload::Payload;
use crate::state::{Closing, Status};

/// The input of the next run does not fit the definition.
const INPUT_INVALID: &str = "BTrust.InputInvalid";

impl<'a> Run<'a> {
    /// Ends the workflow and has the next run start.
    pub(super) fn continue_as_new(
        &mut self,
        state_def: &'a StateDef,
        again: &'a Again,
        seen: &Seen<'_>,
    ) -> Result<(), Trouble> {
        let input = match &again.input {
            Some(template) => self.template(template, "BTrust.ContinueAsNew/input", seen)?,
            None => json!({}).into(),
        };
        super::evaluate::limit_size(&input, "the input of the next run", seen.visit)?;
        let version = again.version.unwrap_or(self.state.version);
        // Another version is checked when it starts.
        if version == self.state.version && self.definition.check_input(&input).is_err() {
            let cause = "The input of the next run does not fit `inputSchema`.";
            return Err(Failure::new(INPUT_INVALID, cause).into());
        }
        let exited = EventKind::StateExited {
            state_type: state_def.state_type(),
            name: seen.visit.state.clone(),
            output: input.clone(),
            assigned: Vec::new(),
        };
        self.emit(seen.thread, exited);
        self.close_continued(version, input);
        Ok(())
    }

    fn close_continued(&mut self, version: u32, input: Payload) {
        let workflow = self.state.workflow.clone();
        let next = super::message::derived_id(&["btrust next run 1", &workflow], &workflow, false);
        let origin = Origin {
            continued_from: Some(workflow),
            run: self.state.origin.run.saturating_add(1),
            ..self.state.origin.clone()
        };
        let (parent, run) = (origin.parent.clone(), origin.run);
        let closing = Closing {
            continued_as: Some(next.clone()),
            ..self.closing()
        };
        let event = EventKind::ExecutionContinued {
            next: next.clone(),
            version,
        };
        self.close(Status::Continued, closing, event);
        // However little the runs do, they do not follow each other faster than this.
        let not_before_ms = self
            .state
            .started_ms
            .saturating_add(CONTINUE_INTERVAL_MIN_MS);
        let start = Message::Start {
            definition: self.state.definition.clone(),
            version: Some(version),
            input,
            origin: Box::new(origin),
        };
        self.owe(next.clone(), Some(not_before_ms), start);
        if let Some(parent) = parent {
            let message = Message::Continued {
                task: parent.task,
                attempt: parent.attempt,
                next,
                run,
                on_close: parent.on_close,
            };
            self.owe(parent.workflow, None, message);
        }
    }
}
