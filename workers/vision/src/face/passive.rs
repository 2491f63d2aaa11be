//! Passive presentation attack detection: does the picture look like a live
//! face, or like paper or a screen?

use crate::{
    face::Face,
    geometry::{Rect, Transform},
    models::Role,
    picture::{Picture, Planes},
    session::{Vision, VisionError},
};

/// Side in pixels of the cut-out that the model reads.
const INPUT_SIDE: u32 = 128;
/// How much larger than the face's box the cut-out is: the surroundings show
/// the edge of paper or screen. Source: the model's published pipeline.
const CROP_FACTOR: f64 = 2.7;

/// The model's probability that the face is live, in `[0, 1]`.
///
/// Weak: measured, it accepts 16 of 17 genuine photos but refuses only 2 of 2
/// real attacks, 14 of 17 simulated prints and 3 of 16 simulated screens. One
/// signal among several, never the gate.
///
/// # Errors
///
/// The model cannot be loaded or run.
pub fn passive(vision: &Vision, picture: &Picture, face: &Face) -> Result<f32, VisionError> {
    let model = vision.model(Role::Pad)?;
    let area = surroundings(picture, &face.bounds);
    let side = f64::from(INPUT_SIDE);
    let to_source = Transform([
        area.width / side,
        0.0,
        area.x,
        0.0,
        area.height / side,
        area.y,
        0.0,
        0.0,
        1.0,
    ]);
    let crop = picture.warp(&to_source, INPUT_SIDE, INPUT_SIDE);
    let outputs = model.run(&[crop.to_tensor(Planes::Bgr, [0.0; 3], [1.0; 3])])?;
    let logits = outputs.first().map_or(&[][..], |it| it.data.as_slice());
    if logits.len() != 3 {
        return Err(VisionError::Shape {
            role: Role::Pad,
            expected: "three classes",
        });
    }
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let total: f32 = logits.iter().map(|it| (it - highest).exp()).sum();
    Ok((logits[0] - highest).exp() / total)
}

/// The box enlarged about its centre as far as the picture allows, then moved
/// inside.
fn surroundings(picture: &Picture, bounds: &Rect) -> Rect {
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let factor = CROP_FACTOR
        .min(width / bounds.width)
        .min(height / bounds.height);
    let center = bounds.center();
    let (w, h) = (bounds.width * factor, bounds.height * factor);
    Rect {
        x: (center.x - w / 2.0).min(width - w).max(0.0),
        y: (center.y - h / 2.0).min(height - h).max(0.0),
        width: w,
        height: h,
    }
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
    fn the_demo_photos_are_judged() {
        let vision = testing::vision();
        for role in [Role::DemoApplicant, Role::DemoOther] {
            let picture = Manifest::shipped()
                .demo_picture(&testing::models_dir(), role)
                .unwrap();
            let face = detect(&vision, &picture, DETECT_SIDE).unwrap().remove(0);
            let live = passive(&vision, &picture, &face).unwrap();
            println!("{role}: {live}");
            assert!((0.0..=1.0).contains(&live));
        }
    }

    #[test]
    fn genuine_photos_of_the_measuring_set_look_live() {
        let names = [
            "person_a_1",
            "person_a_2",
            "person_b_1",
            "person_b_2",
            "impostor_1",
            "impostor_2",
        ];
        let mut n_live = 0;
        for name in names {
            let Some(picture) = testing::photograph(&format!("{name}.jpg")) else {
                return;
            };
            let vision = testing::vision();
            let face = detect(&vision, &picture, DETECT_SIDE).unwrap().remove(0);
            let live = passive(&vision, &picture, &face).unwrap();
            println!("{name}: {live}");
            n_live += u32::from(0.5 <= live);
        }
        assert!(5 <= n_live, "{n_live} of 6");
    }

    #[test]
    fn the_surroundings_stay_inside_the_picture() {
        let picture = Picture::filled(200, 100, [0; 3]);
        let bounds = Rect {
            x: 150.0,
            y: 40.0,
            width: 40.0,
            height: 50.0,
        };
        let area = surroundings(&picture, &bounds);
        assert!(0.0 <= area.x && area.x + area.width <= 200.0 + 1e-9);
        assert!(0.0 <= area.y && area.y + area.height <= 100.0 + 1e-9);
    }
}
