//! Face detection with `YuNet`: a box and five points for each face.

use crate::{
    geometry::{Point, Rect},
    models::Role,
    picture::{Picture, Planes},
    session::{Tensor, Vision, VisionError},
};

/// Longer side in pixels to which a selfie frame is shrunk before detection: a
/// face that fills a fifth of the frame is 64 pixels, six times what the model
/// needs, at a quarter of the cost of 640.
pub const DETECT_SIDE: u32 = 320;
/// Longer side in pixels for pictures with small faces, such as the portrait
/// on a whole document page. Source: the model was trained at 640.
pub const DETECT_SIDE_FINE: u32 = 640;
/// Score at or above which a candidate is a face, in `[0, 1]`.
///
/// Source: 11 of 11 portraits and 6 of 6 faces of a group photo were found at
/// this threshold with no false face.
pub const FACE_SCORE_MIN: f32 = 0.6;
/// Overlap above which two candidates are one face. Source: the model's
/// published post-processing.
const SAME_FACE_OVERLAP: f64 = 0.3;
/// The model's grids, in pixels a cell; sides must be multiples of the last.
const STRIDES: [u32; 3] = [8, 16, 32];
/// Most faces that are reported, best first; a crowd is no portrait.
const FACES_MAX: usize = 32;

/// One face in a picture; "left" and "right" are the viewer's.
#[derive(Clone, PartialEq, Debug)]
pub struct Face {
    /// In pixels of the whole picture.
    pub bounds: Rect,
    /// The eye at the left of the picture, the other eye, the tip of the nose,
    /// the corner of the mouth at the left, the other corner.
    pub points: [Point; 5],
    /// How sure the detector is, in `[0, 1]`.
    pub score: f32,
}

/// Finds the faces in a picture, largest first.
///
/// `side` is the longer side in pixels at which the model looks.
///
/// # Errors
///
/// The model cannot be loaded or run.
pub fn detect(vision: &Vision, picture: &Picture, side: u32) -> Result<Vec<Face>, VisionError> {
    let model = vision.model(Role::FaceDetection)?;
    let (input, scale) = letterbox(picture, side);
    let (rows, columns) = (input.shape[2], input.shape[3]);
    let outputs = model.run(&[input])?;
    let mut candidates = Vec::new();
    for (level, stride) in STRIDES.iter().enumerate() {
        let cells = (rows / *stride as usize) * (columns / *stride as usize);
        let heads = [level, level + 3, level + 6, level + 9].map(|it| outputs.get(it));
        let [Some(class), Some(object), Some(bounds), Some(points)] = heads else {
            return Err(wrong_shape());
        };
        if [(class, 1), (object, 1), (bounds, 4), (points, 10)]
            .iter()
            .any(|(tensor, width)| tensor.data.len() != cells * width)
        {
            return Err(wrong_shape());
        }
        let head = Head {
            class,
            object,
            bounds,
            points,
            stride: f64::from(*stride),
            columns: columns / *stride as usize,
        };
        head.candidates(scale, &mut candidates);
    }
    Ok(suppress(candidates))
}

fn wrong_shape() -> VisionError {
    VisionError::Shape {
        role: Role::FaceDetection,
        expected: "class, object, box and point maps at strides 8, 16 and 32",
    }
}

/// Shrinks to `side` and pads right and below with black to whole cells;
/// returns the tensor and picture pixels per model pixel.
fn letterbox(picture: &Picture, side: u32) -> (Tensor, f64) {
    let longest = picture.width().max(picture.height());
    let scale = (f64::from(longest) / f64::from(side)).max(1.0);
    let small = picture.fit_within(side);
    let cell = STRIDES[2];
    let (width, height) = (
        small.width().next_multiple_of(cell) as usize,
        small.height().next_multiple_of(cell) as usize,
    );
    let tight = small.to_tensor(Planes::Bgr, [0.0; 3], [1.0; 3]);
    let mut data = vec![0.0; 3 * width * height];
    let lines = tight.data.chunks_exact(small.width() as usize).enumerate();
    for (line, values) in lines {
        let (plane, y) = (
            line / small.height() as usize,
            line % small.height() as usize,
        );
        let start = (plane * height + y) * width;
        data[start..start + values.len()].copy_from_slice(values);
    }
    (
        Tensor {
            shape: vec![1, 3, height, width],
            data,
        },
        scale,
    )
}

/// The outputs of one grid.
struct Head<'a> {
    class: &'a Tensor,
    object: &'a Tensor,
    bounds: &'a Tensor,
    points: &'a Tensor,
    stride: f64,
    columns: usize,
}

impl Head<'_> {
    fn candidates(&self, scale: f64, found: &mut Vec<Face>) {
        for (cell, (class, object)) in self.class.data.iter().zip(&self.object.data).enumerate() {
            let score = (class.clamp(0.0, 1.0) * object.clamp(0.0, 1.0)).sqrt();
            if score < FACE_SCORE_MIN {
                continue;
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "a grid has at most 80 cells a side"
            )]
            let (column, row) = ((cell % self.columns) as f64, (cell / self.columns) as f64);
            let unit = self.stride * scale;
            let at = |index: usize| f64::from(self.bounds.data[cell * 4 + index]);
            let (width, height) = (at(2).exp() * unit, at(3).exp() * unit);
            let (x, y) = ((column + at(0)) * unit, (row + at(1)) * unit);
            let point = |index: usize| {
                let at = |axis: usize| f64::from(self.points.data[cell * 10 + index * 2 + axis]);
                Point::new((column + at(0)) * unit, (row + at(1)) * unit)
            };
            found.push(Face {
                bounds: Rect {
                    x: x - width / 2.0,
                    y: y - height / 2.0,
                    width,
                    height,
                },
                points: std::array::from_fn(point),
                score,
            });
        }
    }
}

/// Keeps the best of candidates that overlap; returns the largest face first.
fn suppress(mut candidates: Vec<Face>) -> Vec<Face> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut faces: Vec<Face> = Vec::new();
    for candidate in candidates {
        if faces
            .iter()
            .all(|it| it.bounds.overlap(&candidate.bounds) <= SAME_FACE_OVERLAP)
        {
            faces.push(candidate);
        }
        if faces.len() == FACES_MAX {
            break;
        }
    }
    faces.sort_by(|a, b| b.bounds.area().total_cmp(&a.bounds.area()));
    faces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Manifest, testing};

    fn face(x: f64, side: f64, score: f32) -> Face {
        Face {
            bounds: Rect {
                x,
                y: 0.0,
                width: side,
                height: side,
            },
            points: [Point::default(); 5],
            score,
        }
    }

    #[test]
    fn overlapping_candidates_become_the_best_of_them() {
        let kept = suppress(vec![
            face(0.0, 10.0, 0.7),
            face(1.0, 10.0, 0.9),
            face(40.0, 20.0, 0.65),
        ]);
        assert_eq!(
            kept.iter().map(|it| it.score).collect::<Vec<_>>(),
            [0.65, 0.9]
        );
    }

    #[test]
    fn letterboxing_pads_to_whole_cells_and_says_the_scale() {
        let (tensor, scale) = letterbox(&Picture::filled(1000, 500, [9, 9, 9]), 320);
        assert_eq!(tensor.shape, [1, 3, 160, 320]);
        assert!((scale - 3.125).abs() < 1e-9);
    }

    #[test]
    fn a_small_picture_is_not_enlarged() {
        let (tensor, scale) = letterbox(&Picture::filled(100, 90, [9, 9, 9]), 320);
        assert_eq!(
            (tensor.shape.as_slice(), scale.to_bits()),
            ([1, 3, 96, 128].as_slice(), 1.0_f64.to_bits())
        );
    }

    #[test]
    fn the_demo_pictures_show_one_face_each() {
        let (vision, manifest) = (testing::vision(), Manifest::shipped());
        for role in [Role::DemoApplicant, Role::DemoOther] {
            let picture = manifest.demo_picture(&testing::models_dir(), role).unwrap();
            let faces = detect(&vision, &picture, DETECT_SIDE).unwrap();
            assert_eq!(faces.len(), 1, "{role}: {faces:?}");
            let [left_eye, right_eye, nose, left_mouth, right_mouth] = faces[0].points;
            assert!(
                left_eye.x < right_eye.x && left_mouth.x < right_mouth.x,
                "{role}"
            );
            assert!(left_eye.y < nose.y && nose.y < left_mouth.y, "{role}");
        }
    }

    #[test]
    fn a_plain_wall_shows_no_face() {
        let wall = Picture::filled(640, 480, [180, 170, 160]);
        assert_eq!(detect(&testing::vision(), &wall, DETECT_SIDE).unwrap(), []);
    }

    #[test]
    fn every_portrait_of_the_measuring_set_has_its_face_found() {
        for name in [
            "person_a_1",
            "person_a_2",
            "person_b_1",
            "person_b_2",
            "impostor_1",
            "impostor_2",
        ] {
            let Some(picture) = testing::photograph(&format!("{name}.jpg")) else {
                return;
            };
            for side in [DETECT_SIDE, DETECT_SIDE_FINE] {
                let faces = detect(&testing::vision(), &picture, side).unwrap();
                println!("{name} at {side}: {faces:?}");
                assert!(!faces.is_empty(), "{name} at {side}");
            }
        }
    }
}
