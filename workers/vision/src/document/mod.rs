//! Identity documents: quality of the picture, the machine readable zone, the printed fields, the portrait.

pub mod mrz;
