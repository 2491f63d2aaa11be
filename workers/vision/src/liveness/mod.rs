//! Whether a living head answers a challenge: pure judgement of what was
//! measured in each frame.
//!
//! What this tells apart, as measured in the tests: a head that turns from a
//! picture that is turned, shifted, tilted or bent. What it does not: a video of
//! the person on a screen, several photographs from several sides, a mask, an
//! injected stream. `passive_pad` is a weak hint at screens and prints and never
//! refuses by itself.

#[cfg(test)]
mod attacks;
mod frame;
mod judge;
mod planarity;

pub use frame::{Frame, look};
pub use judge::{Challenge, Outcome, Signal, Verdict, judge};
pub use planarity::{Motion, motion};

use serde::{Deserialize, Serialize};

/// What the person is asked to do, from the person's own point of view.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Look into the camera.
    Front,
    /// Turn to one's own left: to the right of a picture that is not mirrored.
    TurnLeft,
    /// Turn to one's own right: to the left of a picture that is not mirrored.
    TurnRight,
    /// Close both eyes.
    Blink,
}

impl Action {
    /// The sign of the yaw that a turn asks for; `None` for no turn.
    fn direction(self) -> Option<f64> {
        match self {
            Self::TurnLeft => Some(1.0),
            Self::TurnRight => Some(-1.0),
            Self::Front | Self::Blink => None,
        }
    }
}

/// What the person can do better; each is a stable code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The frames are not those that the challenge asks for, in its order.
    WrongFrames,
    NoFace,
    SeveralFaces,
    TooFar,
    NotFrontal,
    TurnNotReached,
    NoBlink,
}

impl Reason {
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::WrongFrames => "wrong_frames",
            Self::NoFace => "no_face",
            Self::SeveralFaces => "several_faces",
            Self::TooFar => "too_far",
            Self::NotFrontal => "not_frontal",
            Self::TurnNotReached => "turn_not_reached",
            Self::NoBlink => "no_blink",
        }
    }
}
