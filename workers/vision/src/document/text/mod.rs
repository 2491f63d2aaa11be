//! Lines of text: where they are, and what they say.

mod detect;
mod quad;
mod recognise;

pub use self::detect::{TextLine, detect};
pub use self::quad::Quad;
pub use self::recognise::{PrintedText, Reader};
