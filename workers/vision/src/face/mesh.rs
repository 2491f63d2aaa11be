//! 478 points on a face, and what they express.

use crate::{
    face::Face,
    geometry::{Point, Transform},
    models::Role,
    picture::{Picture, Planes},
    session::{Tensor, Vision, VisionError},
};

/// Points of a mesh; the last ten are the irises.
pub const MESH_POINTS: usize = 478;
/// Presence at or above which the points lie on a face, in `[0, 1]`. Source:
/// the model's published default.
pub const MESH_PRESENCE_MIN: f32 = 0.5;
/// Side in pixels of the cut-out that the model reads.
const INPUT_SIDE: u32 = 256;
/// How much larger than the face's box the cut-out is. Source: the model's
/// published pipeline.
const CROP_FACTOR: f64 = 1.5;

/// The points that the blendshape model reads. Source: the model's published
/// pipeline (`MediaPipe`, Apache-2.0).
const EXPRESSION_POINTS: [usize; 146] = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477,
];
/// For each eye: outer corner, two points of the upper lid, inner corner, two
/// points of the lower lid below the upper ones, in reverse order.
pub(super) const EYES: [[usize; 6]; 2] = [
    [33, 160, 158, 133, 153, 144],
    [263, 387, 385, 362, 380, 373],
];

/// One point of a mesh in picture pixels; `z` grows away from the camera, in
/// the same unit, and is relative to the middle of the head.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct MeshPoint {
    pub x: f64,
    pub y: f64,
    pub z: f64,
}

impl MeshPoint {
    /// Where the point lies in the picture.
    #[must_use]
    pub fn flat(self) -> Point {
        Point::new(self.x, self.y)
    }
}

/// The points of one face.
#[derive(Clone, PartialEq, Debug)]
pub struct Mesh {
    /// [`MESH_POINTS`] of them, in the order of the model.
    pub points: Vec<MeshPoint>,
    /// How sure the model is that there is a face, in `[0, 1]`.
    pub presence: f32,
}

impl Mesh {
    /// How far the eyes are open: height over width, the mean of both eyes.
    ///
    /// Source: closed eyes measured .15 or less, open ones .34 or more.
    #[must_use]
    pub fn eye_openness(&self) -> f64 {
        let eye = |eye: [usize; 6]| {
            let [outer, upper_a, upper_b, inner, lower_b, lower_a] =
                eye.map(|it| self.points[it].flat());
            (upper_a.distance(lower_a) + upper_b.distance(lower_b)) / (2.0 * outer.distance(inner))
        };
        f64::midpoint(eye(EYES[0]), eye(EYES[1]))
    }
}

/// How strongly a face shows some expressions, each in `[0, 1]`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Expression {
    /// The weaker of the two eyes' blinks.
    pub blink: f32,
    pub jaw_open: f32,
    /// The mean of both corners of the mouth.
    pub smile: f32,
}

/// Finds the points of a face.
///
/// # Errors
///
/// The model cannot be loaded or run.
pub fn mesh(vision: &Vision, picture: &Picture, face: &Face) -> Result<Mesh, VisionError> {
    let wrong = VisionError::Shape {
        role: Role::FaceMesh,
        expected: "478 points of three numbers and a presence",
    };
    let model = vision.model(Role::FaceMesh)?;
    let to_source = crop_transform(face);
    let crop = picture.warp(&to_source, INPUT_SIDE, INPUT_SIDE);
    let outputs = model.run(&[crop.to_tensor(Planes::Rgb, [0.0; 3], [1.0 / 255.0; 3])])?;
    let [points, presence, ..] = outputs.as_slice() else {
        return Err(wrong);
    };
    if points.data.len() != MESH_POINTS * 3 || presence.data.len() != 1 {
        return Err(wrong);
    }
    let scale = to_source.0[0].hypot(to_source.0[3]);
    let points = points
        .data
        .as_chunks::<3>()
        .0
        .iter()
        .map(|&[x, y, z]| {
            let flat = to_source.apply(Point::new(f64::from(x), f64::from(y)));
            MeshPoint {
                x: flat.x,
                y: flat.y,
                z: f64::from(z) * scale,
            }
        })
        .collect();
    Ok(Mesh {
        points,
        presence: 1.0 / (1.0 + (-presence.data[0]).exp()),
    })
}

/// From the cut-out's pixels to the picture's: a square around the face, turned
/// so that the eyes are level.
fn crop_transform(face: &Face) -> Transform {
    let [left, right, ..] = face.points;
    let angle = (right.y - left.y).atan2(right.x - left.x);
    let square = face.bounds.square(CROP_FACTOR);
    let scale = square.width / f64::from(INPUT_SIDE);
    let turned = Transform::similarity(scale, angle, 0.0, 0.0);
    let middle = f64::from(INPUT_SIDE) / 2.0;
    let (center, moved) = (square.center(), turned.apply(Point::new(middle, middle)));
    Transform::similarity(scale, angle, center.x - moved.x, center.y - moved.y)
}

/// Reads a mesh's expression.
///
/// # Errors
///
/// The model cannot be loaded or run.
pub fn expression(vision: &Vision, mesh: &Mesh) -> Result<Expression, VisionError> {
    let model = vision.model(Role::FaceBlendshapes)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the model reads 32-bit pixels"
    )]
    let data = EXPRESSION_POINTS
        .iter()
        .flat_map(|it| [mesh.points[*it].x as f32, mesh.points[*it].y as f32])
        .collect();
    let outputs = model.run(&[Tensor {
        shape: vec![1, EXPRESSION_POINTS.len(), 2],
        data,
    }])?;
    let scores = outputs.first().map_or(&[][..], |it| it.data.as_slice());
    let Ok(scores) = <&[f32; 52]>::try_from(scores) else {
        return Err(VisionError::Shape {
            role: Role::FaceBlendshapes,
            expected: "52 scores",
        });
    };
    Ok(Expression {
        blink: scores[9].min(scores[10]),
        jaw_open: scores[25],
        smile: f32::midpoint(scores[44], scores[45]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Manifest,
        face::{DETECT_SIDE, detect},
        testing,
    };

    #[test]
    fn the_demo_applicant_smiles_with_open_eyes() {
        let vision = testing::vision();
        let picture = Manifest::shipped()
            .demo_picture(&testing::models_dir(), Role::DemoApplicant)
            .unwrap();
        let face = detect(&vision, &picture, DETECT_SIDE).unwrap().remove(0);
        let mesh = mesh(&vision, &picture, &face).unwrap();
        let expression = expression(&vision, &mesh).unwrap();
        println!(
            "presence {} openness {:.3} {expression:?}",
            mesh.presence,
            mesh.eye_openness()
        );
        assert!(MESH_PRESENCE_MIN < mesh.presence);
        assert!(0.25 < mesh.eye_openness());
        assert!(0.5 < expression.smile && expression.blink < 0.4);
        // The iris of the mesh lies where the detector sees the eye.
        let eye = face.points[0].distance(face.points[1]);
        assert!(mesh.points[468].flat().distance(face.points[0]) < 0.15 * eye);
        assert!(mesh.points[473].flat().distance(face.points[1]) < 0.15 * eye);
    }

    #[test]
    fn a_wall_has_no_presence() {
        let wall = Picture::filled(300, 300, [200, 190, 180]);
        let picture = Manifest::shipped()
            .demo_picture(&testing::models_dir(), Role::DemoApplicant)
            .unwrap();
        let face = detect(&testing::vision(), &picture, DETECT_SIDE)
            .unwrap()
            .remove(0);
        assert!(mesh(&testing::vision(), &wall, &face).unwrap().presence < MESH_PRESENCE_MIN);
    }
}
