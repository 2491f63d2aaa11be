//! What belongs to a tenant rather than to a workflow: definitions, acknowledgements, digest keys.

use async_trait::async_trait;

use super::StoreError;

/// One published version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionRecord {
    pub name: String,
    pub version: i64,
    pub digest: String,
    /// The envelope as JSON text.
    pub envelope: String,
    pub published_ms: i64,
    /// Whether the alias `live` names this version.
    pub is_live: bool,
}

/// A version that somebody publishes.
#[derive(Clone, Debug)]
pub struct NewDefinition {
    pub tenant: String,
    pub name: String,
    pub digest: String,
    pub envelope: String,
    pub published_ms: i64,
}

/// Published definitions; a version never changes.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// Stores the next version and makes it live, or finds the version that has this digest already.
    ///
    /// The flag says whether it is new.
    async fn publish(
        &self,
        definition: &NewDefinition,
    ) -> Result<(DefinitionRecord, bool), StoreError>;

    /// Reads one version, the live one where none is named.
    async fn definition(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i64>,
    ) -> Result<Option<DefinitionRecord>, StoreError>;

    /// The live version of every definition of a tenant, by name.
    async fn live_definitions(&self, tenant: &str) -> Result<Vec<DefinitionRecord>, StoreError>;
}

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

/// Runs every rule of both traits against an empty store.
///
/// # Panics
///
/// At the first rule that the store breaks.
#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
pub async fn check(store: &(impl DefinitionStore + TenantStore)) {
    let new = |name: &str, digest: &str| NewDefinition {
        tenant: "acme".to_owned(),
        name: name.to_owned(),
        digest: digest.repeat(64),
        envelope: format!("{{\"digest\":\"{digest}\"}}"),
        published_ms: 10,
    };
    let (first, is_new) = store.publish(&new("onboarding", "a")).await.unwrap();
    assert!(is_new && first.is_live && first.version == 1, "{first:?}");
    let (second, _) = store.publish(&new("onboarding", "b")).await.unwrap();
    assert_eq!((second.version, second.is_live), (2, true));
    let (again, is_new) = store.publish(&new("onboarding", "a")).await.unwrap();
    assert_eq!((again.version, again.is_live, is_new), (1, false, false));
    store.publish(&new("another", "a")).await.unwrap();

    let live = store
        .definition("acme", "onboarding", None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(live, second);
    let old = store
        .definition("acme", "onboarding", Some(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (old.version, old.envelope.as_str()),
        (1, "{\"digest\":\"a\"}")
    );
    assert_eq!(
        store
            .definition("acme", "onboarding", Some(3))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        store.definition("other", "onboarding", None).await.unwrap(),
        None
    );
    let names: Vec<_> = store.live_definitions("acme").await.unwrap();
    let names: Vec<_> = names
        .iter()
        .map(|it| (it.name.as_str(), it.version))
        .collect();
    assert_eq!(names, [("another", 1), ("onboarding", 2)]);

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
}
