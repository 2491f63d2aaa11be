//! How a head is turned: from the mesh, and from pixels as a second opinion.

use crate::{
    face::{Face, Mesh},
    geometry::Transform,
    models::Role,
    picture::{Picture, Planes},
    session::{Vision, VisionError},
};

/// Points at one height on both sides of a face, left of the picture first:
/// outer corners of the eyes, temples, cheeks, corners of the mouth.
const SIDES: [(usize, usize); 4] = [(33, 263), (127, 356), (234, 454), (61, 291)];
/// Points above each other: forehead over chin, brow over lower lip.
const HEIGHTS: [(usize, usize); 2] = [(10, 152), (151, 17)];

/// Side in pixels of the cut-out that the pose model reads.
const INPUT_SIDE: u32 = 224;
/// How much larger than the face's box the cut-out is: the whole head.
const CROP_FACTOR: f64 = 1.4;
/// `ImageNet`'s mean and deviation, which the pose model was trained with.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const SCALE: [f32; 3] = [1.0 / 58.395, 1.0 / 57.12, 1.0 / 57.375];
/// The pose model answers in 66 classes of three degrees, the first at -99.
const CLASS_DEGREES: f32 = 3.0;
const FIRST_CLASS_DEGREES: f32 = -99.0;

/// How a head is turned, in degrees.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Pose {
    /// Above 0: the face looks to the right of the picture, which is the
    /// person's own left.
    pub yaw: f64,
    /// Above 0: the face looks up.
    pub pitch: f64,
    /// Above 0: the head leans to the right of the picture.
    pub roll: f64,
}

/// Reads the pose from the points of a mesh.
#[must_use]
pub fn pose_of_mesh(mesh: &Mesh) -> Pose {
    let sum = |pairs: &[(usize, usize)]| {
        pairs.iter().fold([0.0; 3], |sum, (from, to)| {
            let (from, to) = (mesh.points[*from], mesh.points[*to]);
            [
                sum[0] + to.x - from.x,
                sum[1] + to.y - from.y,
                sum[2] + to.z - from.z,
            ]
        })
    };
    let (across, down) = (sum(&SIDES), sum(&HEIGHTS));
    Pose {
        yaw: across[2].atan2(across[0].hypot(across[1])).to_degrees(),
        pitch: (-down[2]).atan2(down[0].hypot(down[1])).to_degrees(),
        roll: across[1].atan2(across[0]).to_degrees(),
    }
}

/// Reads the pose from pixels, with a model of its own.
///
/// # Errors
///
/// The model cannot be loaded or run.
pub fn pose_of_pixels(
    vision: &Vision,
    picture: &Picture,
    face: &Face,
) -> Result<Pose, VisionError> {
    let model = vision.model(Role::HeadPose)?;
    let square = face.bounds.square(CROP_FACTOR);
    let scale = square.width / f64::from(INPUT_SIDE);
    let to_source = Transform::similarity(scale, 0.0, square.x, square.y);
    let crop = picture.warp(&to_source, INPUT_SIDE, INPUT_SIDE);
    let outputs = model.run(&[crop.to_tensor(Planes::Rgb, MEAN, SCALE)])?;
    let angles: Vec<f64> = outputs
        .iter()
        .filter_map(|it| expected_degrees(&it.data))
        .collect();
    // The model counts yaw to the left of the picture.
    let [yaw, pitch, roll] = angles[..] else {
        return Err(VisionError::Shape {
            role: Role::HeadPose,
            expected: "three times 66 classes",
        });
    };
    Ok(Pose {
        yaw: -yaw,
        pitch,
        roll,
    })
}

/// The mean angle under the model's distribution over classes.
fn expected_degrees(logits: &[f32]) -> Option<f64> {
    if logits.len() != 66 {
        return None;
    }
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let (mut total, mut sum, mut class) = (0.0, 0.0, 0.0);
    for logit in logits {
        let weight = (logit - highest).exp();
        total += weight;
        sum += weight * class;
        class += 1.0;
    }
    Some(f64::from(sum / total * CLASS_DEGREES + FIRST_CLASS_DEGREES))
}
