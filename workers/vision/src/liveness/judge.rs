//! From the frames of a challenge to a verdict, without any I/O.
//!
//! The figures below were measured on frames rendered from photographs: heads by
//! stretching a photo over its mesh and turning that in space, pictures by
//! projecting a photo. No film of a turning person was at hand; measure again
//! when there is one.

use serde::Serialize;

use crate::{
    face::{UNCERTAIN_MIN, compare},
    liveness::{Action, Frame, Motion, Reason, motion},
};

/// Degrees by which the mesh must see the head turn from the frontal frame.
///
/// Source: heads turned by 30 degrees measured 20 to 26, a flat picture turned
/// by up to 52 degrees and tilted by 20 measured 5 at most, a picture bent round
/// a cylinder 17 at most.
const TURN_DEGREES_MIN: f64 = 14.0;
/// The same for the model that reads pixels. It sees heads turned by 30 degrees
/// turn by 22 to 36; a flat picture by 11, and by 18 when it is tilted too, so
/// this alone would not do.
const TURN_BY_PIXELS_DEGREES_MIN: f64 = 12.0;
/// How far the nose must move against the eyes, as a share of their distance.
/// Source: heads .18 to .37, a flat picture .06 at most, a
/// bent one .12: this alone would not do either.
const PARALLAX_MIN: f64 = 0.08;
/// What must be left over from the best homography, as a share of the face's
/// height. Source: heads turned by 30 degrees .031 to .037, a flat picture .005
/// where it is turned by 37 degrees and .014 where it is turned by 52, a bent
/// one .016 at most.
const OFF_PLANE_MIN: f64 = 0.018;
/// Motion in depth from which on flatness can be told. Source: a flat picture
/// turned by 37 degrees measures .026; an unmoved head .010 at most.
const IN_DEPTH_MIN: f64 = 0.015;
/// What is left over from a homography, as a share of the motion in depth,
/// below which the motion is that of a plane. Source: heads .64 and more, a flat
/// picture turned by 37 degrees .22 at most.
const FLAT_SHARE_MAX: f64 = 0.4;
/// By which share the eyes must close, against the frontal frame. Source:
/// closed eyes .5 to .6, a nodding picture .06.
const BLINK_MIN: f64 = 0.35;
/// By how much the probability of closed eyes must rise, for the model that
/// reads pixels; a hint only. Source: closed eyes .8 and more, open ones below .01.
const BLINK_BY_PIXELS_MIN: f64 = 0.5;
/// Mean passive score; a hint only.
const PASSIVE_MIN: f64 = 0.5;
/// Mean difference of grey thumbnails, in levels of 255, that two sights by a
/// camera have at least: noise and movement. The same frame sent twice has 0.
const DIFFERENCE_MIN: f64 = 0.3;
/// Stands for a score that could not be measured: below every threshold, and a
/// number on every wire.
const NO_SCORE: f64 = -1000.0;
/// Most degrees that a frontal face may look aside, or up or down.
const FRONTAL_YAW_MAX: f64 = 20.0;
const FRONTAL_PITCH_MAX: f64 = 35.0;
/// Most frames of a challenge: each costs a person a second and us 60 ms.
const FRAMES_MAX: usize = 8;

/// The actions that were asked for: a frontal look and at least one turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge(Vec<Action>);

impl Challenge {
    /// `None` without a frontal look or a turn, or with more than eight
    /// actions: what is left could not tell a head from a picture.
    #[must_use]
    pub fn new(actions: Vec<Action>) -> Option<Self> {
        let has_turn = actions.iter().any(|it| it.direction().is_some());
        let is_fit = has_turn && actions.contains(&Action::Front) && actions.len() <= FRAMES_MAX;
        is_fit.then_some(Self(actions))
    }

    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.0
    }
}

/// One measured aspect; passed when the score reaches the threshold.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    pub name: &'static str,
    pub score: f64,
    pub threshold: f64,
    pub passed: bool,
    /// Whether its failure alone keeps the verdict from `Live`.
    pub gate: bool,
}

impl Signal {
    fn new(name: &'static str, score: f64, threshold: f64) -> Self {
        Self {
            name,
            score,
            threshold,
            passed: threshold <= score,
            gate: true,
        }
    }
}

/// What the frames show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Live,
    Spoof,
    Retry(Reason),
}

/// A verdict and everything that it rests on.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub outcome: Outcome,
    pub signals: Vec<Signal>,
    /// The index of the frontal frame, for the comparison with a document.
    pub best_frame: Option<usize>,
}

/// Judges the frames of a challenge.
#[must_use]
pub fn judge(challenge: &Challenge, frames: &[Frame]) -> Verdict {
    let fits = challenge
        .actions()
        .iter()
        .eq(frames.iter().map(|it| &it.action));
    let best_frame = frames.iter().position(|it| it.action == Action::Front);
    let (true, Some(best)) = (fits, best_frame) else {
        let outcome = Outcome::Retry(Reason::WrongFrames);
        return Verdict {
            outcome,
            signals: Vec::new(),
            best_frame,
        };
    };
    let front = &frames[best];
    let motions: Vec<Motion> = frames
        .iter()
        .filter(|it| it.action.direction().is_some())
        .filter_map(|it| motion(&front.mesh, &it.mesh))
        .collect();
    let signals = signals(front, frames, &motions);
    let outcome = outcome(front, &signals, &motions);
    Verdict {
        outcome,
        signals,
        best_frame,
    }
}

fn signals(front: &Frame, frames: &[Frame], motions: &[Motion]) -> Vec<Signal> {
    let turned = |measure: fn(&Frame) -> f64| {
        lowest(frames.iter().filter_map(|it| {
            it.action
                .direction()
                .map(|sign| sign * (measure(it) - measure(front)))
        }))
    };
    let off_plane = lowest(motions.iter().map(|it| it.off_plane));
    let similarity = lowest(
        frames
            .iter()
            .map(|it| f64::from(compare(&front.embedding, &it.embedding))),
    );
    let mut signals = vec![
        Signal::new("turn", turned(|it| it.yaw), TURN_DEGREES_MIN),
        Signal::new(
            "turn_by_pixels",
            turned(|it| it.yaw_by_pixels),
            TURN_BY_PIXELS_DEGREES_MIN,
        ),
        Signal::new("parallax", turned(|it| it.nose_offset), PARALLAX_MIN),
        Signal::new("planarity", off_plane, OFF_PLANE_MIN),
        Signal::new("same_face", similarity, f64::from(UNCERTAIN_MIN)),
        Signal::new("duplicate_frames", least_difference(frames), DIFFERENCE_MIN),
    ];
    if frames.iter().any(|it| it.action == Action::Blink) {
        let blinks = || frames.iter().filter(|it| it.action == Action::Blink);
        let closing = lowest(blinks().map(|it| 1.0 - it.eyes_open / front.eyes_open));
        signals.push(Signal::new("blink", closing, BLINK_MIN));
        let closed = lowest(blinks().map(|it| f64::from(it.eyes_closed - front.eyes_closed)));
        let by_pixels = Signal::new("blink_by_pixels", closed, BLINK_BY_PIXELS_MIN);
        signals.push(Signal {
            gate: false,
            ..by_pixels
        });
    }
    #[expect(clippy::cast_precision_loss, reason = "at most eight frames")]
    let passive = frames.iter().map(|it| f64::from(it.live)).sum::<f64>() / frames.len() as f64;
    signals.push(Signal {
        gate: false,
        ..Signal::new("passive_pad", passive, PASSIVE_MIN)
    });
    signals
}

/// First what no honest person sends, then what one can do better.
fn outcome(front: &Frame, signals: &[Signal], motions: &[Motion]) -> Outcome {
    let passed = |name: &str| signals.iter().all(|it| it.name != name || it.passed);
    let is_flat = motions
        .iter()
        .any(|it| IN_DEPTH_MIN <= it.in_depth && it.off_plane < FLAT_SHARE_MAX * it.in_depth);
    if is_flat || !passed("same_face") || !passed("duplicate_frames") {
        return Outcome::Spoof;
    }
    if FRONTAL_YAW_MAX < front.yaw.abs() || FRONTAL_PITCH_MAX < front.pitch.abs() {
        return Outcome::Retry(Reason::NotFrontal);
    }
    if !passed("turn") || !passed("turn_by_pixels") {
        return Outcome::Retry(Reason::TurnNotReached);
    }
    if !passed("planarity") || !passed("parallax") {
        return Outcome::Spoof;
    }
    if !passed("blink") {
        return Outcome::Retry(Reason::NoBlink);
    }
    Outcome::Live
}

/// The lowest of some scores; a missing or meaningless one counts as
/// [`NO_SCORE`].
fn lowest(scores: impl Iterator<Item = f64>) -> f64 {
    let rank = |it: f64| if it.is_finite() { it } else { NO_SCORE };
    scores.map(rank).min_by(f64::total_cmp).unwrap_or(NO_SCORE)
}

/// The mean difference in levels between the two most alike frames.
fn least_difference(frames: &[Frame]) -> f64 {
    let difference = |a: &Frame, b: &Frame| {
        let total: u64 = a
            .thumbnail
            .iter()
            .zip(&b.thumbnail)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a thumbnail has few pixels")]
        let mean = total as f64 / a.thumbnail.len().max(1) as f64;
        mean
    };
    lowest(
        frames
            .iter()
            .enumerate()
            .flat_map(|(index, a)| frames[index + 1..].iter().map(move |b| difference(a, b))),
    )
}

#[cfg(test)]
mod tests;
