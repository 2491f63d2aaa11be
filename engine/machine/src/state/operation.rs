//! What operators and senders of signals have left in a snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{OpenTask, Phase, Position, State, Thread, Visit};
use crate::payload::Payload;

/// A workflow that ends when what is under way has ended, and what it has done is undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cancelling {
    pub reason: Option<String>,
    pub by: Option<String>,
    /// When what is under way is waited for no longer; `None` while what was done is undone.
    pub until_ms: Option<i64>,
}

/// What a branch does when it may go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "then",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Held {
    /// It enters a state.
    Enter { state: String, input: Payload },
    /// It hands the outputs of its `Map` to the writer.
    Write { visit: Visit, results: Payload },
    /// It ends the workflow well.
    Succeed { output: Payload },
    /// It fails the workflow.
    Fail { error: String, cause: String },
    /// It undoes what is left of what it has done.
    Undo,
    /// Nothing: its workflow ends.
    Nothing,
}

/// Where a workflow stood when it did not end well, so that it can go on from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wreck {
    /// Every branch as it was; those that were under way are held.
    pub threads: BTreeMap<u32, Thread>,
    /// What the end has taken from its branches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forfeited: Vec<String>,
}

/// A signal that nobody has waited for yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EarlySignal {
    pub name: String,
    pub payload: Payload,
}

/// The idempotency key of a signal that has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SignalKey {
    pub key: String,
    pub digest: String,
}

impl State {
    /// The names of the signals that states wait for, by task.
    #[must_use]
    pub fn awaited_signals(&self) -> Vec<&str> {
        self.tasks().filter_map(|it| it.signal.as_deref()).collect()
    }

    /// Whether nothing new begins and no time is judged until somebody resumes the workflow.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the workflow will be cancelled when what is under way has ended.
    #[must_use]
    pub fn is_cancelling(&self) -> bool {
        self.cancelling.is_some() && !self.status.is_closed()
    }

    /// Whether turns that are open now are still waited for, but not to be handed out any more.
    #[must_use]
    pub fn is_in_grace(&self) -> bool {
        self.grace_until_ms().is_some()
    }

    /// How often the workflow went on from where it had failed.
    #[must_use]
    pub fn n_redrives(&self) -> u32 {
        self.n_redrives
    }

    /// The latest workflow that was started with the input of this one.
    #[must_use]
    pub fn restarted_as(&self) -> Option<&str> {
        self.restarted_as.as_deref()
    }

    /// Until when what is under way is waited for, in a workflow that is being cancelled.
    pub(crate) fn grace_until_ms(&self) -> Option<i64> {
        self.cancelling.as_ref()?.until_ms
    }

    /// The branch whose task has waited longest for this signal.
    pub(crate) fn thread_of_signal(&self, name: &str) -> Option<u32> {
        let waiting = self
            .threads
            .iter()
            .filter_map(|(id, it)| match &it.position {
                Position::Task(open) if open.signal.as_deref() == Some(name) => {
                    Some((open.task, *id))
                }
                _ => None,
            });
        waiting.min().map(|(_, id)| id)
    }
}

impl OpenTask {
    /// Whether somebody may be at work for it: a worker, whoever has its token, or a child that has begun.
    pub(crate) fn is_under_way(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Open { .. }) && !self.is_stuck;
        let has_child = self.child.as_ref().is_some_and(|it| it.is_started);
        is_open || self.token.is_some() || has_child
    }
}
