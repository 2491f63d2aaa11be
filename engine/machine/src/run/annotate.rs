//! Notes about a workflow, which is as it was afterwards.

use super::{Applied, Run};
use crate::command::{Annotation, Refusal, Reply};
use crate::event::EventKind;
use crate::limits::HISTORY_EVENTS_NOTED_MAX;

impl Run<'_> {
    /// Writes one event. No deadline is judged: nothing that is due depends on a note.
    ///
    /// A legal hold fits into every history: what must be kept does not depend on how much has happened.
    pub(super) fn annotate(
        mut self,
        annotation: &Annotation,
        by: &str,
    ) -> Result<Applied, Refusal> {
        let is_hold = matches!(
            annotation,
            Annotation::LegalHoldPlaced | Annotation::LegalHoldReleased
        );
        if !is_hold && HISTORY_EVENTS_NOTED_MAX <= self.state.n_events {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::limits::{HISTORY_EVENTS_MAX, HISTORY_EVENTS_NOTED_MAX};
    use crate::{Annotation, Command, Definition, Env, Origin, Refusal, State, apply};

    const ENV: Env = Env {
        now_ms: 1_000,
        seed: 1,
    };

    fn definition() -> Definition {
        let document =
            json!({"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 9, "End": true}}});
        Definition::parse_states(&document).expect("it is a definition")
    }

    fn waiting_after(n_events: u64) -> State {
        let start = Command::Start {
            workflow: "wf_1".to_owned(),
            definition: "waits".to_owned(),
            version: 1,
            input: json!({}).into(),
            origin: Origin::default(),
        };
        let applied = apply(&definition(), None, &start, &ENV).expect("it starts");
        let mut state = applied.state;
        state.n_events = n_events;
        state
    }

    fn note(state: State, annotation: Annotation) -> Result<State, Refusal> {
        let by = "ops".to_owned();
        let command = Command::Annotate { annotation, by };
        apply(&definition(), Some(state), &command, &ENV).map(|it| it.state)
    }

    #[test]
    fn changes_of_attributes_end_before_the_history_of_the_workflow_does() {
        let changed = || Annotation::SearchAttributesChanged { names: Vec::new() };
        let last = HISTORY_EVENTS_NOTED_MAX - 1;
        let state = note(waiting_after(last), changed()).expect("there is room");
        assert_eq!(note(state, changed()), Err(Refusal::HistoryFull));
    }

    #[test]
    fn a_legal_hold_is_placed_however_full_the_history_is() {
        let state = waiting_after(HISTORY_EVENTS_MAX);
        let state = note(state, Annotation::LegalHoldPlaced).expect("it is always possible");
        assert!(note(state, Annotation::LegalHoldReleased).is_ok());
    }
}
