//! Schedules as the store keeps them.

use async_trait::async_trait;

use btrust_schemas::ids::WorkflowId;

use super::StoreError;

/// One schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRecord {
    pub tenant: String,
    pub name: String,
    pub partition: u8,
    /// 1, 2, .. one for each change.
    pub revision: i64,
    pub definition: String,
    pub version: Option<i64>,
    pub cron: String,
    pub time_zone: String,
    pub overlap: String,
    pub catch_up: String,
    pub jitter_s: i64,
    pub is_paused: bool,
    pub sealed_input: Vec<u8>,
    /// Times up to here are done with, ms since the epoch.
    pub done_until_ms: i64,
    pub last_ms: Option<i64>,
    pub last_workflow: Option<WorkflowId>,
    pub last_error: Option<String>,
    pub created_by: String,
    pub created_ms: i64,
    pub changed_by: String,
    pub changed_ms: i64,
}

/// What has come of a time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiredRecord {
    pub tenant: String,
    pub name: String,
    /// Of which schedule: one that was deleted and made anew is another.
    pub created_ms: i64,
    pub done_until_ms: i64,
    pub last_ms: i64,
    /// The one before stays where there is none.
    pub workflow: Option<WorkflowId>,
    pub error: Option<String>,
}

/// Keeps schedules.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// Adds a schedule; false when there is one of the name.
    async fn insert_schedule(&self, record: &ScheduleRecord) -> Result<bool, StoreError>;

    /// Replaces a schedule but for what has come of its times, if it is at the revision before
    /// `record`'s; whether it was.
    async fn replace_schedule(&self, record: &ScheduleRecord) -> Result<bool, StoreError>;

    /// Deletes a schedule, if it is at `revision`; whether it was.
    async fn delete_schedule(
        &self,
        tenant: &str,
        name: &str,
        revision: i64,
    ) -> Result<bool, StoreError>;

    async fn find_schedule(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<ScheduleRecord>, StoreError>;

    /// A page of a tenant's schedules after the name `after`, in the order of names.
    async fn list_schedules(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ScheduleRecord>, StoreError>;

    async fn count_schedules(&self, tenant: &str) -> Result<i64, StoreError>;

    /// Every schedule of a partition.
    async fn schedules_of(&self, partition: u8) -> Result<Vec<ScheduleRecord>, StoreError>;

    /// Notes what has come of a time, unless a later one is done with already; whether it was noted.
    async fn put_fired(&self, fired: &FiredRecord) -> Result<bool, StoreError>;
}

/// Runs every rule against an empty store.
///
/// # Panics
///
/// At the first rule that the store breaks.
#[expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a rule that is broken ends the test that runs it; the rules follow from each other"
)]
pub async fn check(store: &dyn ScheduleStore) {
    let record = |tenant: &str, name: &str, partition: u8| ScheduleRecord {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        partition,
        revision: 1,
        definition: "flow".to_owned(),
        version: Some(3),
        cron: "0 9 * * *".to_owned(),
        time_zone: "Asia/Jerusalem".to_owned(),
        overlap: "skip".to_owned(),
        catch_up: "last".to_owned(),
        jitter_s: 5,
        is_paused: false,
        sealed_input: vec![3, 0, 4],
        done_until_ms: 1_000,
        last_ms: None,
        last_workflow: None,
        last_error: None,
        created_by: "admin".to_owned(),
        created_ms: 900,
        changed_by: "admin".to_owned(),
        changed_ms: 900,
    };
    let first = record("acme", "nightly", 7);
    assert!(store.insert_schedule(&first).await.unwrap());
    assert!(!store.insert_schedule(&first).await.unwrap());
    // Names compare as bytes.
    assert!(
        store
            .insert_schedule(&record("acme", "Nightly", 8))
            .await
            .unwrap()
    );
    assert!(
        store
            .insert_schedule(&record("other", "nightly", 7))
            .await
            .unwrap()
    );
    let found = store.find_schedule("acme", "nightly").await.unwrap();
    assert_eq!(found.as_ref(), Some(&first));
    assert_eq!(store.find_schedule("acme", "weekly").await.unwrap(), None);
    assert_eq!(store.count_schedules("acme").await.unwrap(), 2);

    let names = |records: Vec<ScheduleRecord>| -> Vec<(String, String)> {
        records.into_iter().map(|it| (it.tenant, it.name)).collect()
    };
    let pair = |tenant: &str, name: &str| (tenant.to_owned(), name.to_owned());
    let listed = store.list_schedules("acme", None, 9).await.unwrap();
    assert_eq!(
        names(listed),
        [pair("acme", "Nightly"), pair("acme", "nightly")]
    );
    let listed = store
        .list_schedules("acme", Some("Nightly"), 1)
        .await
        .unwrap();
    assert_eq!(names(listed), [pair("acme", "nightly")]);
    let of_seven = store.schedules_of(7).await.unwrap();
    assert_eq!(
        names(of_seven),
        [pair("acme", "nightly"), pair("other", "nightly")]
    );

    let workflow = WorkflowId::new(1, [9; 15]);
    let fired = |at_ms: i64, workflow: Option<WorkflowId>, error: Option<&str>| FiredRecord {
        tenant: "acme".to_owned(),
        name: "nightly".to_owned(),
        created_ms: 900,
        done_until_ms: at_ms,
        last_ms: at_ms,
        workflow,
        error: error.map(str::to_owned),
    };
    assert!(
        store
            .put_fired(&fired(2_000, Some(workflow), None))
            .await
            .unwrap()
    );
    assert!(
        !store
            .put_fired(&fired(2_000, None, Some("late")))
            .await
            .unwrap()
    );
    assert!(
        store
            .put_fired(&fired(3_000, None, Some("skipped")))
            .await
            .unwrap()
    );
    let of_another = FiredRecord {
        created_ms: 901,
        ..fired(4_000, None, None)
    };
    assert!(!store.put_fired(&of_another).await.unwrap());
    let after = ScheduleRecord {
        done_until_ms: 3_000,
        last_ms: Some(3_000),
        last_workflow: Some(workflow),
        last_error: Some("skipped".to_owned()),
        ..first.clone()
    };
    let found = store.find_schedule("acme", "nightly").await.unwrap();
    assert_eq!(found, Some(after.clone()));

    let second = ScheduleRecord {
        revision: 2,
        version: None,
        is_paused: true,
        sealed_input: vec![8],
        done_until_ms: 3_500,
        changed_by: "other".to_owned(),
        changed_ms: 3_500,
        ..after
    };
    assert!(store.replace_schedule(&second).await.unwrap());
    assert!(!store.replace_schedule(&second).await.unwrap());
    let found = store.find_schedule("acme", "nightly").await.unwrap();
    assert_eq!(found, Some(second));
    assert!(!store.delete_schedule("acme", "nightly", 1).await.unwrap());
    assert!(store.delete_schedule("acme", "nightly", 2).await.unwrap());
    assert_eq!(store.find_schedule("acme", "nightly").await.unwrap(), None);
}
