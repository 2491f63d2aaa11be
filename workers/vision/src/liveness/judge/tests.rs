use super::*;
use crate::face::{Embedding, MESH_POINTS, Mesh, MeshPoint};

/// What is held before the camera.
#[derive(Clone, Copy)]
enum Thing {
    Head,
    Picture,
}

/// Points of a head of radius 100 with a nose, or of a picture of it, turned
/// by `yaw` degrees before a camera at a distance of 600.
fn sight(thing: Thing, yaw: f64) -> Mesh {
    let (sin, cos) = yaw.to_radians().sin_cos();
    let points = (0..MESH_POINTS)
        .map(|index| {
            // A sunflower: even over the disc, the same for every sight.
            let share = f64::from(u32::try_from(index).unwrap()) / 478.0;
            let (radius, angle) = (90.0 * share.sqrt(), 2.399_963 * share * 478.0);
            let (x, y) = match index {
                10 => (0.0, -95.0),
                152 => (0.0, 95.0),
                _ => (radius * angle.cos(), radius * angle.sin()),
            };
            let nose = 25.0 * (-(x * x + y * y) / 400.0).exp();
            let depth = match thing {
                Thing::Head => 0.6 * (100.0_f64.powi(2) - x * x - y * y).sqrt() + nose,
                Thing::Picture => 0.0,
            };
            let (x, z) = (x * cos + depth * sin, depth * cos - x * sin);
            let scale = 600.0 / (600.0 - z);
            MeshPoint {
                x: 320.0 + x * scale,
                y: 240.0 + y * scale,
                z: -z,
            }
        })
        .collect();
    Mesh {
        points,
        presence: 1.0,
    }
}

fn person(seed: f32) -> Embedding {
    let mut value = seed;
    Embedding::new(std::array::from_fn(|_| {
        value = (value * 997.0 + 0.37).fract();
        value - 0.5
    }))
    .unwrap()
}

/// A frame of a person who does what is asked.
fn frame(action: Action) -> Frame {
    let yaw = 25.0 * action.direction().unwrap_or(0.0);
    Frame {
        action,
        yaw,
        yaw_by_pixels: yaw,
        pitch: -5.0,
        nose_offset: yaw / 100.0,
        eyes_open: if action == Action::Blink { 0.14 } else { 0.32 },
        eyes_closed: if action == Action::Blink { 0.9 } else { 0.01 },
        live: 0.9,
        embedding: person(0.1),
        mesh: sight(Thing::Head, yaw),
        thumbnail: (0_u8..64)
            .map(|it| it.wrapping_mul(action as u8 + 1))
            .collect(),
    }
}

/// A frame of a picture that is turned instead.
fn frame_of_picture(action: Action) -> Frame {
    let yaw = 35.0 * action.direction().unwrap_or(0.0);
    Frame {
        yaw: yaw / 12.0,
        yaw_by_pixels: yaw / 12.0,
        nose_offset: 0.01,
        eyes_open: 0.3,
        mesh: sight(Thing::Picture, yaw),
        ..frame(action)
    }
}

const ACTIONS: [Action; 4] = [
    Action::Front,
    Action::TurnRight,
    Action::Blink,
    Action::TurnLeft,
];

#[track_caller]
fn check(frames: &[Frame], expected: Outcome) {
    let challenge = Challenge::new(ACTIONS.to_vec()).unwrap();
    let verdict = judge(&challenge, frames);
    assert_eq!(verdict.outcome, expected, "{:#?}", verdict.signals);
}

fn honest() -> [Frame; 4] {
    ACTIONS.map(frame)
}

#[test]
fn a_head_that_does_what_is_asked_is_live() {
    check(&honest(), Outcome::Live);
}

#[test]
fn a_picture_that_is_turned_is_a_spoof() {
    check(&ACTIONS.map(frame_of_picture), Outcome::Spoof);
}

#[test]
fn a_picture_is_a_spoof_even_if_both_pose_models_are_fooled() {
    let frames = ACTIONS.map(|action| Frame {
        mesh: frame_of_picture(action).mesh,
        ..frame(action)
    });
    check(&frames, Outcome::Spoof);
}

#[test]
fn a_turn_without_the_nose_moving_against_the_eyes_is_a_spoof() {
    let frames = ACTIONS.map(|action| Frame {
        nose_offset: 0.0,
        ..frame(action)
    });
    check(&frames, Outcome::Spoof);
}

#[test]
fn a_head_that_hardly_turns_is_asked_again() {
    let mut frames = honest();
    frames[1] = Frame {
        action: Action::TurnRight,
        yaw: -4.0,
        mesh: sight(Thing::Head, -4.0),
        ..frame(Action::TurnRight)
    };
    check(&frames, Outcome::Retry(Reason::TurnNotReached));
}

#[test]
fn a_turn_to_the_wrong_side_is_asked_again() {
    let mut frames = honest();
    frames[1] = Frame {
        action: Action::TurnRight,
        ..frame(Action::TurnLeft)
    };
    frames[3] = Frame {
        action: Action::TurnLeft,
        ..frame(Action::TurnRight)
    };
    check(&frames, Outcome::Retry(Reason::TurnNotReached));
}

#[test]
fn open_eyes_are_no_blink() {
    let mut frames = honest();
    frames[2].eyes_open = 0.29;
    check(&frames, Outcome::Retry(Reason::NoBlink));
}

#[test]
fn another_person_in_one_frame_is_a_spoof() {
    let mut frames = honest();
    frames[3].embedding = person(0.7);
    check(&frames, Outcome::Spoof);
}

#[test]
fn the_same_frame_twice_is_a_spoof() {
    let mut frames = honest();
    frames[2].thumbnail = frames[0].thumbnail.clone();
    check(&frames, Outcome::Spoof);
}

#[test]
fn a_frontal_frame_that_looks_aside_is_asked_again() {
    let mut frames = honest();
    frames[0].yaw = 24.0;
    frames[0].mesh = sight(Thing::Head, 24.0);
    check(&frames, Outcome::Retry(Reason::NotFrontal));
}

#[test]
fn frames_in_another_order_are_asked_again() {
    let mut frames = honest();
    frames.swap(1, 3);
    check(&frames, Outcome::Retry(Reason::WrongFrames));
    check(&frames[..2], Outcome::Retry(Reason::WrongFrames));
}

#[test]
fn a_bad_passive_score_alone_refuses_nobody() {
    let frames = honest().map(|it| Frame { live: 0.02, ..it });
    check(&frames, Outcome::Live);
    let challenge = Challenge::new(ACTIONS.to_vec()).unwrap();
    let verdict = judge(&challenge, &frames);
    assert!(
        verdict
            .signals
            .iter()
            .any(|it| it.name == "passive_pad" && !it.passed && !it.gate)
    );
}

#[test]
fn a_measurement_that_is_no_number_never_passes() {
    let mut frames = honest();
    frames[1].yaw = f64::NAN;
    check(&frames, Outcome::Retry(Reason::TurnNotReached));
}

#[test]
fn a_challenge_without_a_turn_is_none() {
    assert_eq!(Challenge::new(vec![Action::Front, Action::Blink]), None);
    assert_eq!(Challenge::new(vec![Action::TurnLeft]), None);
    assert_eq!(Challenge::new(vec![Action::Front; 9]), None);
}
