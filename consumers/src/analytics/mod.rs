//! The analytics projector: funnels by definition, version, hour, device and language.

mod funnels;
mod histogram;
mod journey;
mod projector;

pub use funnels::{FunnelsError, funnels};
pub use histogram::RELATIVE_ERROR;
pub use projector::Projector;
