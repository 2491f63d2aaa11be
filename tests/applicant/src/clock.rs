//! The wall clock of the applicant's world.

use chrono::{DateTime, Utc};

/// The time now, in UTC.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the applicant stands outside the platform, whose clock it cannot and must not share"
)]
pub fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}
