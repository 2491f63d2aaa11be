//! Data of the analytics stream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of device an applicant uses, as far as its user agent says; nothing finer is kept.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Device {
    Phone,
    Tablet,
    Desktop,
    /// A person's device that says too little about itself.
    Other,
}

impl Device {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Tablet => "tablet",
            Self::Desktop => "desktop",
            Self::Other => "other",
        }
    }

    /// Reduces a `User-Agent` header.
    ///
    /// Source: what browsers promise, <https://developer.mozilla.org/docs/Web/HTTP/Browser_detection_using_the_user_agent>:
    /// phones say `Mobi`, Android without it is a tablet.
    #[must_use]
    pub fn of_user_agent(text: &str) -> Self {
        let has = |word: &str| text.contains(word);
        if has("iPad") || has("Tablet") || (has("Android") && !has("Mobi")) {
            Self::Tablet
        } else if has("Mobi") || has("iPhone") {
            Self::Phone
        } else if ["Windows NT", "Macintosh", "X11", "CrOS"]
            .into_iter()
            .any(has)
        {
            Self::Desktop
        } else {
            Self::Other
        }
    }
}

/// Data of `com.btrust.workflow.started`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowStarted {
    pub definition: String,
    pub version: i64,
    /// ISO 639 code of the applicant's language, or `other`.
    pub language: String,
    /// Absent until the applicant has answered something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// The workflow that waits for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The workflow that goes on as this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continued_from: Option<String>,
    /// The schedule that has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

/// Data of `com.btrust.step.started`: an attempt was scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepStarted {
    pub definition: String,
    pub version: i64,
    pub language: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Name of the state in the definition.
    pub state: String,
    /// The step with its major version: `kyc:otp@1`.
    pub resource: String,
    /// Counts retries, from 1.
    pub attempt: u32,
}

/// Data of `com.btrust.step.finished`: an attempt has ended, with an outcome or an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepFinished {
    pub definition: String,
    pub version: i64,
    pub language: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    pub state: String,
    pub resource: String,
    /// One of the step's published words; null where the step has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why the attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub attempt: u32,
    /// Turns of the attempt, from 1.
    pub turn: u32,
    /// Since the attempt was scheduled, ms.
    pub duration_ms: i64,
}

/// Data of `com.btrust.workflow.closed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowClosed {
    pub definition: String,
    pub version: i64,
    pub language: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// `succeeded`, `failed`, `timed_out`, `cancelled`, `terminated` or `continued`.
    pub status: String,
    /// `approved`, `rejected`, `referred`, or whatever the definition declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The workflow that goes on in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Since the start, ms.
    pub duration_ms: i64,
}

/// Data of `com.btrust.workflow.redriven`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowRedriven {
    pub definition: String,
    pub version: i64,
    pub language: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Counts redrives, from 1.
    pub redrive: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_agent_is_reduced_to_a_class() {
        for (text, expected) in [
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148",
                Device::Phone,
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/120.0 Mobile Safari/537.36",
                Device::Phone,
            ),
            (
                "Mozilla/5.0 (Linux; Android 13; SM-X200) Chrome/120.0 Safari/537.36",
                Device::Tablet,
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) Mobile/15E148",
                Device::Tablet,
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120.0",
                Device::Desktop,
            ),
            ("curl/8.0", Device::Other),
            ("", Device::Other),
        ] {
            assert_eq!(Device::of_user_agent(text), expected, "{text}");
        }
    }
}
