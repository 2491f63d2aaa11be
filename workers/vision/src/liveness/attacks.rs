//! Attacks with a flat picture, rendered and judged with the real models.

use crate::{
    Manifest, Picture, Role,
    geometry::{Point, Rect, Transform},
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
    let to_frame = middle(240.0, 280.0)
        .after(&turned)
        .after(&spun)
        .after(&middle(-110.0, -130.0));
    picture.warp(&to_frame.inverse().unwrap(), 480, 560)
}

fn applicant() -> Picture {
    let picture = Manifest::shipped()
        .demo_picture(&testing::models_dir(), Role::DemoApplicant)
        .unwrap();
    picture
        .crop(Rect {
            x: 110.0,
            y: 0.0,
            width: 220.0,
            height: 260.0,
        })
        .unwrap()
}

/// A frame that shows the picture bent round an upright cylinder, `radius` in
/// its own pixels, and turned by `yaw` radians.
fn bent_frame(picture: &Picture, radius: f64, yaw: f64) -> Picture {
    let (sin, cos) = yaw.sin_cos();
    let mut frame = Picture::filled(480, 560, [150, 150, 150]);
    let mut nearest = vec![f64::MIN; 480 * 560];
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let (n_columns, n_rows) = (picture.width() * 4, picture.height() * 4);
    for (column, row) in (0..n_columns).flat_map(|it| (0..n_rows).map(move |row| (it, row))) {
        let at = Point::new(f64::from(column) / 4.0, f64::from(row) / 4.0);
        let (along, y) = (1.5 * (at.x - width / 2.0), 1.5 * (at.y - height / 2.0));
        let (radius, angle) = (1.5 * radius, along / (1.5 * radius));
        let (x, z) = (radius * angle.sin(), radius * (angle.cos() - 1.0));
        let (x, z) = (x * cos + z * sin, z * cos - x * sin);
        let near = 900.0 / (900.0 - z);
        let (x, y) = (240.0 + x * near, 280.0 + y * near);
        if !(0.0..480.0).contains(&x) || !(0.0..560.0).contains(&y) {
            continue;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "inside the frame"
        )]
        let (x, y) = (x as u32, y as u32);
        let before = &mut nearest[y as usize * 480 + x as usize];
        if *before < z {
            *before = z;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "colours are bytes"
            )]
            frame.set_pixel(x, y, picture.sample(at).map(|it| it as u8));
        }
    }
    frame
}

fn attack(front: Hold, turned: Hold) -> Verdict {
    let picture = applicant();
    verdict(&frame(&picture, front), &frame(&picture, turned))
}

fn verdict(front: &Picture, turned: &Picture) -> Verdict {
    let vision = testing::vision();
    let actions = vec![Action::Front, Action::TurnLeft];
    let frames = actions
        .iter()
        .zip([front, turned])
        .map(|(action, picture)| look(&vision, picture, *action).unwrap().unwrap())
        .collect::<Vec<_>>();
    let verdict = judge(&Challenge::new(actions).unwrap(), &frames);
    println!("{verdict:?}");
    verdict
}

const STRAIGHT: Hold = Hold {
    yaw: 0.0,
    pitch: 0.0,
    roll: 0.0,
    shift: 0.0,
};

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
        let front = Hold {
            roll: 0.1 * sign,
            ..STRAIGHT
        };
        let turned = Hold {
            yaw,
            pitch: 0.35 * sign,
            roll: -0.2 * sign,
            shift: 20.0 * sign,
        };
        assert_ne!(attack(front, turned).outcome, Outcome::Live, "{yaw}");
    }
}

#[test]
fn a_picture_that_is_only_shifted_is_asked_to_turn() {
    let verdict = attack(
        STRAIGHT,
        Hold {
            shift: 30.0,
            roll: 0.15,
            ..STRAIGHT
        },
    );
    assert!(matches!(verdict.outcome, Outcome::Retry(_)), "{verdict:?}");
}

#[test]
fn a_bent_picture_is_never_live() {
    let picture = applicant();
    for (radius, yaw) in [(80.0, 0.6), (110.0, 0.45), (150.0, 0.75)] {
        let front = bent_frame(&picture, radius, 0.0);
        let verdict = verdict(&front, &bent_frame(&picture, radius, yaw));
        assert_ne!(verdict.outcome, Outcome::Live, "{radius} {yaw}");
    }
}
