//! Whether the eyes are closed, from pixels: a second opinion on the mesh.

use crate::{
    face::{Mesh, mesh::EYES},
    geometry::Transform,
    models::Role,
    picture::Picture,
    session::{Tensor, Vision, VisionError},
};

/// Side in pixels of the cut-out that the model reads.
const INPUT_SIDE: u32 = 24;
/// How much larger than the eye's width the cut-out is. Source: of the factors
/// tried, 1.3 parts open from closed eyes best.
const CROP_FACTOR: f64 = 1.3;

/// The probability that the eyes are closed, in `[0, 1]`: the lower of both
/// eyes.
///
/// # Errors
///
/// The model cannot be loaded or run.
pub fn eyes_closed(vision: &Vision, picture: &Picture, mesh: &Mesh) -> Result<f32, VisionError> {
    let model = vision.model(Role::EyeState)?;
    let mut lowest = 1.0_f32;
    for [outer, _, _, inner, _, _] in EYES {
        let (outer, inner) = (mesh.points[outer].flat(), mesh.points[inner].flat());
        let (middle, side) = (outer.middle(inner), outer.distance(inner) * CROP_FACTOR);
        let scale = side / f64::from(INPUT_SIDE);
        let to_source =
            Transform::similarity(scale, 0.0, middle.x - side / 2.0, middle.y - side / 2.0);
        let grey = picture.warp(&to_source, INPUT_SIDE, INPUT_SIDE).to_grey();
        let data = grey.into_iter().map(|it| f32::from(it) / 255.0).collect();
        let sides = INPUT_SIDE as usize;
        let outputs = model.run(&[Tensor {
            shape: vec![1, 1, sides, sides],
            data,
        }])?;
        let logits = outputs.first().map_or(&[][..], |it| it.data.as_slice());
        let &[closed, open] = logits else {
            return Err(VisionError::Shape {
                role: Role::EyeState,
                expected: "closed and open",
            });
        };
        lowest = lowest.min(1.0 / (1.0 + (open - closed).exp()));
    }
    Ok(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Manifest,
        face::{DETECT_SIDE, detect, mesh},
        testing,
    };

    #[test]
    fn the_demo_people_have_their_eyes_open() {
        let vision = testing::vision();
        for role in [Role::DemoApplicant, Role::DemoOther] {
            let picture = Manifest::shipped()
                .demo_picture(&testing::models_dir(), role)
                .unwrap();
            let face = detect(&vision, &picture, DETECT_SIDE).unwrap().remove(0);
            let mesh = mesh(&vision, &picture, &face).unwrap();
            let closed = eyes_closed(&vision, &picture, &mesh).unwrap();
            assert!(closed < 0.2, "{role}: {closed}");
        }
    }
}
