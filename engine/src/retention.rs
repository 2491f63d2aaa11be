//! How long closed workflows are kept, and letting them go afterwards.
//!
//! A definition names a policy; the operator says what it means, so that a change of the law is a
//! change of one setting. What has no policy is kept until an operator deletes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use btrust_platform::http::Shutdown;
use btrust_schemas::ids::WorkflowId;

use crate::deletion::Reason;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::sequencer::Placed;
use crate::store::counts::DAY_MS;
use crate::store::lists::{DeletedWorkflow, EndedQuery};
use crate::store::{StoreError, WorkflowRecord};

/// The code of a definition that names a policy which the operator does not know.
pub const RETENTION_UNKNOWN: &str = "retention_unknown";
/// Longest name of a policy, in bytes.
pub const POLICY_NAME_BYTES_MAX: usize = 64;
/// Longest retention, in days: a hundred years.
pub const POLICY_DAYS_MAX: u32 = 36_525;

/// Policies that are known without a setting, in days.
///
/// Source: five years after the end is the rule of the EU's anti-money-laundering directives (Art. 40
/// of 2015/849) and of the FATF's recommendation 11; ten is what several countries ask for. The others
/// are short terms for checks that no such law is about.
const BUILT_IN: [(&str, u32); 5] = [
    ("aml-5y", 1_827),
    ("aml-10y", 3_653),
    ("age-30d", 30),
    ("standard-90d", 90),
    ("standard-1y", 366),
];

/// How often the engine looks for what may go.
const LOOK: Duration = Duration::from_mins(1);
/// Workflows deleted at a time: they share a commit with whatever else there is to commit.
const PAGE: u32 = 100;
/// Workflows deleted at one look; the rest goes at the next one.
///
/// Source: ten million workflows a month, which no bank of ours has, leave in time.
const LOOK_MAX: usize = 20_000;

/// What each policy means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicies(BTreeMap<String, u32>);

impl Default for RetentionPolicies {
    fn default() -> Self {
        let known = BUILT_IN.map(|(name, days)| (name.to_owned(), days));
        Self(known.into())
    }
}

impl RetentionPolicies {
    /// Reads `{"<policy>": <days>, ..}`; what is not in it keeps the meaning that it has by itself.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let given: BTreeMap<String, u32> = serde_json::from_str(text).ok()?;
        let is_good = |(name, days): (&String, &u32)| {
            !name.is_empty() && name.len() <= POLICY_NAME_BYTES_MAX && *days <= POLICY_DAYS_MAX
        };
        if !given.iter().all(is_good) {
            return None;
        }
        let mut policies = Self::default();
        policies.0.extend(given);
        Some(policies)
    }

    /// How long a policy keeps, in ms after the end.
    #[must_use]
    pub fn keeps_ms(&self, name: &str) -> Option<i64> {
        self.0.get(name).map(|days| i64::from(*days) * DAY_MS)
    }

    /// Refuses a definition whose policy nobody knows.
    ///
    /// # Errors
    ///
    /// `retention_unknown`, naming the policies that there are.
    pub fn check(&self, name: Option<&str>) -> Result<(), EngineError> {
        match name {
            Some(name) if !self.0.contains_key(name) => Err(EngineError::Invalid {
                code: RETENTION_UNKNOWN,
                detail: format!(
                    "the definition's `retention` is none of {}",
                    self.0.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// What one look for old workflows has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    pub n_deleted: usize,
    /// Whose last row and key are gone too.
    pub n_purged: usize,
}

/// Looks for old workflows until `shutdown`.
pub async fn run(engine: Arc<Engine>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        match engine.let_go().await {
            Ok(Retained {
                n_deleted: 0,
                n_purged: 0,
            }) => {}
            Ok(done) => tracing::info!(
                done.n_deleted,
                done.n_purged,
                "deleted what retention no longer keeps"
            ),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot delete what retention no longer keeps; will try again"
            ),
        }
    }
}

impl Engine {
    /// Deletes what its policy no longer keeps and the streams have heard everything of, and purges
    /// what was deleted once the streams have heard of that too.
    ///
    /// # Errors
    ///
    /// [`EngineError`] of a store; what is done is done, and the next call goes on.
    pub async fn let_go(&self) -> Result<Retained, EngineError> {
        let now_ms = self.shared.clock.now_ms();
        let mut n_deleted = 0;
        for (name, days) in &self.shared.retention.0 {
            // At the very end of its time it may go.
            let closed_before_ms = now_ms.saturating_sub(i64::from(*days) * DAY_MS) + 1;
            let mut query = EndedQuery {
                retention: name.clone(),
                closed_before_ms,
                after: None,
                limit: PAGE,
            };
            while n_deleted < LOOK_MAX {
                let page = self.shared.lists.ended(&query).await?;
                let Some(last) = page.last() else { break };
                query.after = Some(*last);
                let ids: Vec<WorkflowId> = page.iter().map(|it| it.workflow).collect();
                let ours = ids.into_iter();
                let ours = ours.filter(|it| self.shared.ownership.owns(it.partition()));
                let told = self.told(&ours.collect::<Vec<_>>()).await?;
                let asked = told
                    .into_iter()
                    .map(|id| self.delete_one(id, None, Reason::Retention));
                let done = join_all(asked).await;
                n_deleted += done.iter().filter(|it| it.is_ok()).count();
            }
        }
        let n_purged = self.purge().await?;
        Ok(Retained {
            n_deleted,
            n_purged,
        })
    }

    /// What has a place in a log, where there are logs.
    async fn placed(&self) -> Result<Option<Placed>, StoreError> {
        match self.audit() {
            Some(audit) => audit.placed_by_now().await.map(Some),
            None => Ok(None),
        }
    }

    /// Those of these workflows of which the streams have heard everything, and the logs have everything.
    pub(crate) async fn told(&self, ids: &[WorkflowId]) -> Result<Vec<WorkflowId>, StoreError> {
        let mut batches = self.shared.lists.batches_of(ids).await?;
        let cursors = self.shared.store.cursors().await?;
        let cursors: HashMap<u8, i64> = cursors
            .into_iter()
            .map(|it| (it.partition, it.batch))
            .collect();
        batches.retain(|(id, batch)| cursors.get(&id.partition()).is_some_and(|it| batch <= it));
        if let Some(placed) = self.placed().await? {
            // Whose they are matters only while something is set aside.
            let mut tenants = HashMap::new();
            if placed.depends_on_tenants() {
                let records = self.shared.store.load(ids).await?;
                let tenant = |it: WorkflowRecord| (it.workflow, it.columns.tenant);
                tenants.extend(records.into_iter().map(tenant));
            }
            batches.retain(|(id, batch)| {
                let tenant = tenants.get(id).map(String::as_str).unwrap_or_default();
                placed.has(id.partition(), *batch, tenant)
            });
        }
        Ok(batches.into_iter().map(|(id, _)| id).collect())
    }

    /// Destroys the keys of deleted workflows and forgets their last rows.
    async fn purge(&self) -> Result<usize, EngineError> {
        let mut n_purged = 0;
        let mut after = (0, 0);
        while n_purged < LOOK_MAX {
            let mut deleted = self.shared.lists.deleted(after, PAGE).await?;
            let Some(last) = deleted.last() else { break };
            after = (last.workflow.partition(), last.batch);
            if let Some(placed) = self.placed().await? {
                deleted.retain(|it| placed.has(it.workflow.partition(), it.batch, &it.tenant));
            }
            let mut by_partition: BTreeMap<u8, Vec<DeletedWorkflow>> = BTreeMap::new();
            for it in deleted {
                // The row stays until its key is gone, so a crash between the two forgets neither.
                let destroyed = self.shared.keys.destroy(&it.tenant, it.workflow).await;
                destroyed.map_err(crate::shared::unavailable)?;
                by_partition
                    .entry(it.workflow.partition())
                    .or_default()
                    .push(it);
            }
            for (partition, deleted) in by_partition {
                self.shared.lists.purge(partition, &deleted).await?;
                n_purged += deleted.len();
            }
        }
        Ok(n_purged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_adds_to_what_is_known_and_may_change_it() {
        let policies = RetentionPolicies::parse(r#"{"aml-5y": 2557, "ours": 1}"#).unwrap();
        assert_eq!(policies.keeps_ms("aml-5y"), Some(2_557 * DAY_MS));
        assert_eq!(policies.keeps_ms("ours"), Some(DAY_MS));
        assert_eq!(policies.keeps_ms("age-30d"), Some(30 * DAY_MS));
        assert_eq!(policies.keeps_ms("nobody's"), None);
        for text in [
            "",
            "[]",
            r#"{"a": -1}"#,
            r#"{"": 1}"#,
            r#"{"a": 36526}"#,
            r#"{"a": "5y"}"#,
        ] {
            assert_eq!(RetentionPolicies::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_policy_that_nobody_knows_is_refused_by_name() {
        let policies = RetentionPolicies::default();
        policies.check(None).unwrap();
        policies.check(Some("aml-5y")).unwrap();
        let error = policies.check(Some("for-ever")).unwrap_err();
        assert_eq!((error.code(), error.status()), (RETENTION_UNKNOWN, 422));
    }
}
