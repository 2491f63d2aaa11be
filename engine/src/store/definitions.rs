//! Versions of definitions, and which of them is live.

use async_trait::async_trait;

use btrust_schemas::definition::VersionStatus;

use super::StoreError;

/// One version, without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    pub name: String,
    pub version: i64,
    pub title: String,
    pub digest: String,
    pub status: VersionStatus,
    /// Absent for versions older than this record.
    pub created_by: Option<String>,
    pub created_ms: i64,
    pub published_by: Option<String>,
    pub published_ms: Option<i64>,
    pub retired_by: Option<String>,
    pub retired_ms: Option<i64>,
    /// Whether the alias `live` names this version.
    pub is_live: bool,
}

/// A version that somebody stores.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub tenant: String,
    pub name: String,
    pub title: String,
    pub digest: String,
    /// The envelope as JSON text.
    pub envelope: String,
    pub act: Act,
}

/// Who does something to a version, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    pub by: String,
    pub at_ms: i64,
}

/// Names a version.
#[derive(Clone, Copy, Debug)]
pub struct VersionKey<'k> {
    pub tenant: &'k str,
    pub name: &'k str,
    pub version: i64,
}

/// One move of the alias `live`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRecord {
    pub version: i64,
    /// 1, 2, .. without gaps.
    pub revision: i64,
    /// Absent for moves older than this record.
    pub moved_by: Option<String>,
    pub moved_ms: i64,
}

/// Keeps versions. Their content never changes; their status only goes from draft to published to retired.
///
/// An act answers whether it has changed anything. Where it has not, the caller reads again and judges.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// Stores the next version as a draft, or finds the version that has this digest already.
    ///
    /// The flag says whether it is new.
    async fn draft(&self, version: &NewVersion) -> Result<(VersionRecord, bool), StoreError>;

    /// Publishes a draft, and makes it live where `to_live` says so.
    async fn publish(
        &self,
        key: VersionKey<'_>,
        act: &Act,
        to_live: bool,
    ) -> Result<bool, StoreError>;

    /// Retires a published version that is not live.
    async fn retire(&self, key: VersionKey<'_>, act: &Act) -> Result<bool, StoreError>;

    /// Makes a published version live, if the alias has still moved `revision` times.
    async fn move_live(
        &self,
        key: VersionKey<'_>,
        revision: i64,
        act: &Act,
    ) -> Result<bool, StoreError>;

    /// Reads one version; where none is named, the live one, or the newest where none is live.
    async fn version(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i64>,
    ) -> Result<Option<VersionRecord>, StoreError>;

    /// The envelope of a version as JSON text.
    async fn envelope(&self, key: VersionKey<'_>) -> Result<Option<String>, StoreError>;

    /// What [`DefinitionStore::version`] finds for every name of a tenant, by name.
    async fn all_definitions(&self, tenant: &str) -> Result<Vec<VersionRecord>, StoreError>;

    /// The newest versions of a definition, the newest first.
    async fn versions(
        &self,
        tenant: &str,
        name: &str,
        limit: u32,
    ) -> Result<Vec<VersionRecord>, StoreError>;

    /// The latest moves of the alias of a definition, the latest first.
    async fn live_moves(
        &self,
        tenant: &str,
        name: &str,
        limit: u32,
    ) -> Result<Vec<LiveRecord>, StoreError>;
}

/// Runs every rule against an empty store.
///
/// # Panics
///
/// At the first rule that the store breaks.
pub async fn check(store: &dyn DefinitionStore) {
    the_same_content_keeps_its_version(store).await;
    only_a_draft_is_published_and_only_what_is_not_live_is_retired(store).await;
    the_alias_moves_only_for_who_has_seen_where_it_is(store).await;
    a_version_is_found_by_tenant_name_and_number(store).await;
}

fn act(by: &str, at_ms: i64) -> Act {
    Act {
        by: by.to_owned(),
        at_ms,
    }
}

fn new(name: &str, digest: &str) -> NewVersion {
    NewVersion {
        tenant: "acme".to_owned(),
        name: name.to_owned(),
        title: format!("Title {digest}"),
        digest: digest.repeat(64),
        envelope: format!("{{\"digest\":\"{digest}\"}}"),
        act: act("author", 10),
    }
}

fn key(name: &str, version: i64) -> VersionKey<'_> {
    VersionKey {
        tenant: "acme",
        name,
        version,
    }
}

#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
async fn the_same_content_keeps_its_version(store: &dyn DefinitionStore) {
    let (first, is_new) = store.draft(&new("onboarding", "a")).await.unwrap();
    let expected = VersionRecord {
        name: "onboarding".to_owned(),
        version: 1,
        title: "Title a".to_owned(),
        digest: "a".repeat(64),
        status: VersionStatus::Draft,
        created_by: Some("author".to_owned()),
        created_ms: 10,
        published_by: None,
        published_ms: None,
        retired_by: None,
        retired_ms: None,
        is_live: false,
    };
    assert_eq!((&first, is_new), (&expected, true));
    let (second, is_new) = store.draft(&new("onboarding", "b")).await.unwrap();
    assert_eq!((second.version, is_new), (2, true));
    let again = NewVersion {
        act: act("somebody", 99),
        ..new("onboarding", "a")
    };
    assert_eq!(store.draft(&again).await.unwrap(), (first, false));
    store.draft(&new("another", "a")).await.unwrap();
}

#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
async fn only_a_draft_is_published_and_only_what_is_not_live_is_retired(
    store: &dyn DefinitionStore,
) {
    let one = key("onboarding", 1);
    assert!(!store.retire(one, &act("early", 11)).await.unwrap());
    assert!(!store.move_live(one, 0, &act("early", 11)).await.unwrap());
    assert!(store.publish(one, &act("boss", 20), true).await.unwrap());
    assert!(!store.publish(one, &act("other", 21), true).await.unwrap());
    assert!(!store.retire(one, &act("boss", 22)).await.unwrap());
    let two = key("onboarding", 2);
    assert!(store.publish(two, &act("boss", 23), false).await.unwrap());
    let live = store.version("acme", "onboarding", None).await.unwrap();
    let live = live.unwrap();
    assert_eq!((live.version, live.is_live), (1, true));
    assert_eq!(live.status, VersionStatus::Published);
    assert_eq!(live.published_by.as_deref(), Some("boss"));
    assert_eq!(live.published_ms, Some(20));

    assert!(store.retire(two, &act("boss", 24)).await.unwrap());
    assert!(!store.retire(two, &act("other", 25)).await.unwrap());
    assert!(!store.publish(two, &act("boss", 26), true).await.unwrap());
    let found = store.version("acme", "onboarding", Some(2)).await.unwrap();
    let retired = found.unwrap();
    assert_eq!(retired.status, VersionStatus::Retired);
    assert_eq!(retired.retired_by.as_deref(), Some("boss"));
    assert_eq!(retired.retired_ms, Some(24));
    assert!(
        !store
            .publish(key("nothing", 1), &act("x", 1), true)
            .await
            .unwrap()
    );
}

#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
async fn the_alias_moves_only_for_who_has_seen_where_it_is(store: &dyn DefinitionStore) {
    // A retired version never comes back.
    let two = key("onboarding", 2);
    assert!(!store.move_live(two, 1, &act("boss", 30)).await.unwrap());
    store.draft(&new("onboarding", "c")).await.unwrap();
    let three = key("onboarding", 3);
    assert!(store.publish(three, &act("boss", 31), true).await.unwrap());
    let one = key("onboarding", 1);
    assert!(!store.move_live(one, 1, &act("late", 32)).await.unwrap());
    assert!(store.move_live(one, 2, &act("boss", 33)).await.unwrap());
    let moves = store.live_moves("acme", "onboarding", 2).await.unwrap();
    let by_boss = |revision, version, at_ms| LiveRecord {
        version,
        revision,
        moved_by: Some("boss".to_owned()),
        moved_ms: at_ms,
    };
    assert_eq!(moves, [by_boss(3, 1, 33), by_boss(2, 3, 31)]);
    assert!(!store.retire(one, &act("boss", 34)).await.unwrap());
    assert!(store.retire(three, &act("boss", 35)).await.unwrap());
}

#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
async fn a_version_is_found_by_tenant_name_and_number(store: &dyn DefinitionStore) {
    let one = key("onboarding", 1);
    let envelope = store.envelope(one).await.unwrap();
    assert_eq!(envelope.as_deref(), Some("{\"digest\":\"a\"}"));
    assert_eq!(store.envelope(key("onboarding", 9)).await.unwrap(), None);
    let absent = store.version("acme", "onboarding", Some(9)).await.unwrap();
    assert_eq!(absent, None);
    let theirs = store.version("other", "onboarding", None).await.unwrap();
    assert_eq!(theirs, None);
    let draft = store.version("acme", "another", None).await.unwrap();
    let draft = draft.unwrap();
    assert_eq!((draft.version, draft.is_live), (1, false));

    let all = store.all_definitions("acme").await.unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|it| (it.name.as_str(), it.version, it.is_live))
        .collect();
    assert_eq!(all, [("another", 1, false), ("onboarding", 1, true)]);
    let versions = store.versions("acme", "onboarding", 2).await.unwrap();
    let versions: Vec<_> = versions.iter().map(|it| it.version).collect();
    assert_eq!(versions, [3, 2]);
    assert_eq!(store.versions("other", "onboarding", 9).await.unwrap(), []);
    assert_eq!(store.live_moves("acme", "another", 9).await.unwrap(), []);
}
