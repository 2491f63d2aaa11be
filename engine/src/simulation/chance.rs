//! Chance: every decision of a simulation comes from one seed.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use btrust_platform::random::RandomSource;

/// A generator of the kind `SplitMix64`.
///
/// Source: Steele, Lea and Flood, *Fast splittable pseudorandom number generators* (2014).
pub struct Chance(AtomicU64);

impl Chance {
    /// A generator for one purpose within a simulation.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(AtomicU64::new(digest(seed, &[purpose])))
    }

    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True in `permille` of 1,000 cases.
    pub fn happens(&self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    pub fn pick<'t, T>(&self, from: &'t [T]) -> &'t T {
        let index = self.below(u64::try_from(from.len()).expect("a list in memory"));
        &from[usize::try_from(index).expect("it is below a length")]
    }
}

impl RandomSource for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A number that depends on nothing but the seed and these words, whenever it is asked for.
pub fn digest(seed: u64, words: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    for word in words {
        hash.update(word.len().to_le_bytes());
        hash.update(word.as_bytes());
    }
    let bytes = hash.finalize();
    u64::from_le_bytes(bytes[..8].try_into().expect("a digest has 32 bytes"))
}
