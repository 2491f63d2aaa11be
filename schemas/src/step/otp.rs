//! `kyc:otp`: a one-time code to a phone or mailbox proves who holds it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Declares;

pub const VERIFIED: &str = "verified";
pub const LOCKED: &str = "locked";
pub const UNDELIVERABLE: &str = "undeliverable";
pub const EXPIRED: &str = "expired";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Channel {
    Sms,
    Email,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// In the order in which they are tried.
    #[schemars(length(min = 1, max = 2))]
    pub channels: Vec<Channel>,
    /// E.164.
    pub phone: Option<String>,
    pub email: Option<String>,
    /// What the proof is for; guesses are counted per subject and purpose. `contact` when absent.
    #[schemars(length(min = 1, max = 64))]
    pub purpose: Option<String>,
    /// Guesses before the lock, 1 to 5; 5 when absent.
    #[schemars(range(min = 1, max = 5))]
    pub max_attempts: Option<u32>,
    /// Life of a code, seconds; 300 for a phone and 600 for a mailbox when absent, and at most.
    #[schemars(range(min = 30, max = 600))]
    pub ttl_seconds: Option<u32>,
    /// Calling codes that a number may have (`+972`); all when absent.
    pub countries: Option<Vec<String>>,
}

/// Prompt kind `otp-code`. The same for a number that exists and one that does not.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    pub channel: Channel,
    /// Enough to recognise one's own number, not more.
    pub destination_masked: String,
    pub code_length: u32,
    pub attempts_left: u32,
    /// Why it asks again: `wrong_code`, `resent`, `resend_too_early`, `no_sends_left`, `code_expired`, `failed_over`.
    pub reason: Option<String>,
    /// RFC 3339; absent when no send is left.
    pub resend_after: Option<String>,
    pub sends_left: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "camelCase", deny_unknown_fields)]
pub enum Submission {
    Answer {
        #[schemars(length(min = 1, max = 16))]
        code: String,
    },
    Resend,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    pub channel: Option<Channel>,
    pub destination_masked: Option<String>,
    /// Who carried the last message: `outbox`, `smtp`, ...
    pub provider: Option<String>,
    pub n_sends: u32,
    pub n_guesses: u32,
    /// RFC 3339; only with `verified`.
    pub verified_at: Option<String>,
    /// RFC 3339; only with `locked`.
    pub locked_until: Option<String>,
}

pub(super) struct Otp;

impl Declares for Otp {
    const STEP: &'static str = "otp";
    const OUTCOMES: &'static [&'static str] = &[VERIFIED, LOCKED, UNDELIVERABLE, EXPIRED];
    type Arguments = Arguments;
    type Prompt = Prompt;
    type Submission = Submission;
    type Output = Output;
}
