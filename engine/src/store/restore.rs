//! Which life of the store this is: a restored past must never take up the ids of what was published.

use async_trait::async_trait;

use super::StoreError;

/// Reads and begins incarnations.
#[async_trait]
pub trait RestoreStore: Send + Sync {
    /// Counts the lives of the store, from 1; part of every event id.
    async fn incarnation(&self) -> Result<i64, StoreError>;

    /// Begins the next incarnation, `at_least` or later, and fences everybody who still writes the
    /// one before. Returns its number.
    async fn new_incarnation(&self, at_least: i64) -> Result<i64, StoreError>;
}

/// Runs every rule against `store`.
///
/// # Panics
///
/// At the first rule that the store breaks.
#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
pub async fn check(store: &dyn super::Store, restore: &dyn RestoreStore) {
    let request = super::AcquireRequest {
        owner: "before".to_owned(),
        partitions: vec![7],
        lease_ms: super::EMBEDDED_LEASE_MS,
        takeover: super::Takeover::Always,
    };
    let before = store.acquire(&request).await.unwrap();
    let incarnation = restore.incarnation().await.unwrap();
    assert_eq!(before.incarnation, incarnation);
    assert_eq!(restore.new_incarnation(0).await.unwrap(), incarnation + 1);
    assert_eq!(restore.incarnation().await.unwrap(), incarnation + 1);
    // Whoever owned it is fenced, and nobody has to wait for the end of a lease.
    let fence = super::Fence {
        partition: 7,
        epoch: before.partitions[0].epoch,
    };
    let probe = super::Batch {
        fences: vec![fence],
        ..super::Batch::default()
    };
    assert_eq!(store.commit(&probe).await.unwrap().fenced, [7]);
    let next = super::AcquireRequest {
        takeover: super::Takeover::WhenExpired,
        ..request
    };
    let after = store.acquire(&next).await.unwrap();
    assert_eq!(after.incarnation, incarnation + 1);
    assert_eq!(after.partitions.len(), 1);
    // What is known elsewhere of a later life counts.
    let later = restore.new_incarnation(incarnation + 9).await.unwrap();
    assert_eq!(later, incarnation + 9);
}
