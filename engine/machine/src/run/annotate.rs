//! Notes about a workflow, which is as it was afterwards.

use super::{Applied, Run};
use crate::command::{Annotation, Refusal, Reply};
use crate::event::EventKind;
use crate::limits::HISTORY_EVENTS_MAX;

impl Run<'_> {
    /// Writes one event. No deadline is judged: nothing that is due depends on a note.
    pub(super) fn annotate(
        mut self,
        annotation: &Annotation,
        by: &str,
    ) -> Result<Applied, Refusal> {
        if HISTORY_EVENTS_MAX <= self.state.n_events {
            return Err(Refusal::HistoryFull);
        }
        let noted = EventKind::WorkflowAnnotated {
            annotation: annotation.clone(),
            by: by.to_owned(),
        };
        self.emit_after(0, noted);
        Ok(Applied {
            state: self.state,
            events: self.events,
            effects: self.effects,
            reply: Reply::Done,
        })
    }
}
