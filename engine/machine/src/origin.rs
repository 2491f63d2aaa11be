//! Where a workflow comes from, when it was not a caller who started it.

use serde::{Deserialize, Serialize};

/// Who has started a workflow, other than a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The task that waits for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// How many workflows are above it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// The run that it goes on from, by `BTrust.ContinueAsNew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_from: Option<String>,
    /// How many runs have gone before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub run: u32,
    /// The schedule that has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

/// The attempt of a task that a child is run for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parent {
    pub workflow: String,
    pub task: u32,
    pub attempt: u32,
    pub on_close: OnParentClose,
}

/// What becomes of a child that nobody waits for any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnParentClose {
    /// It is cancelled, as a caller would cancel it.
    #[default]
    Cancel,
    /// It goes on by itself.
    Abandon,
    /// It ends at once.
    Terminate,
}

impl OnParentClose {
    /// What `Arguments` spell, if any.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "cancel" => Some(Self::Cancel),
            "abandon" => Some(Self::Abandon),
            "terminate" => Some(Self::Terminate),
            _ => None,
        }
    }
}

impl Origin {
    /// Whether a caller has started the workflow.
    #[must_use]
    pub fn is_caller(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it by reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
