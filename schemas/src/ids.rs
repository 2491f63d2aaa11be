//! Identifiers that carry where their thing lives, so that no lookup is needed to route them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

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

/// Bytes of an id before its partition: when the workflow was started, ms since the epoch.
///
/// What runs at the same time so lies together in every index, however many workflows have ended.
const TIME_BYTES: usize = 6;
/// Random bytes of an id.
///
/// Source: 72 bits; two of a million starts in the same millisecond and partition meet once in 10^10 times.
pub const RANDOM_BYTES: usize = 9;

/// The time of ids that are no workflow's but an act log's: no workflow starts in the year 10889.
const LOG_TIME: [u8; TIME_BYTES] = [0xff; TIME_BYTES];

/// One running or closed workflow: `wf_` and 32 hex digits, 12 of which are the time of its start, 2 its
/// partition, and 18 random.
///
/// What has an audit log and is no workflow has such an id too: the act log of a tenant, `log_` and 31 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct WorkflowId([u8; 16]);

/// An id as text, without an allocation: ids are written a score of times at every step.
struct Text([u8; 35]);

impl Text {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

impl WorkflowId {
    /// Builds the id of a workflow that starts in `partition` at `at_ms`.
    #[must_use]
    pub fn started(partition: u8, at_ms: i64, random: [u8; RANDOM_BYTES]) -> Self {
        let mut rest = [0; 15];
        rest[..TIME_BYTES].copy_from_slice(&at_ms.to_be_bytes()[2..]);
        rest[TIME_BYTES..].copy_from_slice(&random);
        Self::new(partition, rest)
    }

    /// Builds an id in `partition` from the 15 bytes around it.
    #[must_use]
    pub fn new(partition: u8, rest: [u8; 15]) -> Self {
        let mut bytes = [partition; 16];
        bytes[..TIME_BYTES].copy_from_slice(&rest[..TIME_BYTES]);
        bytes[TIME_BYTES + 1..].copy_from_slice(&rest[TIME_BYTES..]);
        Self(bytes)
    }

    /// The shard whose single writer owns this workflow.
    #[must_use]
    pub const fn partition(self) -> u8 {
        self.0[TIME_BYTES]
    }

    /// Builds the id of the act log in `partition` that is told from others by `rest`.
    #[must_use]
    pub fn act_log(partition: u8, rest: [u8; RANDOM_BYTES]) -> Self {
        let mut bytes = [partition; 16];
        bytes[..TIME_BYTES].copy_from_slice(&LOG_TIME);
        bytes[TIME_BYTES + 1..].copy_from_slice(&rest);
        Self(bytes)
    }

    /// Whether this is an act log and no workflow.
    #[must_use]
    pub fn is_act_log(self) -> bool {
        self.0.starts_with(&LOG_TIME)
    }

    fn text(self) -> Text {
        let mut text = [0; 35];
        if self.is_act_log() {
            // The first digit is the same in all of them.
            text[3..].copy_from_slice(self.hex().as_bytes());
            text[..4].copy_from_slice(b"log_");
            return Text(text);
        }
        text[..3].copy_from_slice(b"wf_");
        hex::encode_to_slice(self.0, &mut text[3..]).expect("there is room for 32 digits");
        Text(text)
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

/// By partition first, so that a range of ids can be one partition; then as the text orders them.
impl Ord for WorkflowId {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.partition(), self.0).cmp(&(other.partition(), other.0))
    }
}

impl PartialOrd for WorkflowId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text().as_str())
    }
}

impl Serialize for WorkflowId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text().as_str())
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
        let id = match text.strip_prefix("log_") {
            Some(digits) => Self::from_hex(&format!("f{digits}")).filter(|it| it.is_act_log()),
            None => text
                .strip_prefix("wf_")
                .and_then(Self::from_hex)
                .filter(|it| !it.is_act_log()),
        };
        id.ok_or(ParseIdError {
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
                let mut digits = [0; 32];
                hex::encode_to_slice(self.workflow.0, &mut digits).expect("there is room for 32 digits");
                let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
                write!(f, "{}{digits}{:08x}", $prefix, self.number)
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
    fn a_later_start_has_a_greater_text_whatever_its_partition() {
        let early = WorkflowId::started(255, 1_700_000_000_000, [255; RANDOM_BYTES]);
        let late = WorkflowId::started(0, 1_700_000_000_001, [0; RANDOM_BYTES]);
        assert!(early.to_string() < late.to_string());
        assert!(late < early, "a partition is a range of ids");
        assert_eq!((early.partition(), late.partition()), (255, 0));
    }

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
    fn an_act_log_is_told_from_every_workflow() {
        let log = WorkflowId::act_log(0xab, [7; RANDOM_BYTES]);
        assert_eq!(log.to_string(), "log_fffffffffffab070707070707070707");
        assert_eq!((log.to_string().len(), log.partition()), (35, 0xab));
        assert!(log.is_act_log() && !WorkflowId::new(0xab, [7; 15]).is_act_log());
        assert_eq!(log.to_string().parse(), Ok(log));
        for text in [
            format!("wf_{}", log.hex()),
            format!("log_{}", &WorkflowId::new(1, [7; 15]).hex()[1..]),
        ] {
            assert!(text.parse::<WorkflowId>().is_err(), "{text}");
        }
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
