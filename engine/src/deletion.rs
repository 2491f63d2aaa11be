//! Takes a closed workflow away, in a commit like any other.
//!
//! The commit that removes its rows writes one last row into the journal: the audit record that says so,
//! the next of the workflow's chain. When the streams have that, [`crate::retention`] destroys the key
//! and the row. The workflow is judged by the rows of the round that deletes it and is not opened, so
//! that what can no longer be read can still go.

use serde_json::json;
use sha2::{Digest, Sha256};

use btrust_platform::clock::rfc3339;
use btrust_schemas::core::Status;
use btrust_schemas::events::CloudEvent;
use btrust_schemas::ids::WorkflowId;
use btrust_schemas::search::DeletionRequest;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::retention::RetentionPolicies;
use crate::row_acts::Act;
use crate::store::{Deletion, NO_EVENTS, WorkflowRecord, Write};
use crate::stream_events::AUDIT_PREFIX;

/// Why a workflow is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Retention,
    Operator { actor: String },
}

/// Why a workflow stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    #[error("the workflow is open: end it first")]
    Open,
    #[error("the workflow lies under a legal hold")]
    LegalHold,
    #[error("the workflow is kept until {}", rfc3339(*.until_ms))]
    Retention { until_ms: i64 },
    #[error("the workflow's retention policy is not among `RETENTION_POLICIES`")]
    PolicyUnknown,
    #[error("other workflows have not heard everything from the workflow yet")]
    Owing,
    #[error("the streams have not heard everything of the workflow yet")]
    NotPublished,
}

impl Kept {
    /// The stable code, for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Open => "workflow_open",
            Self::LegalHold => "legal_hold",
            Self::Retention { .. } => "retention_not_over",
            Self::PolicyUnknown => crate::retention::RETENTION_UNKNOWN,
            Self::Owing => "messages_owed",
            Self::NotPublished => "not_published_yet",
        }
    }
}

impl Engine {
    /// Deletes a closed workflow that neither a policy nor a legal hold keeps.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`]; [`EngineError::Kept`].
    pub async fn delete(
        &self,
        workflow: WorkflowId,
        request: DeletionRequest,
    ) -> Result<(), EngineError> {
        tracing::info!(workflow.id = %workflow, actor = request.actor, "somebody deletes a workflow");
        let reason = Reason::Operator {
            actor: request.actor,
        };
        self.delete_one(workflow, Some(request.tenant), reason)
            .await
    }

    pub(crate) async fn delete_one(
        &self,
        workflow: WorkflowId,
        tenant: Option<String>,
        reason: Reason,
    ) -> Result<(), EngineError> {
        let record = self.shared.store.load(&[workflow]).await?.pop();
        let record = record.ok_or(EngineError::Unknown)?;
        let now_ms = self.shared.clock.now_ms();
        judge(&record, tenant.as_deref(), &self.shared.retention, now_ms)?;
        if self.told(&[workflow]).await?.is_empty() {
            return Err(Kept::NotPublished.into());
        }
        let sequence = record.sequence;
        let act = Act::Delete { reason, sequence };
        self.act_on_rows(workflow, tenant, act).await
    }
}

/// Whether a workflow may be deleted now.
///
/// # Errors
///
/// [`EngineError::Unknown`] for another tenant's; [`EngineError::Kept`].
pub fn judge(
    record: &WorkflowRecord,
    tenant: Option<&str>,
    policies: &RetentionPolicies,
    now_ms: i64,
) -> Result<(), EngineError> {
    let columns = &record.columns;
    if tenant.is_some_and(|it| it != columns.tenant) {
        return Err(EngineError::Unknown);
    }
    let is_open = Status::parse(&columns.status).is_none_or(Status::is_open);
    let closed_ms = columns.closed_ms.filter(|_| !is_open);
    let closed_ms = closed_ms.ok_or(Kept::Open)?;
    // A child, a parent or a next run would never be told.
    if 0 < record.snapshot.n_owed {
        return Err(Kept::Owing.into());
    }
    if record.snapshot.is_open {
        return Err(Kept::Open.into());
    }
    if columns.legal_hold {
        return Err(Kept::LegalHold.into());
    }
    let Some(policy) = &columns.retention else {
        return Ok(());
    };
    let keeps_ms = policies.keeps_ms(policy).ok_or(Kept::PolicyUnknown)?;
    let until_ms = closed_ms.saturating_add(keeps_ms);
    if now_ms < until_ms {
        return Err(Kept::Retention { until_ms }.into());
    }
    Ok(())
}

/// The write that takes a workflow away.
pub fn tombstone(record: WorkflowRecord, reason: &Reason, now_ms: i64, incarnation: i64) -> Write {
    let sequence = record.sequence + 1;
    let public = format!(
        "{AUDIT_PREFIX}{}\n",
        audit(&record, reason, now_ms, incarnation)
    );
    Write {
        workflow: record.workflow,
        batch: 0,
        first_sequence: sequence,
        sequence,
        committed_ms: now_ms,
        sealed_events: NO_EVENTS.to_vec(),
        public,
        snapshot: record.snapshot,
        sealed_snapshot: Vec::new(),
        columns: None,
        deletion: Some(Deletion {
            started_ms: record.columns.started_ms,
        }),
        before: Some(record.columns),
        attributes: None,
        acts: None,
        start: None,
        keeps_incident: false,
    }
}

/// The last audit record of a workflow, hashed on from the one before.
fn audit(record: &WorkflowRecord, reason: &Reason, now_ms: i64, incarnation: i64) -> String {
    let id = record.workflow;
    let number = record.snapshot.n_audit + 1;
    let (reason, actor) = match reason {
        Reason::Retention => ("retention", None),
        Reason::Operator { actor } => ("operator", Some(actor)),
    };
    let data = json!({
        "definition": record.columns.definition,
        "version": record.columns.version,
        "reason": reason,
        "by": actor,
        "retention": record.columns.retention,
        "sealedSha256": hex::encode(Sha256::digest(NO_EVENTS)),
        "previousHash": record.snapshot.chain,
    });
    let event = CloudEvent {
        specversion: "1.0".to_owned(),
        id: format!("{id}.{incarnation}.{number}.audit"),
        source: format!("/tenants/{}", record.columns.tenant),
        kind: "com.btrust.workflow.deleted".to_owned(),
        subject: id.to_string(),
        time: rfc3339(now_ms),
        dataschema: Some("urn:btrust:event:workflow.deleted:1".to_owned()),
        partitionkey: id.to_string(),
        sequence: number.to_string(),
        data,
    };
    let text = serde_json::to_string(&event).expect("an event is plain JSON");
    let hashed = text
        .strip_suffix("}}")
        .expect("a record ends with its data object");
    format!(
        "{hashed},\"hash\":\"{}\"}}}}",
        hex::encode(Sha256::digest(hashed))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::counts::DAY_MS;
    use crate::store::{SnapshotColumns, WorkflowColumns};

    fn record() -> WorkflowRecord {
        WorkflowRecord {
            workflow: WorkflowId::new(1, [1; 15]),
            columns: WorkflowColumns {
                tenant: "acme".to_owned(),
                status: "failed".to_owned(),
                closed_ms: Some(DAY_MS),
                retention: Some("age-30d".to_owned()),
                ..WorkflowColumns::default()
            },
            sequence: 9,
            snapshot: SnapshotColumns {
                chain: "c".repeat(64),
                n_audit: 4,
                ..SnapshotColumns::default()
            },
            incident: None,
            sealed_snapshot: Vec::new(),
        }
    }

    #[test]
    fn a_workflow_is_kept_for_what_it_is_and_no_longer() {
        let judged = |change: &dyn Fn(&mut WorkflowRecord), now_ms| {
            let mut record = record();
            change(&mut record);
            judge(&record, Some("acme"), &RetentionPolicies::default(), now_ms)
        };
        let over_ms = 31 * DAY_MS;
        assert_eq!(judged(&|_| {}, over_ms), Ok(()));
        let kept = |it: Kept| Err(EngineError::Kept(it));
        assert_eq!(
            judged(&|_| {}, over_ms - 1),
            kept(Kept::Retention { until_ms: over_ms })
        );
        assert_eq!(
            judged(&|it| it.columns.legal_hold = true, over_ms),
            kept(Kept::LegalHold)
        );
        assert_eq!(
            judged(&|it| it.columns.status = "running".to_owned(), over_ms),
            kept(Kept::Open)
        );
        assert_eq!(
            judged(&|it| it.snapshot.is_open = true, over_ms),
            kept(Kept::Open)
        );
        let owing = |it: &mut WorkflowRecord| {
            it.snapshot.is_open = true;
            it.snapshot.n_owed = 1;
        };
        assert_eq!(judged(&owing, over_ms), kept(Kept::Owing));
        let unknown = |it: &mut WorkflowRecord| it.columns.retention = Some("?".to_owned());
        assert_eq!(judged(&unknown, over_ms), kept(Kept::PolicyUnknown));
        assert_eq!(judged(&|it| it.columns.retention = None, DAY_MS), Ok(()));
        let other = judged(&|it| "other".clone_into(&mut it.columns.tenant), over_ms);
        assert_eq!(other, Err(EngineError::Unknown));
    }

    #[test]
    fn the_last_record_goes_on_with_the_chain() {
        let reason = Reason::Operator {
            actor: "ops".to_owned(),
        };
        let write = tombstone(record(), &reason, 2 * DAY_MS, 3);
        assert_eq!((write.first_sequence, write.sequence), (10, 10));
        assert!(write.has_events());
        let line = write.public.strip_prefix(AUDIT_PREFIX).unwrap().trim_end();
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["sequence"], "5");
        assert_eq!(event["id"], format!("{}.3.5.audit", write.workflow));
        assert_eq!(event["data"]["previousHash"], "c".repeat(64));
        let (hashed, hash) = line.split_once(",\"hash\":\"").unwrap();
        assert_eq!(
            hash,
            format!("{}\"}}}}", hex::encode(Sha256::digest(hashed)))
        );
    }
}
