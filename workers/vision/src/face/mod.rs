//! Faces: where they are, who they might be, how they are turned.
//!
//! "Left" and "right" of a picture are the viewer's; frames are taken as the
//! camera sees them, not mirrored as a preview shows them.

mod detect;
mod embed;
mod eyes;
mod mesh;
mod passive;
mod pose;

pub use detect::{DETECT_SIDE, DETECT_SIDE_FINE, FACE_SCORE_MIN, Face, detect};
pub use embed::{Embedding, MATCH_MIN, Match, UNCERTAIN_MIN, align, compare, decide, embed};
pub use eyes::eyes_closed;
pub use mesh::{Expression, MESH_POINTS, MESH_PRESENCE_MIN, Mesh, MeshPoint, expression, mesh};
pub use passive::passive;
pub use pose::{Pose, pose_of_mesh, pose_of_pixels};
