//! The steps, one folder each.

pub mod consent;
mod evidence;
pub mod face_match;
pub mod form;
pub mod items;
pub mod liveness;
pub mod ocr;
pub mod otp;
pub mod review;

/// One day in seconds.
const DAY_SECONDS: u32 = 86_400;

/// A question's life in milliseconds: what the definition says, or the step's default.
fn ttl_ms(seconds: Option<u32>, default_seconds: u32) -> i64 {
    i64::from(seconds.unwrap_or(default_seconds)) * 1_000
}
