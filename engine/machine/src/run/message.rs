//! Messages to and from other workflows.

use sha2::{Digest, Sha256};

use super::Run;
use crate::command::{Command, Refusal};
use crate::effect::Effect;
use crate::message::{Message, Owed};
use crate::state::State;

impl Run<'_> {
    /// Adds a message for another workflow.
    pub(super) fn owe(&mut self, to: String, not_before_ms: Option<i64>, message: Message) {
        self.state.n_messages = self.state.n_messages.saturating_add(1);
        let owed = Owed {
            number: self.state.n_messages,
            to,
            not_before_ms,
            message,
        };
        self.effects.push(Effect::Deliver(owed.clone()));
        self.state.owed.push(owed);
    }

    /// Takes what another workflow, or the engine about one, says.
    pub(super) fn hear(&mut self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Delivered { number } => match self.take_owed(*number) {
                Some(Message::Start { origin, .. }) => match &origin.parent {
                    Some(parent) if origin.continued_from.is_none() => self.child_started(parent),
                    _ => Ok(()),
                },
                _ => Ok(()),
            },
            Command::NotStarted {
                number,
                error,
                cause,
            } => match self.take_owed(*number) {
                Some(Message::Start { origin, .. }) => match &origin.parent {
                    Some(parent) if origin.continued_from.is_none() => {
                        self.child_refused(parent, error, cause)
                    }
                    _ => Ok(()),
                },
                _ => Ok(()),
            },
            Command::ChildEnded { task, attempt, end } => self.child_ended(*task, *attempt, end),
            Command::ChildContinued {
                task,
                attempt,
                next,
                run,
                on_close,
            } => self.child_continued((*task, *attempt), (next, *run), *on_close),
            _ => Ok(()),
        }
    }

    fn take_owed(&mut self, number: u32) -> Option<Message> {
        let owed = &mut self.state.owed;
        let index = owed.iter().position(|it| it.number == number)?;
        Some(owed.remove(index).message)
    }
}

impl Command {
    /// Whether it comes from another workflow, or is the engine's word about one. A closed workflow
    /// takes it too.
    #[must_use]
    pub fn is_message(&self) -> bool {
        matches!(
            self,
            Self::Delivered { .. }
                | Self::NotStarted { .. }
                | Self::ChildEnded { .. }
                | Self::ChildContinued { .. }
        )
    }

    /// Whether it is a message that `state` has taken before, or that concerns it no longer.
    pub(super) fn is_known_message(&self, state: &State) -> bool {
        match self {
            Self::Delivered { number } | Self::NotStarted { number, .. } => {
                state.owed.iter().all(|it| it.number != *number)
            }
            Self::ChildEnded { task, attempt, .. } => {
                state.thread_of_child(*task, *attempt).is_none()
            }
            Self::ChildContinued {
                task,
                attempt,
                next,
                run,
                on_close,
            } => state.knows_next((*task, *attempt), (next, *run), *on_close),
            _ => false,
        }
    }
}

/// Digits of an id.
const ID_DIGITS: usize = 32;
/// The first of them: the time of a start.
const TIME_DIGITS: usize = 12;
/// Those of the partition, after the time.
const PARTITION_DIGITS: usize = 2;

/// The id of a workflow that another one starts: the same words make the same id, and no others do.
///
/// It has the time of `starter`, and its partition unless it is `spread` over all.
pub(super) fn derived_id(words: &[&str], starter: &str, spread: bool) -> String {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    let digest = hex::encode(hash.finalize());
    let place_digits = TIME_DIGITS + PARTITION_DIGITS;
    let (own, rest) = digest.split_at(place_digits);
    // A starter that no engine has named has no place.
    let of_starter = starter
        .strip_prefix("wf_")
        .and_then(|it| it.get(..place_digits))
        .unwrap_or(own);
    let time = &of_starter[..TIME_DIGITS];
    let partition = &(if spread { own } else { of_starter })[TIME_DIGITS..];
    format!("wf_{time}{partition}{}", &rest[..ID_DIGITS - place_digits])
}
