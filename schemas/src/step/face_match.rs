//! `kyc:face-match`: whether two pictures show the same face; never asks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Declares, ModelUse, Never};
use crate::object::ObjectRef;

pub const MATCH: &str = "match";
pub const UNCERTAIN: &str = "uncertain";
pub const NO_MATCH: &str = "no_match";
pub const NO_FACE: &str = "no_face";

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arguments {
    /// The picture of the document.
    pub portrait: ObjectRef,
    /// The picture of the living person.
    pub selfie: ObjectRef,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Thresholds {
    /// Similarity at or above which the outcome is `match`.
    #[serde(rename = "match")]
    pub match_min: f32,
    /// Similarity at or above which the outcome is `uncertain`.
    pub uncertain: f32,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Cosine similarity in `[-1, 1]`; absent without two faces.
    pub score: Option<f32>,
    pub thresholds: Thresholds,
    /// With `no_face`: `portrait`, `selfie` or both.
    pub no_face_in: Vec<String>,
    pub models: Vec<ModelUse>,
}

pub(super) struct FaceMatch;

impl Declares for FaceMatch {
    const STEP: &'static str = "face-match";
    const OUTCOMES: &'static [&'static str] = &[MATCH, UNCERTAIN, NO_MATCH, NO_FACE];
    const ASKS: bool = false;
    type Arguments = Arguments;
    type Prompt = Never;
    type Submission = Never;
    type Output = Output;
}
