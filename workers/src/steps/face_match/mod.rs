//! `kyc:face-match`: whether two pictures show the same face; never asks.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use btrust_schemas::step::face_match::{
    Arguments, MATCH, NO_FACE, NO_MATCH, Output, Thresholds, UNCERTAIN,
};
use btrust_schemas::turn::{TurnInput, TurnResult};
use btrust_vision::face::{
    DETECT_SIDE, Embedding, MATCH_MIN, Match, UNCERTAIN_MIN, compare, decide, detect, embed,
};
use btrust_vision::{Picture, Role, Vision, VisionError};

use super::evidence::{model_fault, models_used};
use crate::runtime::{Context, Fault, Step, arguments, complete};

/// Turns at once; each holds two decoded pictures while it has a core.
const IN_FLIGHT_MAX: u32 = 4;
/// The models that a comparison runs.
pub const ROLES: &[Role] = &[Role::FaceDetection, Role::FaceEmbedding];

pub struct FaceMatch {
    vision: Arc<Vision>,
}

impl FaceMatch {
    #[must_use]
    pub fn new(vision: Arc<Vision>) -> Self {
        Self { vision }
    }
}

#[async_trait]
impl Step for FaceMatch {
    fn name(&self) -> &'static str {
        "face-match"
    }

    fn in_flight_max(&self) -> u32 {
        IN_FLIGHT_MAX
    }

    async fn turn(&self, context: &Context, input: TurnInput) -> Result<TurnResult, Fault> {
        let Arguments { portrait, selfie } = arguments(&input)?;
        let portrait = context.read(&portrait).await?;
        let selfie = context.read(&selfie).await?;
        let vision = Arc::clone(&self.vision);
        let compared = context
            .compute(move || compare_pictures(&vision, &portrait, &selfie))
            .await?;
        let output = compared.map_err(|error| model_fault(&error))?;
        complete(outcome(output.score), &output)
    }
}

fn outcome(score: Option<f32>) -> &'static str {
    match score.map(decide) {
        None => NO_FACE,
        Some(Match::Match) => MATCH,
        Some(Match::Uncertain) => UNCERTAIN,
        Some(Match::NoMatch) => NO_MATCH,
    }
}

/// Compares the largest faces of two encoded pictures.
fn compare_pictures(
    vision: &Vision,
    portrait: &Bytes,
    selfie: &Bytes,
) -> Result<Output, VisionError> {
    let mut no_face_in = Vec::new();
    let mut faces = Vec::new();
    for (name, bytes) in [("portrait", portrait), ("selfie", selfie)] {
        match largest_face(vision, bytes)? {
            Some(embedding) => faces.push(embedding),
            None => no_face_in.push(name.to_owned()),
        }
    }
    let score = match faces.as_slice() {
        [portrait, selfie] => Some(compare(portrait, selfie)),
        _ => None,
    };
    let thresholds = Thresholds {
        match_min: MATCH_MIN,
        uncertain: UNCERTAIN_MIN,
    };
    Ok(Output {
        score,
        thresholds,
        no_face_in,
        models: models_used(vision, ROLES)?,
    })
}

/// `None` where there is no face, and where the bytes are no picture: that is what the evidence is.
fn largest_face(vision: &Vision, bytes: &Bytes) -> Result<Option<Embedding>, VisionError> {
    let Ok(picture) = Picture::decode(bytes) else {
        return Ok(None);
    };
    let faces = detect(vision, &picture, DETECT_SIDE)?;
    faces
        .first()
        .map(|face| embed(vision, &picture, face))
        .transpose()
}

#[cfg(test)]
mod tests {
    use btrust_schemas::object::ObjectRef;
    use btrust_vision::Manifest;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Bench, completed, models_dir, vision};

    /// Stores two pictures as a workflow's evidence and compares them.
    async fn check(portrait: Picture, selfie: Picture) -> (String, Value) {
        let bench = Bench::new().await;
        let portrait = stored(&bench, &portrait).await;
        let selfie = stored(&bench, &selfie).await;
        let step = FaceMatch::new(vision());
        completed(
            bench
                .first(&step, json!({ "portrait": portrait, "selfie": selfie }))
                .await,
        )
    }

    async fn stored(bench: &Bench, picture: &Picture) -> ObjectRef {
        bench.store("image/jpeg", picture.to_jpeg(90)).await
    }

    fn person(role: Role) -> Picture {
        Manifest::shipped()
            .demo_picture(&models_dir(), role)
            .expect("a fetched demo picture")
    }

    #[tokio::test]
    async fn a_person_matches_a_smaller_picture_of_their_own() {
        let applicant = person(Role::DemoApplicant);
        let smaller = applicant.resize(applicant.width() / 2, applicant.height() / 2);
        let (outcome, output) = check(smaller, applicant).await;
        assert_eq!(outcome, MATCH);
        assert!(
            f64::from(MATCH_MIN) <= output["score"].as_f64().unwrap(),
            "{output}"
        );
        let models = output["models"].as_array().unwrap();
        assert_eq!(models.len(), 2);
        assert!(
            models
                .iter()
                .all(|it| it["sha256"].as_str().unwrap().len() == 64)
        );
    }

    #[tokio::test]
    async fn another_person_does_not_match() {
        let (outcome, output) = check(person(Role::DemoApplicant), person(Role::DemoOther)).await;
        assert_ne!(outcome, MATCH, "{output}");
        assert_ne!(outcome, NO_FACE, "{output}");
    }

    #[tokio::test]
    async fn a_picture_without_a_face_is_named() {
        let blank = Picture::filled(400, 400, [200; 3]);
        let (outcome, output) = check(person(Role::DemoApplicant), blank).await;
        assert_eq!(
            (outcome.as_str(), &output["noFaceIn"]),
            (NO_FACE, &json!(["selfie"]))
        );
        assert_eq!(output["score"], Value::Null);
    }

    #[tokio::test]
    async fn an_object_that_is_gone_is_an_error_and_no_outcome() {
        let bench = Bench::new().await;
        let mut portrait = bench.store("image/jpeg", vec![1, 2, 3]).await;
        portrait.sha256 = "0".repeat(64);
        let step = FaceMatch::new(vision());
        let fault = bench
            .first(&step, json!({ "portrait": portrait, "selfie": portrait }))
            .await
            .unwrap_err();
        assert!(
            matches!(
                fault,
                Fault::Failed {
                    error: "BTrust.EvidenceUnreadable",
                    ..
                }
            ),
            "{fault:?}"
        );
    }
}
