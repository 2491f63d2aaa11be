//! When the worker calls a node, waits and gives up; pure but for the instants it is given.

use std::time::Duration;

use tokio::time::Instant;

use super::desk::HEARTBEAT_MS;

/// First and longest pause after a call that failed.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// How long running turns may take to end after a shutdown was asked for.
///
/// Source: below the 30 s that ECS and systemd leave by default between asking and killing.
pub const DRAIN_MAX: Duration = Duration::from_secs(20);
/// Calls that may fail in a row before a node counts as gone: during a shutdown it is not waited for,
/// and when no other is left, the worker asks anew which nodes there are.
pub const FAILURES_MAX: u32 = 5;

/// The times of the calls to one node.
#[derive(Debug)]
pub struct Pace {
    backoff: Duration,
    not_before: Instant,
    heartbeat_at: Instant,
    /// Calls that failed since the last one that did not.
    n_failures: u32,
}

impl Pace {
    /// A node that may be called at once.
    pub fn new(now: Instant) -> Self {
        Self {
            backoff: BACKOFF_FIRST,
            not_before: now,
            heartbeat_at: now,
            n_failures: 0,
        }
    }

    /// Whether it is time for a call: there is something to say or ask, or leases to renew.
    pub fn is_due(&self, has_business: bool, holds: bool, now: Instant) -> bool {
        let is_heartbeat = holds && self.heartbeat_at <= now;
        self.not_before <= now && (has_business || is_heartbeat)
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

    /// Whether so many calls have failed that nobody should wait for the node.
    pub fn has_failed(&self) -> bool {
        FAILURES_MAX <= self.n_failures
    }

    /// When a call is due without anything having happened, while none is under way.
    pub fn wake_at(&self, has_business: bool, holds: bool) -> Option<Instant> {
        if has_business {
            Some(self.not_before)
        } else {
            holds.then(|| self.heartbeat_at.max(self.not_before))
        }
    }
}
