//! What one workflow has to tell another one.
//!
//! A message is part of the sender's snapshot from the commit that it follows from until the receiver
//! has taken it; the engine delivers it in between, as often as it takes. Whoever receives it may get
//! it several times, and only the first time changes anything.

use serde::{Deserialize, Serialize};

use crate::origin::{OnParentClose, Origin};
use crate::payload::Payload;
use crate::state::{State, Status};

/// A message that has not been taken yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owed {
    /// Counts the messages of the sender, from 1.
    pub number: u32,
    /// The workflow that it is for.
    pub to: String,
    /// It is not delivered before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<i64>,
    pub message: Message,
}

/// What the receiver is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Message {
    /// It begins: as a child, or as the next run.
    Start {
        definition: String,
        /// The live one when there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
        input: Payload,
        origin: Box<Origin>,
    },
    /// Its child has ended; how, the sender's snapshot says: [`State::end_as_child`].
    Ended { task: u32, attempt: u32 },
    /// Its child goes on as another workflow.
    Continued {
        task: u32,
        attempt: u32,
        next: String,
        /// How many runs have gone before that one; 0 where the sender did not say.
        #[serde(default)]
        run: u32,
        on_close: OnParentClose,
    },
    /// Nobody waits for it any more.
    Close { terminate: bool },
}

/// How a child has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildEnd {
    pub workflow: String,
    pub status: Status,
    pub decision: Option<String>,
    pub output: Option<Payload>,
    pub error: Option<String>,
    pub cause: Option<String>,
}

impl State {
    /// What other workflows have not been told yet, in the order in which they have to be.
    #[must_use]
    pub fn owed(&self) -> &[Owed] {
        &self.owed
    }

    /// Who has started the workflow.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The workflow that goes on from this one.
    #[must_use]
    pub fn continued_as(&self) -> Option<&str> {
        self.closed.as_ref()?.continued_as.as_deref()
    }

    /// The children that the workflow waits for and that it knows to have begun.
    #[must_use]
    pub fn children(&self) -> Vec<&str> {
        let children = self.tasks().filter_map(|it| it.child.as_ref());
        children
            .filter(|it| it.is_started)
            .map(|it| it.workflow.as_str())
            .collect()
    }

    /// How the workflow has ended, as its parent is told.
    #[must_use]
    pub fn end_as_child(&self) -> Option<ChildEnd> {
        let closing = self.closed.as_ref()?;
        Some(ChildEnd {
            workflow: self.workflow.clone(),
            status: self.status,
            decision: closing.decision.clone(),
            output: closing.output.clone(),
            error: closing.error.clone(),
            cause: closing.cause.clone(),
        })
    }
}
