//! What operators see and set: incidents, and the limits of tasks.

use async_trait::async_trait;

use btrust_schemas::ids::WorkflowId;

use super::StoreError;

/// The latest incident of a task, or of a whole workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRow {
    pub workflow: WorkflowId,
    /// 0: the whole workflow stands still.
    pub task: i64,
    pub tenant: String,
    pub definition: String,
    pub version: i64,
    pub code: String,
    pub state: Option<String>,
    pub step: Option<String>,
    pub attempt: Option<i64>,
    pub turn: Option<i64>,
    pub raised_ms: i64,
    pub resolution: Option<Resolution>,
}

/// How an incident has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub at_ms: i64,
    pub by: String,
    /// `retry`, `fail`, `terminate` or `overtaken`.
    pub action: String,
    pub note: Option<String>,
}

/// An incident as whoever raises it knows it; tenant and definition are the workflow's.
#[derive(Clone, Debug)]
pub struct Raised {
    pub workflow: WorkflowId,
    pub task: i64,
    pub code: String,
    pub state: Option<String>,
    pub step: Option<String>,
    pub attempt: Option<i64>,
    pub turn: Option<i64>,
    pub at_ms: i64,
}

#[derive(Clone, Debug, Default)]
pub struct IncidentFilter {
    pub tenant: String,
    pub is_open: bool,
    pub code: Option<String>,
    pub step: Option<String>,
    pub definition: Option<String>,
    /// Time, workflow and task of the last incident of the page before.
    pub after: Option<(i64, WorkflowId, i64)>,
    pub limit: u32,
}

/// The limits of tasks as somebody has set them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsRow {
    /// Counts the changes, from 1.
    pub revision: i64,
    /// JSON.
    pub document: String,
    pub changed_by: String,
    pub changed_ms: i64,
}

#[async_trait]
pub trait OperationStore: Send + Sync {
    /// Notes an incident; one that is noted and open already stays as it is. Nothing is noted of a
    /// workflow that is not stored.
    async fn raise_incident(&self, raised: &Raised) -> Result<(), StoreError>;

    /// A page of a tenant's incidents, the latest first.
    async fn incidents(&self, filter: &IncidentFilter) -> Result<Vec<IncidentRow>, StoreError>;

    /// The latest incident of a task, or with task 0 of a workflow.
    async fn incident(
        &self,
        workflow: WorkflowId,
        task: i64,
    ) -> Result<Option<IncidentRow>, StoreError>;

    /// Closes an incident; says whether it was open.
    async fn close_incident(
        &self,
        workflow: WorkflowId,
        task: i64,
        resolution: &Resolution,
    ) -> Result<bool, StoreError>;

    /// The limits of tasks, if anybody has set any.
    async fn task_limits(&self) -> Result<Option<LimitsRow>, StoreError>;

    /// Replaces the limits whose revision is one less than that of `row`; says whether they were that.
    async fn put_task_limits(&self, row: &LimitsRow) -> Result<bool, StoreError>;
}

/// Runs every rule against a store that has the open workflow `known`, of tenant `acme` and definition
/// `onboarding`, and no incidents.
///
/// # Panics
///
/// At the first rule that the store breaks.
#[expect(
    clippy::unwrap_used,
    reason = "a rule that is broken ends the test that runs it"
)]
pub async fn check(store: &dyn OperationStore, known: WorkflowId) {
    let raised = |task, at_ms| Raised {
        workflow: known,
        task,
        code: "turn_poisoned".to_owned(),
        state: Some("Look".to_owned()),
        step: Some("ocr".to_owned()),
        attempt: Some(1),
        turn: Some(2),
        at_ms,
    };
    let filter = |is_open| IncidentFilter {
        tenant: "acme".to_owned(),
        is_open,
        limit: 10,
        ..IncidentFilter::default()
    };
    for (task, at_ms) in [(1, 10), (2, 20), (1, 30)] {
        store.raise_incident(&raised(task, at_ms)).await.unwrap();
    }
    let page = store.incidents(&filter(true)).await.unwrap();
    let seen: Vec<_> = page.iter().map(|it| (it.task, it.raised_ms)).collect();
    // The first one of task 1 was open when it was raised again.
    assert_eq!(seen, [(2, 20), (1, 10)]);
    assert_eq!(page[0].definition, "onboarding");
    let next = IncidentFilter {
        after: Some((20, known, 2)),
        ..filter(true)
    };
    assert_eq!(store.incidents(&next).await.unwrap(), page[1..]);
    let other = IncidentFilter {
        step: Some("otp".to_owned()),
        ..filter(true)
    };
    assert_eq!(store.incidents(&other).await.unwrap(), []);

    let resolution = Resolution {
        at_ms: 40,
        by: "somebody".to_owned(),
        action: "retry".to_owned(),
        note: None,
    };
    assert!(store.close_incident(known, 1, &resolution).await.unwrap());
    assert!(!store.close_incident(known, 1, &resolution).await.unwrap());
    let closed = store.incident(known, 1).await.unwrap().unwrap();
    assert_eq!(closed.resolution, Some(resolution));
    assert_eq!(store.incidents(&filter(false)).await.unwrap(), [closed]);
    store.raise_incident(&raised(1, 50)).await.unwrap();
    assert_eq!(store.incidents(&filter(true)).await.unwrap().len(), 2);

    let nobody = Raised {
        workflow: WorkflowId::new(9, [9; 15]),
        ..raised(1, 60)
    };
    store.raise_incident(&nobody).await.unwrap();
    assert_eq!(store.incident(nobody.workflow, 1).await.unwrap(), None);

    assert_eq!(store.task_limits().await.unwrap(), None);
    let row = |revision| LimitsRow {
        revision,
        document: "{}".to_owned(),
        changed_by: "somebody".to_owned(),
        changed_ms: 70,
    };
    let put = [1, 1, 2, 4];
    let mut done = Vec::new();
    for revision in put {
        done.push(store.put_task_limits(&row(revision)).await.unwrap());
    }
    assert_eq!(done, [true, false, true, false]);
    assert_eq!(store.task_limits().await.unwrap(), Some(row(2)));
}
