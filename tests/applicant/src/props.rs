//! What each kind of applicant holds before the camera.

use std::path::Path;

use anyhow::{Context as _, Result};
use chrono::NaiveDate;
use clap::ValueEnum;
use image::RgbImage;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use btrust_schemas::step::liveness::Action;
use btrust_vision::{Manifest, Role, Vision};

use crate::camera;
use crate::face::{find, mesh};
use crate::head::{Head, Pose};
use crate::passport::{Passport, Validity};
use crate::picture::jpeg;
use crate::print::{Hold, filmed};
use crate::selfie::{exposed, portrait, selfie};

/// How far the head turns when asked to, in radians (30 degrees).
const TURN: f64 = 0.52;
/// How far a hand turns a print instead, in radians (37 degrees).
const PRINT_TURN: f64 = 0.65;
/// How far a head or a hand strays from where it should be, in radians (1.5 degrees).
const STRAY_MAX: f64 = 0.026;
/// Quality of the uploaded pictures, `1..=100`.
const DOCUMENT_QUALITY: u8 = 90;
const FRAME_QUALITY: u8 = 92;

/// Who comes to be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Applicant {
    /// The holder of the passport.
    Genuine,
    /// Another, living person with the holder's passport.
    Impostor,
    /// The holder, with a passport that has expired.
    ExpiredDocument,
    /// Somebody who holds a photograph of the holder before the camera.
    PhotoOfPhoto,
    /// Somebody who guesses the one-time code.
    WrongOtp,
}

/// The things of one applicant.
pub struct Props {
    page: RgbImage,
    face: Face,
    seed: u64,
}

enum Face {
    Living(Box<Head>),
    Printed(RgbImage),
}

impl Props {
    /// Prepares everything from the fetched demo pictures in the folder `models`.
    ///
    /// # Errors
    ///
    /// When a picture or a model is missing or no face is found; fetch them with `make models`.
    pub fn prepare(
        applicant: Applicant,
        models: &Path,
        today: NaiveDate,
        seed: u64,
    ) -> Result<Self> {
        let vision = Vision::open(models);
        let holder = photograph(models, Role::DemoApplicant)?;
        let holders_face = find(&vision, &holder)?;
        let validity = match applicant {
            Applicant::ExpiredDocument => Validity::Expired,
            _ => Validity::Valid,
        };
        let page =
            Passport::of_applicant(validity, today).render(&portrait(&holder, holders_face))?;
        let face = match applicant {
            Applicant::Impostor => {
                let other = photograph(models, Role::DemoOther)?;
                let others_face = find(&vision, &other)?;
                living(&vision, selfie(&other, others_face, seed))?
            }
            Applicant::PhotoOfPhoto => Face::Printed(selfie(&holder, holders_face, seed)),
            Applicant::Genuine | Applicant::ExpiredDocument | Applicant::WrongOtp => {
                living(&vision, selfie(&holder, holders_face, seed))?
            }
        };
        Ok(Self { page, face, seed })
    }

    /// A JPEG of the passport's page, from another hand position for each `take`.
    pub fn document(&self, take: u64) -> Result<Vec<u8>> {
        jpeg(
            &camera::photograph(&self.page, self.seed.wrapping_add(take)),
            DOCUMENT_QUALITY,
        )
    }

    /// A JPEG frame of the face that does `action`, different for each `take`.
    pub fn frame(&self, action: Action, take: u64) -> Result<Vec<u8>> {
        let seed = self.seed.wrapping_mul(1009).wrapping_add(take);
        let mut rng = StdRng::seed_from_u64(seed);
        let mut stray = || rng.random_range(-STRAY_MAX..STRAY_MAX);
        let frame = match &self.face {
            Face::Living(head) => {
                let (yaw, eyes_closed) = match action {
                    Action::Front => (0.0, 0.0),
                    Action::TurnLeft => (TURN, 0.0),
                    Action::TurnRight => (-TURN, 0.0),
                    Action::Blink => (0.0, 1.0),
                };
                head.posed(&Pose {
                    yaw: yaw + stray(),
                    pitch: stray(),
                    eyes_closed,
                })
            }
            Face::Printed(print) => {
                // A hand can turn the print, and nod it where the eyes should close.
                let (yaw, pitch) = match action {
                    Action::Front => (0.0, 0.0),
                    Action::TurnLeft => (PRINT_TURN, 0.0),
                    Action::TurnRight => (-PRINT_TURN, 0.0),
                    Action::Blink => (0.0, PRINT_TURN / 2.0),
                };
                let (yaw, pitch, roll) = (yaw + stray(), pitch + stray(), stray());
                filmed(
                    print,
                    &Hold {
                        yaw,
                        pitch,
                        roll,
                        shift: [stray(), stray()],
                    },
                )
            }
        };
        jpeg(&exposed(frame, seed), FRAME_QUALITY)
    }
}

fn living(vision: &Vision, frame: RgbImage) -> Result<Face> {
    let points = mesh(vision, &frame)?;
    Ok(Face::Living(Box::new(Head::new(frame, &points)?)))
}

/// A demo picture, as fetched into the folder of the models.
fn photograph(models: &Path, role: Role) -> Result<RgbImage> {
    let picture = Manifest::shipped().demo_picture(models, role)?;
    RgbImage::from_raw(picture.width(), picture.height(), picture.rgb().to_vec())
        .context("a decoded picture has all its pixels")
}

#[cfg(test)]
mod tests {
    use btrust_vision::Picture;
    use btrust_vision::document::{Date, Verdict, read_document};
    use btrust_vision::face::{
        DETECT_SIDE, DETECT_SIDE_FINE, Match, Mesh, compare, decide, detect, embed, mesh,
        pose_of_mesh,
    };
    use btrust_vision::liveness::{self, Action as Judged, Challenge, Outcome, judge, look};

    use super::*;

    /// Turn in degrees that a challenge may ask for; the frames must show more.
    const TURN_DEGREES_MIN: f64 = 20.0;
    /// Turn in degrees that still counts as looking straight ahead.
    const FRONT_DEGREES_MAX: f64 = 8.0;

    fn models() -> std::path::PathBuf {
        std::env::var_os("BTRUST_MODELS")
            .expect("BTRUST_MODELS names the folder of models; `make test` fetches it and sets the variable")
            .into()
    }

    fn props(applicant: Applicant) -> Props {
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        Props::prepare(applicant, &models(), today, 5).unwrap()
    }

    fn seen(vision: &Vision, jpeg: &[u8]) -> (Picture, btrust_vision::face::Face) {
        let picture = Picture::decode(jpeg).unwrap();
        let face = detect(vision, &picture, DETECT_SIDE).unwrap().remove(0);
        (picture, face)
    }

    fn measured(vision: &Vision, props: &Props, action: Action) -> Mesh {
        let (picture, face) = seen(vision, &props.frame(action, 3).unwrap());
        mesh(vision, &picture, &face).unwrap()
    }

    #[test]
    fn a_living_head_turns_and_blinks_as_it_is_asked_to() {
        let vision = Vision::open(models());
        for applicant in [Applicant::Genuine, Applicant::Impostor] {
            let props = props(applicant);
            let [front, left, right, blink] = [
                Action::Front,
                Action::TurnLeft,
                Action::TurnRight,
                Action::Blink,
            ]
            .map(|it| measured(&vision, &props, it));
            let [ahead, to_left, to_right] = [&front, &left, &right].map(|it| pose_of_mesh(it).yaw);
            println!(
                "{applicant:?}: yaw {ahead:.1} {to_left:.1} {to_right:.1}, eyes {:.2} {:.2}",
                front.eye_openness(),
                blink.eye_openness()
            );
            assert!(
                ahead.abs() < FRONT_DEGREES_MAX,
                "{applicant:?} looks ahead at {ahead}"
            );
            assert!(
                TURN_DEGREES_MIN < to_left,
                "{applicant:?} turns left by {to_left}"
            );
            assert!(
                to_right < -TURN_DEGREES_MIN,
                "{applicant:?} turns right by {to_right}"
            );
            let (open, closed) = (front.eye_openness(), blink.eye_openness());
            assert!(
                closed < 0.6 * open,
                "{applicant:?} closes the eyes from {open} to {closed}"
            );
        }
    }

    /// What the platform makes of a whole challenge.
    fn judged(vision: &Vision, applicant: Applicant, seed: u64) -> liveness::Verdict {
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let props = Props::prepare(applicant, &models(), today, seed).unwrap();
        let actions = [
            (Action::Front, Judged::Front),
            (Action::TurnRight, Judged::TurnRight),
            (Action::Blink, Judged::Blink),
            (Action::TurnLeft, Judged::TurnLeft),
        ];
        let frames: Vec<_> = (0..)
            .zip(actions)
            .map(|(take, (action, judged))| {
                let picture = Picture::decode(&props.frame(action, take).unwrap()).unwrap();
                look(vision, &picture, judged).unwrap().unwrap()
            })
            .collect();
        let challenge = Challenge::new(actions.map(|(_, judged)| judged).to_vec()).unwrap();
        let verdict = judge(&challenge, &frames);
        let scores: Vec<_> = verdict
            .signals
            .iter()
            .map(|it| format!("{} {:.3}", it.name, it.score))
            .collect();
        println!(
            "{applicant:?} {seed}: {:?} {}",
            verdict.outcome,
            scores.join(", ")
        );
        verdict
    }

    #[test]
    fn the_platform_tells_a_living_head_from_a_printed_one() {
        let vision = Vision::open(models());
        for seed in 1..=3 {
            for applicant in [Applicant::Genuine, Applicant::Impostor] {
                assert_eq!(
                    judged(&vision, applicant, seed).outcome,
                    Outcome::Live,
                    "{applicant:?} {seed}"
                );
            }
            let verdict = judged(&vision, Applicant::PhotoOfPhoto, seed);
            assert_eq!(verdict.outcome, Outcome::Spoof, "printed, seed {seed}");
        }
    }

    #[test]
    fn the_passport_shows_the_holder_and_nobody_else() {
        let vision = Vision::open(models());
        for (applicant, expected) in [
            (Applicant::Genuine, Match::Match),
            (Applicant::Impostor, Match::NoMatch),
        ] {
            let props = props(applicant);
            let pictures = [
                props.document(0).unwrap(),
                props.frame(Action::Front, 0).unwrap(),
            ];
            let [on_page, live] = pictures.map(|it| {
                let picture = Picture::decode(&it).unwrap();
                let face = detect(&vision, &picture, DETECT_SIDE_FINE)
                    .unwrap()
                    .remove(0);
                embed(&vision, &picture, &face).unwrap()
            });
            let similarity = compare(&on_page, &live);
            println!("{applicant:?}: similarity {similarity:.3}");
            assert_eq!(decide(similarity), expected, "{applicant:?}: {similarity}");
        }
    }

    #[test]
    fn the_platform_reads_the_passport_as_it_was_printed() {
        let vision = Vision::open(models());
        let today = Date {
            year: 2026,
            month: 3,
            day: 1,
        };
        for (applicant, expected) in [
            (Applicant::Genuine, Verdict::Accepted),
            (Applicant::ExpiredDocument, Verdict::ExpiredDocument),
        ] {
            let props = props(applicant);
            for take in 0..2 {
                let picture = Picture::decode(&props.document(take).unwrap()).unwrap();
                let reading = read_document(&vision, &picture, today).unwrap();
                println!(
                    "{applicant:?} {take}: {:?} review {} {:?}",
                    reading.verdict(),
                    reading.needs_review,
                    reading.quality
                );
                assert_eq!(
                    reading.verdict(),
                    expected,
                    "{applicant:?}, take {take}: {:?}",
                    reading.checks
                );
                assert!(reading.specimen, "{applicant:?}, take {take}");
                assert!(
                    !reading.needs_review,
                    "{applicant:?}, take {take}: {:?} {:?}",
                    reading.fields, reading.checks
                );
                assert_eq!(reading.fields["documentNumber"].value, "K48291675");
                assert_eq!(reading.fields["surname"].value, "HALVORSEN");
                assert_eq!(reading.fields["dateOfBirth"].value, "1988-07-23");
            }
        }
    }
}
