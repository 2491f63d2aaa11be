//! Identifiers that carry where their thing lives, so that no lookup is needed to route them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of shards of workflows, each with exactly one writer at a time.
///
/// Source: design decision; one byte of the workflow id.
pub const N_PARTITIONS: u16 = 256;

/// Why a text is not an id of the expected kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an id of the form `{expected}`")]
pub struct ParseIdError {
    expected: &'static str,
}

/// One running or closed workflow: `wf_` and 32 hex digits, the first two of which are its partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct WorkflowId([u8; 16]);

impl WorkflowId {
    /// Builds an id in `partition` from 15 bytes that the caller drew at random.
    #[must_use]
    pub fn new(partition: u8, random: [u8; 15]) -> Self {
        let mut bytes = [partition; 16];
        bytes[1..].copy_from_slice(&random);
        Self(bytes)
    }

    /// The shard whose single writer owns this workflow.
    #[must_use]
    pub const fn partition(self) -> u8 {
        self.0[0]
    }

    /// The 32 hex digits without the prefix.
    #[must_use]
    pub fn hex(self) -> String {
        hex::encode(self.0)
    }

    fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.bytes().any(|it| it.is_ascii_uppercase()) {
            return None;
        }
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wf_{}", self.hex())
    }
}

impl fmt::Debug for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WorkflowId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.strip_prefix("wf_")
            .and_then(Self::from_hex)
            .ok_or(ParseIdError {
                expected: "wf_<32 hex digits>",
            })
    }
}

/// Declares an id made of a workflow and a number that counts from 1 within it.
macro_rules! numbered_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(into = "String", try_from = "String")]
        #[schemars(with = "String")]
        pub struct $name {
            pub workflow: WorkflowId,
            pub number: u32,
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}{:08x}", $prefix, self.workflow.hex(), self.number)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { expected: concat!($prefix, "<40 hex digits>") };
                let digits = text.strip_prefix($prefix).ok_or(error)?;
                let (workflow, number) = digits.split_at_checked(32).ok_or(error)?;
                if number.len() != 8 || !number.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(error);
                }
                Ok(Self {
                    workflow: WorkflowId::from_hex(workflow).ok_or(error)?,
                    number: u32::from_str_radix(number, 16).map_err(|_| error)?,
                })
            }
        }
        text_id!($name);
    };
}

/// Serde by way of the text form.
macro_rules! text_id {
    ($name:ident) => {
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }
    };
}

text_id!(WorkflowId);
numbered_id!(
    /// One scheduled execution of a step for one workflow.
    TaskId,
    "tsk_"
);
numbered_id!(
    /// What stopped a task, or with number 0 a whole workflow, until somebody looks.
    IncidentId,
    "inc_"
);
numbered_id!(
    /// One question to a person.
    PromptId,
    "prm_"
);

/// One uploaded picture: `obj_`, the workflow's 32 hex digits and 16 random ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct ObjectId {
    pub workflow: WorkflowId,
    pub random: [u8; 8],
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "obj_{}{}", self.workflow.hex(), hex::encode(self.random))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = ParseIdError {
            expected: "obj_<48 hex digits>",
        };
        let digits = text.strip_prefix("obj_").ok_or(error)?;
        let (workflow, rest) = digits.split_at_checked(32).ok_or(error)?;
        let mut random = [0; 8];
        if rest.bytes().any(|it| it.is_ascii_uppercase()) {
            return Err(error);
        }
        hex::decode_to_slice(rest, &mut random).map_err(|_| error)?;
        Ok(Self {
            workflow: WorkflowId::from_hex(workflow).ok_or(error)?,
            random,
        })
    }
}
text_id!(ObjectId);

/// What ends a step that waits for it: `tkn_`, the workflow's 32 hex digits, the task's 8 and 32 random ones.
///
/// A secret: whoever sends it back says how the step ends. So `Debug` shows the task only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TaskToken {
    pub task: TaskId,
    random: [u8; 16],
}

impl fmt::Display for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskId { workflow, number } = self.task;
        let random = hex::encode(self.random);
        write!(f, "tkn_{}{number:08x}{random}", workflow.hex())
    }
}

impl fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token of {}", self.task)
    }
}

impl FromStr for TaskToken {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = ParseIdError {
            expected: "tkn_<72 hex digits>",
        };
        let digits = text.strip_prefix("tkn_").ok_or(error)?;
        let (task, rest) = digits.split_at_checked(40).ok_or(error)?;
        let mut random = [0; 16];
        if rest.bytes().any(|it| it.is_ascii_uppercase()) {
            return Err(error);
        }
        hex::decode_to_slice(rest, &mut random).map_err(|_| error)?;
        Ok(Self {
            task: format!("tsk_{task}").parse().map_err(|_| error)?,
            random,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_workflow_and_their_partition() {
        let workflow = WorkflowId::new(0xab, [7; 15]);
        assert_eq!(workflow.partition(), 0xab);
        assert_eq!(workflow.to_string().parse(), Ok(workflow));
        let task = TaskId {
            workflow,
            number: 258,
        };
        assert_eq!(task.to_string(), format!("tsk_{}00000102", workflow.hex()));
        assert_eq!(task.to_string().parse(), Ok(task));
        let object = ObjectId {
            workflow,
            random: [9; 8],
        };
        assert_eq!(object.to_string().parse(), Ok(object));
        let token = TaskToken {
            task,
            random: [5; 16],
        };
        assert_eq!(token.to_string().parse(), Ok(token));
        assert!(!format!("{token:?}").contains("0505"));
    }

    #[test]
    fn a_text_of_another_kind_is_refused() {
        for text in [
            "",
            "wf_",
            "wf_zz",
            "prm_0707",
            "wf_ABababababababababababababababab",
            "tsk_é",
        ] {
            assert!(text.parse::<WorkflowId>().is_err(), "{text}");
            assert!(text.parse::<TaskId>().is_err(), "{text}");
            assert!(text.parse::<ObjectId>().is_err(), "{text}");
            assert!(text.parse::<TaskToken>().is_err(), "{text}");
        }
        let id = PromptId {
            workflow: WorkflowId::new(1, [2; 15]),
            number: 3,
        }
        .to_string();
        assert!(id.parse::<TaskId>().is_err());
        assert!(
            id.replace("00000003", "+0000003")
                .parse::<PromptId>()
                .is_err()
        );
    }
}
