//! Looks at pictures: decoding, geometry, ONNX sessions, faces and documents.
//!
//! **Architecture invariant:** nothing here knows a workflow, a task or a
//! network. Bytes and numbers go in, measurements and verdicts come out; the
//! steps in `btrust-workers` decide what an outcome is called.

pub mod document;
pub mod face;
pub mod geometry;
pub mod liveness;
pub mod models;
pub mod picture;
pub mod session;

pub use models::{Manifest, Role};
pub use picture::{Picture, PictureError};
pub use session::{Tensor, Vision, VisionError};

#[cfg(test)]
pub(crate) mod testing;
