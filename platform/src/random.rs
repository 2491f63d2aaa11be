//! The only randomness that the engine sees, so that a simulation can repeat it.

use std::sync::Arc;

use rand::RngExt;

/// Gives random bytes.
pub trait RandomSource: Send + Sync {
    /// Fills `bytes`; every call gives other ones.
    fn fill(&self, bytes: &mut [u8]);
}

/// A source as services hold it.
pub type SharedRandom = Arc<dyn RandomSource>;

/// The process's cryptographic source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl SystemRandom {
    /// The source, ready to be shared.
    #[must_use]
    pub fn shared() -> SharedRandom {
        Arc::new(Self)
    }
}

impl RandomSource for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill(bytes);
    }
}

/// The next `N` bytes of a source.
#[must_use]
pub fn bytes<const N: usize>(random: &dyn RandomSource) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_does_not_repeat_itself() {
        let random = SystemRandom::shared();
        assert_ne!(bytes::<32>(&*random), bytes::<32>(&*random));
    }
}
