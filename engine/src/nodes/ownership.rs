//! Which partitions this node may answer for, and until when by its own monotonic clock.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use btrust_schemas::ids::N_PARTITIONS;

use crate::store::Fence;

/// The end of a lease that has none.
const NEVER_MS: u64 = u64::MAX;

/// What all parts of an engine ask before they answer from memory.
///
/// A write needs no asking: it is fenced by its epoch in the database.
pub struct Ownership {
    /// The epoch under which each partition is owned; 0 where it is not.
    epochs: Vec<AtomicI64>,
    /// When the node has to stop answering, ms after `origin`.
    ends_ms: AtomicU64,
    origin: Instant,
    n_owned: watch::Sender<usize>,
    n_wanted: AtomicUsize,
}

impl Ownership {
    /// Owns nothing yet. Without a lease to renew, what is owned is owned until somebody takes it.
    pub fn new(has_lease: bool) -> Self {
        Self {
            epochs: (0..N_PARTITIONS).map(|_| AtomicI64::new(0)).collect(),
            ends_ms: AtomicU64::new(if has_lease { 0 } else { NEVER_MS }),
            origin: Instant::now(),
            n_owned: watch::Sender::new(0),
            n_wanted: AtomicUsize::new(usize::from(N_PARTITIONS)),
        }
    }

    /// Whether an answer from memory about a partition is still the last word.
    pub fn owns(&self, partition: u8) -> bool {
        self.epoch(partition).is_some() && !self.has_ended()
    }

    /// The epoch of a partition that has been adopted, whatever the lease says.
    pub fn epoch(&self, partition: u8) -> Option<i64> {
        let epoch = self.epochs[usize::from(partition)].load(Ordering::Acquire);
        (epoch != 0).then_some(epoch)
    }

    /// Those that have been adopted, in the order of their numbers.
    pub fn fences(&self) -> Vec<Fence> {
        let fence = |partition| {
            let epoch = self.epoch(partition)?;
            Some(Fence { partition, epoch })
        };
        (0..=u8::MAX).filter_map(fence).collect()
    }

    pub fn adopt(&self, partition: u8, epoch: i64) {
        let before = self.epochs[usize::from(partition)].swap(epoch, Ordering::AcqRel);
        if before == 0 {
            self.n_owned.send_modify(|it| *it += 1);
        }
    }

    /// Answers for a partition no more; returns whether it did.
    pub fn drop_one(&self, partition: u8) -> bool {
        let before = self.epochs[usize::from(partition)].swap(0, Ordering::AcqRel);
        if before != 0 {
            self.n_owned.send_modify(|it| *it -= 1);
        }
        before != 0
    }

    pub fn n_owned(&self) -> usize {
        *self.n_owned.borrow()
    }

    /// The node's fair share.
    pub fn n_wanted(&self) -> usize {
        self.n_wanted.load(Ordering::Relaxed)
    }

    pub fn want(&self, n_wanted: usize) {
        self.n_wanted.store(n_wanted, Ordering::Relaxed);
    }

    /// Hears of every change of the number of partitions.
    pub fn watch(&self) -> watch::Receiver<usize> {
        self.n_owned.subscribe()
    }

    /// Begins a lease.
    pub fn begin_lease(&self, ends_at: Instant) {
        self.ends_ms
            .store(self.since_origin(ends_at), Ordering::Release);
    }

    /// Prolongs the lease; false when it has ended already, and nothing that was owned is.
    pub fn renew_lease(&self, ends_at: Instant) -> bool {
        if self.has_ended() {
            return false;
        }
        let ends_ms = self.since_origin(ends_at);
        self.ends_ms.fetch_max(ends_ms, Ordering::AcqRel);
        true
    }

    /// Ends the lease: the database says so, or this node wants it.
    pub fn end_lease(&self) {
        self.ends_ms.store(0, Ordering::Release);
    }

    /// Waits for the end of the lease.
    pub async fn lease_ended(&self) {
        loop {
            let ends_ms = self.ends_ms.load(Ordering::Acquire);
            if ends_ms == NEVER_MS {
                return std::future::pending().await;
            }
            if self.has_ended() {
                return;
            }
            sleep_until(self.origin + Duration::from_millis(ends_ms)).await;
        }
    }

    /// Whether this node has to stop answering.
    pub fn has_ended(&self) -> bool {
        match self.ends_ms.load(Ordering::Acquire) {
            NEVER_MS => false,
            ends_ms => ends_ms <= self.since_origin(Instant::now()),
        }
    }

    fn since_origin(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        u64::try_from(since.as_millis()).unwrap_or(NEVER_MS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test.
    const LEASE: Duration = Duration::from_mins(10);

    #[tokio::test]
    async fn nothing_is_answered_after_the_end_of_the_lease() {
        let ownership = Ownership::new(true);
        assert!(ownership.has_ended());
        ownership.begin_lease(Instant::now() + LEASE);
        ownership.adopt(7, 3);
        assert!(ownership.owns(7) && !ownership.owns(8));
        assert!(ownership.renew_lease(Instant::now() + LEASE));
        ownership.end_lease();
        assert!(!ownership.owns(7));
        ownership.lease_ended().await;
        // A renewal that is answered too late brings nothing back.
        assert!(!ownership.renew_lease(Instant::now() + LEASE));
        assert!(!ownership.owns(7));
        assert_eq!(ownership.epoch(7), Some(3));
        assert!(ownership.drop_one(7) && !ownership.drop_one(7));
        assert_eq!((ownership.epoch(7), ownership.n_owned()), (None, 0));
    }

    #[tokio::test]
    async fn the_end_is_waited_for_across_renewals() {
        const STEP: Duration = Duration::from_millis(20);
        let ownership = Ownership::new(true);
        let began = Instant::now();
        ownership.begin_lease(began + STEP);
        let mut ended = Box::pin(ownership.lease_ended());
        // It waits for the first end when the lease is prolonged.
        assert!(futures_util::poll!(&mut ended).is_pending());
        assert!(ownership.renew_lease(began + 2 * STEP));
        ended.await;
        assert!(2 * STEP <= began.elapsed() + Duration::from_millis(1));
        assert!(ownership.has_ended());
    }

    #[test]
    fn what_has_no_lease_is_owned_until_it_is_dropped() {
        let ownership = Ownership::new(false);
        ownership.adopt(0, 1);
        assert!(ownership.owns(0) && !ownership.has_ended());
        let fence = Fence {
            partition: 0,
            epoch: 1,
        };
        assert_eq!(ownership.fences(), [fence]);
    }
}
