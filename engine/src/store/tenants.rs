//! What belongs to a tenant rather than to a workflow: acknowledgements and digest keys.

use async_trait::async_trait;

use super::StoreError;

/// A tenant's statement that it accepts a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcknowledgementRecord {
    pub tenant: String,
    pub kind: String,
    pub statement: String,
    pub by: String,
    pub at_ms: i64,
}

/// What a tenant has said and the key under which its references are digested.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// Records a statement; the first one of a kind stays.
    async fn acknowledge(&self, record: &AcknowledgementRecord) -> Result<(), StoreError>;

    /// Every statement of every tenant.
    async fn acknowledgements(&self) -> Result<Vec<AcknowledgementRecord>, StoreError>;

    /// The tenant's wrapped digest key; `wrapped` becomes it where there is none yet.
    async fn digest_key(&self, tenant: &str, wrapped: &[u8]) -> Result<Vec<u8>, StoreError>;

    /// The tenant's wrapped digest key, if it has one.
    async fn find_digest_key(&self, tenant: &str) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Runs every rule against an empty store.
///
/// # Panics
///
/// At the first rule that the store breaks.
#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
pub async fn check(store: &dyn TenantStore) {
    let record = |statement: &str| AcknowledgementRecord {
        tenant: "acme".to_owned(),
        kind: "uncertified_liveness".to_owned(),
        statement: statement.to_owned(),
        by: "somebody".to_owned(),
        at_ms: 5,
    };
    store.acknowledge(&record("first")).await.unwrap();
    store.acknowledge(&record("second")).await.unwrap();
    assert_eq!(store.acknowledgements().await.unwrap(), [record("first")]);

    assert_eq!(store.find_digest_key("acme").await.unwrap(), None);
    assert_eq!(store.digest_key("acme", b"first").await.unwrap(), b"first");
    assert_eq!(store.digest_key("acme", b"second").await.unwrap(), b"first");
    assert_eq!(
        store.find_digest_key("acme").await.unwrap().as_deref(),
        Some(&b"first"[..])
    );

    // Names compare as bytes: neither case nor a space at the end is passed over.
    for other in ["ACME", "acme ", "acm\u{e9}"] {
        assert_eq!(
            store.find_digest_key(other).await.unwrap(),
            None,
            "{other:?}"
        );
        let theirs = store.digest_key(other, other.as_bytes()).await.unwrap();
        assert_eq!(theirs, other.as_bytes());
    }
}
