//! Webhooks: a third consumer of the audit stream, which tells tenants what happens to their workflows.
//!
//! ```text
//! audit stream ─► sink ─► deliveries ─► dispatcher ─► sender ─► endpoint of the tenant
//!                          (database)       ▲   │
//!                                           └───┘ what became of it
//! ```
//!
//! A delivery is written down in the transaction that counts its endpoint's sequence, under an id that follows
//! from endpoint and event; it is called until the receiver takes it, for three days, with one id, one body and
//! a new signature each time. Calls are at least once: a receiver that acts once remembers `webhook-id`.

mod address;
mod admin;
mod config;
mod delivery;
mod dispatch;
mod event;
mod ids;
mod metrics;
mod retry;
mod secrets;
mod sender;
mod signature;
mod sink;
mod store;
mod target;

use std::sync::Arc;

use tokio::sync::Notify;

use btrust_platform::clock::SharedClock;
use btrust_platform::keys::Keys;
use btrust_platform::random::SharedRandom;
use btrust_platform::relational::Relational;

pub use admin::AdminError;
pub use config::Config;
pub use sender::{Resolver, SenderError, SystemResolver};
pub use sink::WebhookSink;

use secrets::Secrets;
use sender::Sender;
use store::Store;

/// How long deliveries are kept, to be shown and replayed, ms.
///
/// Source: a month, so that the month's reconciliation finds them.
pub const RETENTION_MS: i64 = 31 * 24 * 3_600_000;
/// How old an event may be when it is read, ms; what is older is passed over.
///
/// Source: within the retention of deliveries, so that every event that is read again is still known by its id;
/// beyond the retention of an ordinary stream (a day to a week) and of a long outage.
pub const EVENT_AGE_MS_MAX: i64 = 28 * 24 * 3_600_000;

/// What webhooks use of the outside world.
#[derive(Clone)]
pub struct Ports {
    /// The consumers' database, with its tables up to date.
    pub db: Relational,
    pub keys: Arc<dyn Keys>,
    pub resolver: Arc<dyn Resolver>,
    pub clock: SharedClock,
    pub random: SharedRandom,
}

/// Webhooks of all tenants.
pub struct Webhooks {
    store: Store,
    secrets: Secrets,
    sender: Sender,
    clock: SharedClock,
    random: SharedRandom,
    /// Rung when something has become due.
    due: Notify,
}

impl Webhooks {
    /// Puts webhooks together; nothing is sent before [`Webhooks::run`].
    ///
    /// # Errors
    ///
    /// [`SenderError`]
    pub fn new(config: &Config, ports: Ports) -> Result<Arc<Self>, SenderError> {
        let authorities = config.authorities.as_deref();
        let sender = Sender::new(ports.resolver, config.reach, authorities, config.call_max)?;
        Ok(Arc::new(Self {
            store: Store::new(ports.db),
            secrets: Secrets::new(ports.keys, Arc::clone(&ports.random)),
            sender,
            clock: ports.clock,
            random: ports.random,
            due: Notify::new(),
        }))
    }

    /// What reads the audit stream for them.
    #[must_use]
    pub fn sink(self: &Arc<Self>) -> WebhookSink {
        WebhookSink(Arc::clone(self))
    }
}

#[cfg(test)]
mod tests;
