//! A brake on wrong client secrets.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// How many wrong secrets one address may send for one client in
/// [`FAILURES_WINDOW_MS`]. A deployment with a mistyped secret stays below it for
/// the first seconds, so that its log says `invalid_client` and not this.
pub const FAILURES_MAX: u32 = 10;

/// How many wrong secrets one address may send in [`FAILURES_WINDOW_MS`], whatever
/// clients it names: who invents clients does not get a computation for each.
pub const FAILURES_OF_ADDRESS_MAX: u32 = 50;

/// How long failures count, in milliseconds.
pub const FAILURES_WINDOW_MS: i64 = 60 * 1_000;

/// How many pairs of client and address, and how many addresses, are watched at once.
const WATCHED_MAX: usize = 10_000;

/// Counts failures for each pair of client and address and for each address, in
/// memory: secrets have 256 random bits, so this saves work and guards no guess.
#[derive(Default)]
pub struct Failures {
    pairs: Mutex<HashMap<(String, String), Watched>>,
    addresses: Mutex<HashMap<String, Watched>>,
}

#[derive(Clone, Copy)]
struct Watched {
    n: u32,
    until_ms: i64,
}

impl Failures {
    /// How long the pair has to wait, in milliseconds, or `None` if it may go on.
    pub fn wait_ms(&self, client: &str, address: &str, now_ms: i64) -> Option<i64> {
        let pair = (client.to_owned(), address.to_owned());
        wait_ms(&self.pairs, &pair, FAILURES_MAX, now_ms)
    }

    /// How long the address has to wait before another secret of it is computed.
    pub fn wait_of_address_ms(&self, address: &str, now_ms: i64) -> Option<i64> {
        let address = address.to_owned();
        wait_ms(&self.addresses, &address, FAILURES_OF_ADDRESS_MAX, now_ms)
    }

    /// Counts one wrong secret.
    pub fn count(&self, client: &str, address: &str, now_ms: i64) {
        count(&self.pairs, (client.to_owned(), address.to_owned()), now_ms);
        count(&self.addresses, address.to_owned(), now_ms);
    }
}

fn wait_ms<K: Eq + Hash>(
    watched: &Mutex<HashMap<K, Watched>>,
    key: &K,
    n_max: u32,
    now_ms: i64,
) -> Option<i64> {
    let watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
    let it = watched.get(key)?;
    (now_ms < it.until_ms && n_max <= it.n).then(|| it.until_ms - now_ms)
}

fn count<K: Eq + Hash>(watched: &Mutex<HashMap<K, Watched>>, key: K, now_ms: i64) {
    let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
    if WATCHED_MAX <= watched.len() {
        watched.retain(|_, it| now_ms < it.until_ms);
    }
    if WATCHED_MAX <= watched.len() {
        // Someone invents clients or addresses; the bound on argon2 still holds.
        watched.clear();
    }
    let fresh = Watched {
        n: 0,
        until_ms: now_ms + FAILURES_WINDOW_MS,
    };
    let it = watched.entry(key).or_insert(fresh);
    if it.until_ms <= now_ms {
        *it = fresh;
    }
    it.n = it.n.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_failures_wait_and_others_do_not() {
        let failures = Failures::default();
        for now_ms in 0..i64::from(FAILURES_MAX) {
            assert_eq!(failures.wait_ms("a", "1.2.3.4", now_ms), None);
            failures.count("a", "1.2.3.4", now_ms);
        }
        assert_eq!(
            failures.wait_ms("a", "1.2.3.4", 10),
            Some(FAILURES_WINDOW_MS - 10)
        );
        assert_eq!(failures.wait_ms("b", "1.2.3.4", 10), None);
        assert_eq!(failures.wait_ms("a", "5.6.7.8", 10), None);
        assert_eq!(failures.wait_ms("a", "1.2.3.4", FAILURES_WINDOW_MS), None);
    }

    #[test]
    fn invented_clients_do_not_fill_the_memory() {
        let failures = Failures::default();
        for i in 0..3 * WATCHED_MAX {
            failures.count(&i.to_string(), "1.2.3.4", 0);
        }
        assert!(failures.pairs.lock().unwrap().len() <= WATCHED_MAX);
    }
}
