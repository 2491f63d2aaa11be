//! The rows of webhooks: endpoints, their secrets, deliveries and attempts.
//!
//! Every change of an endpoint or of its deliveries first locks the row of the endpoint, and several of them in
//! the order of their ids: so sequences have no gaps, nothing is claimed twice, and nobody waits in a circle.

mod deliveries;
mod endpoints;
mod secrets;
mod sending;

use btrust_platform::relational::{Relational, RelationalError};

pub use deliveries::{AttemptRecord, DeliveryRecord, Replay, is_state};
pub use endpoints::{EndpointRecord, Status};
pub use secrets::SecretRecord;
pub use sending::{Claim, DueEndpoint, Recorded};

/// Endpoints of one tenant.
///
/// Source: one for each system of a bank that wants to hear of workflows, and some to try.
pub const ENDPOINTS_MAX: usize = 20;
/// Secrets of one endpoint that sign at the same time.
///
/// Source: the current one and two that are being replaced; each adds a signature to every call.
pub const SECRETS_MAX: usize = 3;

/// A time that never comes: the endpoint has nothing due.
const NEVER_MS: i64 = i64::MAX;

/// Why the rows could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the webhooks' database did not answer")]
    Database(#[from] RelationalError),
    /// A row that this program did not write.
    #[error("the webhooks' column `{0}` holds what cannot be read")]
    Unreadable(&'static str),
}

/// The rows of webhooks in the consumers' database.
#[derive(Clone)]
pub struct Store {
    db: Relational,
}

impl Store {
    #[must_use]
    pub fn new(db: Relational) -> Self {
        Self { db }
    }
}

#[cfg(test)]
mod tests;
