//! When the exchange loop calls, waits and ends; pure but for the instants it is given.

use std::time::Duration;

use tokio::time::Instant;

use super::desk::{Desk, HEARTBEAT_MS};

/// First and longest pause after a call that failed.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// How long running turns may take to end after a shutdown was asked for.
///
/// Source: below the 30 s that ECS and systemd leave by default between asking and killing.
pub const DRAIN_MAX: Duration = Duration::from_secs(20);
/// Calls that may fail during a shutdown: then core is going down too, and hands the turns out again.
const DRAIN_FAILURES_MAX: u32 = 5;

/// The loop's own times.
#[derive(Debug)]
pub struct Pace {
    backoff: Duration,
    not_before: Instant,
    heartbeat_at: Instant,
    drain_until: Option<Instant>,
    /// Calls that failed since the last one that did not.
    n_failures: u32,
}

impl Pace {
    /// A loop that may call at once.
    pub fn new(now: Instant) -> Self {
        Self {
            backoff: BACKOFF_FIRST,
            not_before: now,
            heartbeat_at: now,
            drain_until: None,
            n_failures: 0,
        }
    }

    pub fn is_draining(&self) -> bool {
        self.drain_until.is_some()
    }

    pub fn drain(&mut self, now: Instant) {
        self.drain_until = Some(now + DRAIN_MAX);
    }

    /// Whether a drain has nothing left to wait for.
    pub fn is_over(&self, desk: &Desk, now: Instant) -> bool {
        self.drain_until.is_some_and(|until| {
            desk.is_empty() || until <= now || DRAIN_FAILURES_MAX <= self.n_failures
        })
    }

    /// Whether it is time for a call: there is something to say or ask, or leases to renew.
    pub fn is_due(&self, desk: &Desk, now: Instant) -> bool {
        let is_heartbeat = !desk.is_empty() && self.heartbeat_at <= now;
        self.not_before <= now && (desk.has_business() || is_heartbeat)
    }

    pub fn called(&mut self, now: Instant) {
        self.heartbeat_at = now + Duration::from_millis(HEARTBEAT_MS);
    }

    pub fn succeeded(&mut self) {
        self.backoff = BACKOFF_FIRST;
        self.n_failures = 0;
    }

    pub fn failed(&mut self, now: Instant) {
        self.not_before = now + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.n_failures += 1;
    }

    /// When the loop looks again without anything having happened, while no call is under way.
    pub fn wake_at(&self, desk: &Desk) -> Instant {
        let next = if desk.has_business() {
            self.not_before
        } else {
            self.heartbeat_at.max(self.not_before)
        };
        self.drain_until.map_or(next, |until| until.min(next))
    }

    /// The same while a call is under way: only a drain ends that.
    pub fn drain_ends_at(&self) -> Option<Instant> {
        self.drain_until
    }
}
