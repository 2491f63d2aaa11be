//! What the engine seals, and what each sealed text is bound to.

use btrust_machine::{Event, State};
use btrust_platform::sealing::{Sealer, aad};
use btrust_schemas::ids::WorkflowId;

/// What a sealed text is; part of what it is bound to, so that one is never taken for the other.
#[derive(Clone, Copy)]
enum Kind {
    Snapshot,
    Events,
}

/// A sealed text that does not open or does not read.
#[derive(Debug, thiserror::Error)]
#[error("the sealed {what} of {workflow} cannot be read")]
pub struct Unreadable {
    pub what: &'static str,
    pub workflow: WorkflowId,
}

/// Whose text it is and which one: what every sealed text is bound to.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    pub tenant: &'a str,
    pub workflow: WorkflowId,
    /// Number of the last event that the text knows of.
    pub sequence: u64,
}

impl Binding<'_> {
    fn aad(self, kind: Kind) -> Vec<u8> {
        let kind = match kind {
            Kind::Snapshot => "btrust snapshot 1",
            Kind::Events => "btrust events 1",
        };
        let (workflow, sequence) = (self.workflow.to_string(), self.sequence.to_string());
        aad(&[kind, self.tenant, &workflow, &sequence])
    }
}

/// Seals a snapshot.
pub fn seal_state(sealer: &Sealer, binding: Binding<'_>, state: &State) -> Vec<u8> {
    let text = serde_json::to_vec(state).expect("a state is plain JSON");
    sealer.seal(&binding.aad(Kind::Snapshot), &text)
}

/// Opens a snapshot.
///
/// # Errors
///
/// [`Unreadable`]: it was changed, belongs elsewhere, or is of a format this program does not know.
pub fn open_state(sealer: &Sealer, binding: Binding<'_>, text: &[u8]) -> Result<State, Unreadable> {
    let unreadable = || Unreadable {
        what: "snapshot",
        workflow: binding.workflow,
    };
    let plain = sealer
        .open(&binding.aad(Kind::Snapshot), text)
        .map_err(|_| unreadable())?;
    serde_json::from_slice(&plain).map_err(|_| unreadable())
}

/// Seals the events of one commit.
pub fn seal_events(sealer: &Sealer, binding: Binding<'_>, events: &[Event]) -> Vec<u8> {
    let text = serde_json::to_vec(events).expect("events are plain JSON");
    sealer.seal(&binding.aad(Kind::Events), &text)
}

/// Opens the events of one commit.
///
/// # Errors
///
/// [`Unreadable`], as for a snapshot.
pub fn open_events(
    sealer: &Sealer,
    binding: Binding<'_>,
    text: &[u8],
) -> Result<Vec<Event>, Unreadable> {
    let unreadable = || Unreadable {
        what: "history",
        workflow: binding.workflow,
    };
    let plain = sealer
        .open(&binding.aad(Kind::Events), text)
        .map_err(|_| unreadable())?;
    serde_json::from_slice(&plain).map_err(|_| unreadable())
}
