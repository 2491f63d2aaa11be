//! Keys in use, so that not every seal asks a database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use btrust_schemas::ids::WorkflowId;

use crate::sealing::Sealer;

/// How long a key is used without looking whether it still exists.
pub const CACHED_FOR: Duration = Duration::from_mins(1);

/// Keys held in memory, about 1.5 KiB each.
const CACHED_MAX: usize = 16_384;

/// The cache of one adapter.
#[derive(Default)]
pub(super) struct SharedCache(Mutex<Cache>);

impl SharedCache {
    pub(super) fn lock(&self) -> MutexGuard<'_, Cache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) type Owner = (String, WorkflowId);

/// Two generations of keys: when the younger one is full the older one is
/// dropped, so that what was used lately stays.
#[derive(Default)]
pub(super) struct Cache {
    young: HashMap<Owner, Cached>,
    old: HashMap<Owner, Cached>,
}

struct Cached {
    sealer: Arc<Sealer>,
    loaded_at: Instant,
}

impl Cache {
    pub(super) fn get(&mut self, owner: &Owner, now: Instant) -> Option<Arc<Sealer>> {
        if !self.young.contains_key(owner)
            && let Some(cached) = self.old.remove(owner)
        {
            self.put(owner.clone(), cached);
        }
        let cached = self.young.get(owner)?;
        let is_fresh = now.saturating_duration_since(cached.loaded_at) < CACHED_FOR;
        is_fresh.then(|| Arc::clone(&cached.sealer))
    }

    pub(super) fn insert(&mut self, owner: Owner, sealer: Arc<Sealer>, loaded_at: Instant) {
        self.put(owner, Cached { sealer, loaded_at });
    }

    fn put(&mut self, owner: Owner, cached: Cached) {
        if CACHED_MAX / 2 <= self.young.len() {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(owner, cached);
    }

    pub(super) fn remove(&mut self, owner: &Owner) {
        self.young.remove(owner);
        self.old.remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::DataKey;

    #[test]
    fn the_cache_stays_bounded_and_keeps_what_is_used() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let owner = |n: u32| {
            let mut random = [0; 15];
            random[..4].copy_from_slice(&n.to_be_bytes());
            ("t".to_owned(), WorkflowId::new(0, random))
        };
        let sealer = Arc::new(Sealer::new(DataKey::from_bytes([1; 32]), [0; 8]));
        for n in 0..u32::try_from(3 * CACHED_MAX).unwrap() {
            cache.insert(owner(n), Arc::clone(&sealer), now);
            assert!(
                cache.get(&owner(0), now).is_some(),
                "the key in use was dropped at {n}"
            );
        }
        assert!(cache.young.len() + cache.old.len() <= CACHED_MAX + 1);
        assert!(cache.get(&owner(1), now).is_none());
    }
}
