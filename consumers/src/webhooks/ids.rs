//! Ids of endpoints and deliveries.

use sha2::{Digest as _, Sha256};

use btrust_platform::random::{self, RandomSource};
use btrust_platform::sealing::aad;

/// Bytes of an id after its prefix.
const BYTES: usize = 16;

/// A new id of an endpoint: `whe_` and 32 hex digits.
#[must_use]
pub fn endpoint(random: &dyn RandomSource) -> String {
    format!("whe_{}", hex::encode(random::bytes::<BYTES>(random)))
}

/// The id of a delivery: `msg_` and 32 hex digits that follow from the endpoint and the event, so that an
/// event has one call at an endpoint however often it is read.
#[must_use]
pub fn delivery(endpoint: &str, source_id: &str) -> String {
    let parts = aad(&["btrust webhook delivery 1", endpoint, source_id]);
    format!("msg_{}", hex::encode(&Sha256::digest(parts)[..BYTES]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_named_by_its_endpoint_and_its_event_alone() {
        let name = delivery("whe_1", "wf_1.1.3.audit/9");
        assert_eq!(name, delivery("whe_1", "wf_1.1.3.audit/9"));
        assert_ne!(name, delivery("whe_2", "wf_1.1.3.audit/9"));
        assert_ne!(name, delivery("whe_1", "wf_1.2.3.audit/9"));
        assert_ne!(delivery("a", "bc"), delivery("ab", "c"));
        assert_eq!(name.len(), 36);
    }
}
