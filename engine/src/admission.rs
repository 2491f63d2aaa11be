//! Who may start workflows now: a rate for each tenant that has one, and a fair share when much waits,
//! so that the burst of one tenant does not fill the mailbox of all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use btrust_schemas::task_limits::TaskLimits;

use crate::error::EngineError;

/// Starts that may wait for their commit at once; the next caller is told to come back.
///
/// Source: half of the mailbox, so that what runs already can go on.
pub const STARTS_WAITING_MAX: usize = 5_000;
/// Starts that wait above which each tenant gets no more than its share of the room.
///
/// Source: half of the room, which is a quarter of a second of work; below it nobody waits for long.
pub const STARTS_CROWDED: usize = STARTS_WAITING_MAX / 2;
/// How long a tenant without a token should stay away at most, s.
const RETRY_AFTER_S_MAX: u64 = 60;

/// One token in thousandths of thousandths, so that rates a millisecond are whole.
const TOKEN: i64 = 1_000_000;

#[derive(Default)]
pub struct Admission(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    n_waiting: usize,
    by_tenant: BTreeMap<String, usize>,
    buckets: BTreeMap<String, Bucket>,
}

struct Bucket {
    rate: i64,
    burst: i64,
    tokens: i64,
    /// `None` until it is first used.
    at_ms: Option<i64>,
}

/// A start that was let in; it counts as waiting until this is dropped.
pub struct Admitted<'a> {
    admission: &'a Admission,
    tenant: String,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut inner = self.admission.lock();
        inner.n_waiting = inner.n_waiting.saturating_sub(1);
        if let Some(n_waiting) = inner.by_tenant.get_mut(&self.tenant) {
            *n_waiting = n_waiting.saturating_sub(1);
            if *n_waiting == 0 {
                inner.by_tenant.remove(&self.tenant);
            }
        }
    }
}

impl Admission {
    /// Enforces this node's share of the rates of starts from now on.
    pub fn set_limits(&self, limits: &TaskLimits, n_nodes: u32) {
        let n_nodes = i64::from(n_nodes.max(1));
        let mut inner = self.lock();
        let mut before = std::mem::take(&mut inner.buckets);
        for (tenant, limits) in &limits.tenants {
            let Some(per_second) = limits.starts_per_second else {
                continue;
            };
            let burst = limits.starts_burst.unwrap_or(per_second);
            let burst = match per_second {
                0 => 0,
                _ => (i64::from(burst) * TOKEN / n_nodes).max(TOKEN),
            };
            let known = before.remove(tenant);
            let bucket = Bucket {
                rate: i64::from(per_second) * (TOKEN / 1_000) / n_nodes,
                burst,
                tokens: known.as_ref().map_or(burst, |it| it.tokens.min(burst)),
                at_ms: known.and_then(|it| it.at_ms),
            };
            inner.buckets.insert(tenant.clone(), bucket);
        }
    }

    /// Lets a start in.
    ///
    /// # Errors
    ///
    /// [`EngineError::Overloaded`] when too many wait, [`EngineError::TooManyRequests`] when it is this
    /// tenant that asks for too much.
    pub fn admit(&self, tenant: &str, now_ms: i64) -> Result<Admitted<'_>, EngineError> {
        let mut inner = self.lock();
        if STARTS_WAITING_MAX <= inner.n_waiting {
            return Err(EngineError::Overloaded);
        }
        let n_own = inner.by_tenant.get(tenant).copied().unwrap_or(0);
        if STARTS_CROWDED <= inner.n_waiting {
            // Room for one more tenant than there are is kept free.
            let n_others = inner.by_tenant.len() - usize::from(0 < n_own);
            if (STARTS_WAITING_MAX / (n_others + 2)).max(1) <= n_own {
                return Err(EngineError::TooManyRequests { retry_after_s: 1 });
            }
        }
        if let Some(bucket) = inner.buckets.get_mut(tenant) {
            bucket
                .pass(now_ms)
                .map_err(|retry_after_s| EngineError::TooManyRequests { retry_after_s })?;
        }
        inner.n_waiting += 1;
        *inner.by_tenant.entry(tenant.to_owned()).or_default() += 1;
        Ok(Admitted {
            admission: self,
            tenant: tenant.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Takes a token, or says how long to stay away, s.
    fn pass(&mut self, now_ms: i64) -> Result<(), u64> {
        let passed_ms = now_ms.saturating_sub(self.at_ms.unwrap_or(now_ms)).max(0);
        let gained = passed_ms.saturating_mul(self.rate);
        self.tokens = self.tokens.saturating_add(gained).min(self.burst);
        self.at_ms = Some(self.at_ms.map_or(now_ms, |it| it.max(now_ms)));
        if TOKEN <= self.tokens {
            self.tokens -= TOKEN;
            return Ok(());
        }
        let missing = TOKEN - self.tokens;
        let wait_ms = missing.checked_div(self.rate).unwrap_or(i64::MAX);
        let seconds = wait_ms.saturating_add(999) / 1_000;
        let seconds = u64::try_from(seconds).unwrap_or(RETRY_AFTER_S_MAX);
        Err(seconds.clamp(1, RETRY_AFTER_S_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<Admitted<'_>, EngineError>) -> Option<EngineError> {
        result.err()
    }

    #[test]
    fn the_burst_of_one_tenant_leaves_room_for_the_others() {
        let admission = Admission::default();
        let mut admitted = Vec::new();
        while let Ok(it) = admission.admit("loud", 0) {
            admitted.push(it);
        }
        assert_eq!(admitted.len(), STARTS_CROWDED);
        assert_eq!(
            refused(admission.admit("loud", 0)),
            Some(EngineError::TooManyRequests { retry_after_s: 1 })
        );
        for tenant in ["second", "third"] {
            for _ in 0..500 {
                admitted.push(admission.admit(tenant, 0).unwrap());
            }
        }
        // What is answered makes room again.
        admitted.clear();
        assert!(admission.admit("loud", 0).is_ok());
        assert!(admission.lock().by_tenant.is_empty());
    }

    #[test]
    fn no_more_starts_wait_than_there_is_room_for() {
        let admission = Admission::default();
        let tenants = (0..).map(|it: usize| format!("t{it}"));
        let admitted: Vec<_> = tenants
            .take(STARTS_WAITING_MAX)
            .map(|it| admission.admit(&it, 0).unwrap())
            .collect();
        assert_eq!(
            refused(admission.admit("late", 0)),
            Some(EngineError::Overloaded)
        );
        drop(admitted);
        assert!(admission.admit("late", 0).is_ok());
    }

    #[test]
    fn a_tenant_starts_no_faster_than_its_rate_and_is_told_when_to_come_back() {
        let limits = r#"{"tenants":{"acme":{"startsPerSecond":2,"startsBurst":3}}}"#;
        let admission = Admission::default();
        admission.set_limits(&serde_json::from_str(limits).unwrap(), 1);
        for _ in 0..3 {
            assert!(admission.admit("acme", 1_000).is_ok());
        }
        let too_many = Some(EngineError::TooManyRequests { retry_after_s: 1 });
        assert_eq!(refused(admission.admit("acme", 1_499)), too_many);
        assert!(admission.admit("acme", 1_500).is_ok());
        assert!(admission.admit("other", 1_500).is_ok());
    }
}
