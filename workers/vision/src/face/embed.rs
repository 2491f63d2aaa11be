//! Whose face it might be: alignment, `SFace` embedding and comparison.

use crate::{
    face::Face,
    geometry::{Point, Transform},
    models::Role,
    picture::{Picture, Planes},
    session::{Vision, VisionError},
};

/// Similarity at or above which two faces are one person's, in `[-1, 1]`.
///
/// Source: measured with this model, 570 pairs of different people reach .455
/// at most and 8 pairs of one person .611 at least; this is the middle. These
/// are counts on a small set, not a certified false-match rate.
pub const MATCH_MIN: f32 = 0.53;
/// Similarity below which two faces are not one person's; between this and
/// [`MATCH_MIN`] a person decides.
///
/// Source: the model's published best-accuracy point on LFW. Of the 570 pairs
/// of different people 99% stay below .315, and no pair of one person came
/// below .611, so what is refused here is no doubtful case.
pub const UNCERTAIN_MIN: f32 = 0.363;

/// Side in pixels of the aligned face that the model reads.
const ALIGNED_SIDE: u32 = 112;
/// Where the five points lie in an aligned face. Source: the `ArcFace` template
/// that the model was trained with.
const TEMPLATE: [Point; 5] = [
    Point::new(38.2946, 51.6963),
    Point::new(73.5318, 51.5014),
    Point::new(56.0252, 71.7366),
    Point::new(41.5493, 92.3655),
    Point::new(70.7299, 92.2041),
];
const WRONG_SHAPE: VisionError = VisionError::Shape {
    role: Role::FaceEmbedding,
    expected: "128 numbers",
};

/// A face as 128 numbers of unit length. A biometric template: never logged,
/// never sent to a browser.
#[derive(Clone, PartialEq)]
pub struct Embedding([f32; 128]);

impl std::fmt::Debug for Embedding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedding(..)")
    }
}

impl Embedding {
    /// Scales numbers to unit length.
    ///
    /// `None` if they have no length.
    #[must_use]
    pub fn new(values: [f32; 128]) -> Option<Self> {
        let length = values.iter().map(|it| it * it).sum::<f32>().sqrt();
        (length.is_finite() && f32::EPSILON < length).then(|| Self(values.map(|it| it / length)))
    }

    #[must_use]
    pub fn values(&self) -> &[f32; 128] {
        &self.0
    }
}

/// What a similarity means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    Match,
    Uncertain,
    NoMatch,
}

/// Judges a similarity by [`MATCH_MIN`] and [`UNCERTAIN_MIN`].
#[must_use]
pub fn decide(similarity: f32) -> Match {
    if MATCH_MIN <= similarity {
        Match::Match
    } else if UNCERTAIN_MIN <= similarity {
        Match::Uncertain
    } else {
        Match::NoMatch
    }
}

/// Cuts a face out so that its five points lie where the model expects them.
///
/// `None` if the points coincide.
#[must_use]
pub fn align(picture: &Picture, face: &Face) -> Option<Picture> {
    let to_source = Transform::fit_similarity(&face.points, &TEMPLATE)?.inverse()?;
    Some(picture.warp(&to_source, ALIGNED_SIDE, ALIGNED_SIDE))
}

/// Turns a face into numbers that are near for pictures of one person.
///
/// # Errors
///
/// The model cannot be loaded or run.
pub fn embed(vision: &Vision, picture: &Picture, face: &Face) -> Result<Embedding, VisionError> {
    let model = vision.model(Role::FaceEmbedding)?;
    let aligned = align(picture, face).ok_or(WRONG_SHAPE)?;
    let outputs = model.run(&[aligned.to_tensor(Planes::Rgb, [0.0; 3], [1.0; 3])])?;
    let values = outputs
        .first()
        .and_then(|it| it.data.as_slice().try_into().ok());
    values.and_then(Embedding::new).ok_or(WRONG_SHAPE)
}

/// The cosine similarity of two faces, in `[-1, 1]`.
#[must_use]
pub fn compare(a: &Embedding, b: &Embedding) -> f32 {
    a.0.iter()
        .zip(&b.0)
        .map(|(a, b)| a * b)
        .sum::<f32>()
        .clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Manifest,
        face::{DETECT_SIDE, detect},
        testing,
    };

    fn embedding(picture: &Picture) -> Embedding {
        let vision = testing::vision();
        let faces = detect(&vision, picture, DETECT_SIDE).unwrap();
        embed(&vision, picture, faces.first().expect("a face")).unwrap()
    }

    #[test]
    fn a_similarity_between_the_thresholds_is_left_to_a_person() {
        assert_eq!(decide(0.9), Match::Match);
        assert_eq!(decide(MATCH_MIN), Match::Match);
        assert_eq!(decide(0.455), Match::Uncertain);
        assert_eq!(decide(0.315), Match::NoMatch);
    }

    #[test]
    fn the_same_photo_matches_itself_darker_smaller_and_turned() {
        let picture = Manifest::shipped()
            .demo_picture(&testing::models_dir(), Role::DemoApplicant)
            .unwrap();
        let turn = Transform::similarity(1.6, 0.2, -40.0, -80.0);
        let darker: Vec<u8> = picture.rgb().iter().map(|it| it / 2 + it / 8).collect();
        let other = Picture::from_rgb(picture.width(), picture.height(), darker)
            .unwrap()
            .warp(&turn, 320, 320);
        let similarity = compare(&embedding(&picture), &embedding(&other));
        println!("similarity {similarity}");
        assert_eq!(decide(similarity), Match::Match, "{similarity}");
    }

    #[test]
    fn the_two_demo_people_do_not_match() {
        let picture = |role| {
            Manifest::shipped()
                .demo_picture(&testing::models_dir(), role)
                .unwrap()
        };
        let (a, b) = (picture(Role::DemoApplicant), picture(Role::DemoOther));
        let similarity = compare(&embedding(&a), &embedding(&b));
        println!("similarity {similarity}");
        assert_eq!(decide(similarity), Match::NoMatch, "{similarity}");
    }

    #[test]
    fn people_of_the_measuring_set_match_themselves_only() {
        let names = [
            "person_a_1",
            "person_a_2",
            "person_b_1",
            "person_b_2",
            "impostor_1",
            "impostor_2",
        ];
        let mut embeddings = Vec::new();
        for name in names {
            let Some(picture) = testing::photograph(&format!("{name}.jpg")) else {
                return;
            };
            embeddings.push((&name[..name.len() - 1], embedding(&picture)));
        }
        for (index, (a, first)) in embeddings.iter().enumerate() {
            for (b, second) in &embeddings[index + 1..] {
                let similarity = compare(first, second);
                let same = a == b && a.starts_with("person");
                println!("{a} {b} {similarity:.3}");
                let expected = if same { Match::Match } else { Match::NoMatch };
                assert_eq!(decide(similarity), expected, "{a} {b} {similarity}");
            }
        }
    }
}
