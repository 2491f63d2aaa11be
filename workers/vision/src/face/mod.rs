//! Faces: where they are, who they might be, how they are turned.

mod detect;

pub use detect::{DETECT_SIDE, DETECT_SIDE_FINE, Face, detect};
