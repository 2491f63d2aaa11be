//! Identity documents: quality of the picture, the machine readable zone, the printed fields, the portrait.

pub mod mrz;
pub mod text;
pub mod zone;

#[cfg(test)]
mod measuring;
