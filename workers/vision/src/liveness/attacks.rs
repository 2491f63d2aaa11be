//! Attacks with a flat picture, rendered and judged with the real models.

use crate::{
    Manifest, Picture, Role,
    geometry::{Rect, Transform},
    liveness::{Action, Challenge, Outcome, Verdict, judge, look},
    testing,
};

/// How a picture is held before the camera; angles in radians.
#[derive(Clone, Copy)]
struct Hold {
    yaw: f64,
    pitch: f64,
    roll: f64,
    /// Picture pixels from the middle of the frame.
    shift: f64,
}

/// A 480x560 frame that shows the demo applicant's picture, held so.
fn frame(picture: &Picture, hold: Hold) -> Picture {
    let (sin, cos) = hold.yaw.sin_cos();
    let (sin_up, cos_up) = hold.pitch.sin_cos();
    let distance = 900.0;
    // The plane z = 0, turned about y and then x, before a pinhole camera.
    let turned = Transform([
        cos,
        0.0,
        hold.shift,
        sin * sin_up,
        cos_up,
        0.0,
        sin * cos_up / distance,
        -sin_up / distance,
        1.0,
    ]);
    let middle = |x: f64, y: f64| Transform::similarity(1.0, 0.0, x, y);
    let spun = Transform::similarity(1.5, hold.roll, 0.0, 0.0);
    let to_frame = middle(240.0, 280.0).after(&turned).after(&spun).after(&middle(-110.0, -130.0));
    picture.warp(&to_frame.inverse().unwrap(), 480, 560)
}

fn applicant() -> Picture {
    let picture =
        Manifest::shipped().demo_picture(&testing::models_dir(), Role::DemoApplicant).unwrap();
    picture.crop(Rect { x: 110.0, y: 0.0, width: 220.0, height: 260.0 }).unwrap()
}

fn attack(front: Hold, turned: Hold) -> Verdict {
    let vision = testing::vision();
    let picture = applicant();
    let actions = vec![Action::Front, Action::TurnLeft];
    let frames = actions
        .iter()
        .zip([front, turned])
        .map(|(action, hold)| look(&vision, &frame(&picture, hold), *action).unwrap().unwrap())
        .collect::<Vec<_>>();
    let verdict = judge(&Challenge::new(actions).unwrap(), &frames);
    println!("yaw {:.2} pitch {:.2}: {verdict:?}", turned.yaw, turned.pitch);
    verdict
}

const STRAIGHT: Hold = Hold { yaw: 0.0, pitch: 0.0, roll: 0.0, shift: 0.0 };

#[test]
fn a_picture_turned_before_the_camera_is_a_spoof() {
    for yaw in [-0.9, -0.6, 0.6, 0.9] {
        let verdict = attack(STRAIGHT, Hold { yaw, ..STRAIGHT });
        assert_eq!(verdict.outcome, Outcome::Spoof, "{yaw}");
    }
}

#[test]
fn a_picture_tilted_shifted_and_spun_is_never_live() {
    for (index, yaw) in [-0.8, -0.4, 0.0, 0.4, 0.8].into_iter().enumerate() {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        let front = Hold { roll: 0.1 * sign, ..STRAIGHT };
        let turned = Hold { yaw, pitch: 0.35 * sign, roll: -0.2 * sign, shift: 20.0 * sign };
        assert_ne!(attack(front, turned).outcome, Outcome::Live, "{yaw}");
    }
}

#[test]
fn a_picture_that_is_only_shifted_is_asked_to_turn() {
    let verdict = attack(STRAIGHT, Hold { shift: 30.0, roll: 0.15, ..STRAIGHT });
    assert!(matches!(verdict.outcome, Outcome::Retry(_)), "{verdict:?}");
}
