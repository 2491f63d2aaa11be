//! Identity documents: quality of the picture, the machine readable zone, the printed fields, the portrait.

mod agree;
pub mod date;
pub mod mrz;
pub mod printed;
pub mod quality;
mod read;
pub mod text;
mod turn;
pub mod zone;

pub use self::date::Date;
pub use self::read::{Check, Portrait, ReadField, Reading, Source, Verdict, read_document};

#[cfg(test)]
mod specimen;
#[cfg(test)]
mod tests;
