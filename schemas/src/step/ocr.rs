//! `kyc:ocr`: reads an identity document and says what of it is proven.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Declares, ModelUse};
use crate::object::ObjectRef;

pub const ACCEPTED: &str = "accepted";
pub const REJECTED: &str = "rejected";
pub const EXPIRED_DOCUMENT: &str = "expired_document";
pub const UNREADABLE: &str = "unreadable";
pub const EXPIRED: &str = "expired";

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// Pictures that may be sent before the step gives up; 3 when absent.
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: Option<u32>,
    /// How long each question stays open, seconds; an hour when absent.
    #[schemars(range(min = 1, max = 2_592_000))]
    pub ttl_seconds: Option<u32>,
    /// Years; a younger holder is rejected with `too_young`.
    #[schemars(range(min = 0, max = 120))]
    pub minimum_age: Option<u32>,
    /// Classes of documents that prove who somebody is; passports and identity cards when absent, never a visa unless
    /// it is listed.
    #[schemars(length(min = 1))]
    pub document_types: Option<Vec<DocumentType>>,
    /// ICAO codes of states whose documents count; all when absent.
    pub issuing_states: Option<Vec<String>>,
}

/// A class of documents, as `documentClass` of the output says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentType {
    Passport,
    IdCard,
    Visa,
}

impl DocumentType {
    /// What counts where the definition does not say.
    pub const DEFAULT: &'static [Self] = &[Self::Passport, Self::IdCard];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passport => "passport",
            Self::IdCard => "id-card",
            Self::Visa => "visa",
        }
    }
}

/// Prompt kinds `document-front` and `document-back`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prompt {
    /// Why it asks again: `too_blurry`, `glare`, `too_dark`, `too_small`, `cropped`, `no_document`, `mrz_unreadable`, ...
    pub reasons: Vec<String>,
    pub attempts_left: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submission {
    pub picture: ObjectRef,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    pub value: String,
    /// `mrz`, `printed` or `both` when they agree.
    pub source: String,
    /// In `[0, 1]`.
    pub confidence: f32,
    /// Whether a check digit proves the value.
    pub protected: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// `mrz_document_number`, `not_expired`, `mrz_matches_printed_name`, ...
    pub code: String,
    /// Absent when it could not be judged.
    pub passed: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mrz {
    /// `TD1`, `TD2`, `TD3`, `MRV-A`, `MRV-B`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Every check digit of the type holds.
    pub valid: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// `passport`, `id-card`, `visa`.
    pub document_class: Option<String>,
    /// `surname`, `givenNames`, `documentNumber`, `nationality`, `issuingState`, `dateOfBirth`, `dateOfExpiry`, `sex`, ...; dates as `YYYY-MM-DD`.
    pub fields: BTreeMap<String, Field>,
    pub mrz: Option<Mrz>,
    pub checks: Vec<Check>,
    /// Why it was rejected, expired or unreadable.
    pub reasons: Vec<String>,
    /// The picture of the page that was read last, for the people who review.
    pub page: Option<ObjectRef>,
    /// The holder's picture cut out of the page.
    pub portrait: Option<ObjectRef>,
    /// Sharpness, glare and light of the page, each with its unit in the name.
    pub quality: BTreeMap<String, f32>,
    /// A value without check digit disagrees or is missing: a person must look.
    pub needs_review: bool,
    /// The document says of itself that it is a specimen.
    pub specimen: bool,
    pub n_pictures: u32,
    pub models: Vec<ModelUse>,
}

pub(super) struct Ocr;

impl Declares for Ocr {
    const STEP: &'static str = "ocr";
    const OUTCOMES: &'static [&'static str] =
        &[ACCEPTED, REJECTED, EXPIRED_DOCUMENT, UNREADABLE, EXPIRED];
    type Arguments = Arguments;
    type Prompt = Prompt;
    type Submission = Submission;
    type Output = Output;
}
