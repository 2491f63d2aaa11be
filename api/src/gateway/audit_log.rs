//! `GET /v1/audit/...`: signed checkpoints of the tenant's audit log, and proofs that lead to them.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};

use btrust_schemas::audit::{
    AuditKeyView, AuditKeysView, CheckpointView, CheckpointsView, ConsistencyView, InclusionView,
};

use super::Gateway;
use super::core_client::{CoreClient, CoreError};
use crate::{
    access::{AuditRead, Caller},
    refusal::Refused,
    refusals,
};

pub struct AuditLog(pub Arc<Gateway>);

/// A signed checkpoint of the tenant's log
#[derive(Object)]
#[oai(rename = "AuditCheckpoint")]
struct Checkpoint {
    /// Which life of the database the log belongs to; a restored database begins another log
    incarnation: i64,
    /// From 1 without gaps in a log
    number: i64,
    /// Records that it covers
    size: i64,
    /// RFC 3339
    at: String,
    /// The C2SP signed note: origin, size, root and our own lines, with the signature
    note: String,
}

/// Checkpoints of one log in their order
#[derive(Object)]
#[oai(rename = "AuditCheckpoints")]
struct Checkpoints {
    checkpoints: Vec<Checkpoint>,
    /// Send it back as `after`; null on the last page
    next: Option<i64>,
}

/// A public key that signs or has signed checkpoints
#[expect(clippy::struct_field_names, reason = "as it is called in the answer")]
#[derive(Object)]
#[oai(rename = "AuditKey")]
struct Key {
    /// `name+hash+key`, as signed notes spell public keys
    key: String,
    /// RFC 3339
    since: String,
    /// RFC 3339; null for the key that signs now
    until: Option<String>,
}

/// Every key, the one that signs now last
#[derive(Object)]
#[oai(rename = "AuditKeys")]
struct Keys {
    keys: Vec<Key>,
    /// The notes in which a key that has ended introduces the next one, signed by both
    rotations: Vec<String>,
}

/// The proof that a record is in the log
#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct InclusionProof {
    incarnation: i64,
    /// Index of the leaf, from 0
    leaf: i64,
    /// SHA-256 of a zero byte and the record, base64
    leaf_hash: String,
    /// The hashes of RFC 9162, section 2.1.3, base64
    proof: Vec<String>,
    /// The exact bytes of the record, where it was asked for by workflow and sequence
    record: Option<String>,
    /// The checkpoint that the proof leads to
    checkpoint: Checkpoint,
}

/// The proof that a log is the beginning of a later one
#[derive(Object)]
struct ConsistencyProof {
    incarnation: i64,
    from: i64,
    to: i64,
    /// The hashes of RFC 9162, section 2.1.4, base64
    proof: Vec<String>,
}

impl From<CheckpointView> for Checkpoint {
    fn from(it: CheckpointView) -> Self {
        Self {
            incarnation: it.incarnation,
            number: it.number,
            size: it.size,
            at: it.at,
            note: it.note,
        }
    }
}

impl From<CheckpointsView> for Checkpoints {
    fn from(it: CheckpointsView) -> Self {
        Self {
            checkpoints: it.checkpoints.into_iter().map(Into::into).collect(),
            next: it.next,
        }
    }
}

impl From<AuditKeyView> for Key {
    fn from(it: AuditKeyView) -> Self {
        Self {
            key: it.key,
            since: it.since,
            until: it.until,
        }
    }
}

impl From<AuditKeysView> for Keys {
    fn from(it: AuditKeysView) -> Self {
        Self {
            keys: it.keys.into_iter().map(Into::into).collect(),
            rotations: it.rotations,
        }
    }
}

impl From<InclusionView> for InclusionProof {
    fn from(it: InclusionView) -> Self {
        Self {
            incarnation: it.incarnation,
            leaf: it.leaf,
            leaf_hash: it.leaf_hash,
            proof: it.proof,
            record: it.record,
            checkpoint: it.checkpoint.into(),
        }
    }
}

impl From<ConsistencyView> for ConsistencyProof {
    fn from(it: ConsistencyView) -> Self {
        Self {
            incarnation: it.incarnation,
            from: it.from,
            to: it.to,
            proof: it.proof,
        }
    }
}

#[derive(ApiResponse)]
enum CheckpointResponse {
    /// The checkpoint.
    #[oai(status = 200)]
    Found(Json<Checkpoint>),
}

#[derive(ApiResponse)]
enum CheckpointsResponse {
    /// A page of checkpoints.
    #[oai(status = 200)]
    Found(Json<Checkpoints>),
}

#[derive(ApiResponse)]
enum KeysResponse {
    /// The keys.
    #[oai(status = 200)]
    Found(Json<Keys>),
}

#[derive(ApiResponse)]
enum InclusionResponse {
    /// The proof.
    #[oai(status = 200)]
    Found(Json<InclusionProof>),
}

#[derive(ApiResponse)]
enum ConsistencyResponse {
    /// The proof.
    #[oai(status = 200)]
    Found(Json<ConsistencyProof>),
}

refusals! {
    AuditLogRefusals {
        PROOF_INVALID = 400 "proof_invalid"
            "the query names neither `workflow` and `sequence` nor `leaf`, or both";
        NOT_IN_LOG = 404 "not_in_log"
            "the tenant's log has no such checkpoint, record or size, or the next checkpoint will cover it";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

type Refusal = Refused<AuditLogRefusals>;

/// Core has one answer for whatever is not there.
fn refused(error: CoreError) -> Refusal {
    match error {
        CoreError::Refused(problem) if problem.status == 404 => NOT_IN_LOG.detail(
            "the log has no such checkpoint, record or size; what is new waits for the next checkpoint",
        ),
        error => error.into(),
    }
}

#[OpenApi]
impl AuditLog {
    /// Shows the latest checkpoint of the tenant's audit log.
    ///
    /// Kept elsewhere, it shows later that nothing up to it was taken away or changed.
    #[oai(
        path = "/v1/audit/checkpoints/latest",
        method = "get",
        operation_id = "getLatestAuditCheckpoint"
    )]
    async fn get_latest_audit_checkpoint(
        &self,
        caller: Caller<AuditRead>,
    ) -> Result<CheckpointResponse, Refusal> {
        let found = self.0.core.latest_checkpoint(caller.tenant()).await;
        let found = found.map_err(refused)?;
        Ok(CheckpointResponse::Found(Json(found.into())))
    }

    /// Lists the checkpoints of the tenant's audit log, 100 on a page.
    #[oai(
        path = "/v1/audit/checkpoints",
        method = "get",
        operation_id = "listAuditCheckpoints"
    )]
    async fn list_audit_checkpoints(
        &self,
        caller: Caller<AuditRead>,
        /// Which log; the latest when absent
        #[oai(validator(minimum(value = "1")))]
        incarnation: Query<Option<i64>>,
        /// Number of the last checkpoint that is known
        #[oai(validator(minimum(value = "0")))]
        after: Query<Option<i64>>,
    ) -> Result<CheckpointsResponse, Refusal> {
        let core = &self.0.core;
        let found = core.checkpoints(caller.tenant(), incarnation.0, after.0.unwrap_or(0));
        let found = found.await.map_err(refused)?;
        Ok(CheckpointsResponse::Found(Json(found.into())))
    }

    /// Shows the public keys that checkpoints are signed with.
    ///
    /// They are the same for all tenants. Who wants to find out whether somebody else signs keeps them
    /// elsewhere and compares.
    #[oai(
        path = "/v1/audit/keys",
        method = "get",
        operation_id = "listAuditKeys"
    )]
    async fn list_audit_keys(&self, _caller: Caller<AuditRead>) -> Result<KeysResponse, Refusal> {
        let found = self.0.core.audit_keys().await.map_err(refused)?;
        Ok(KeysResponse::Found(Json(found.into())))
    }

    /// Proves that a record is in the tenant's audit log, up to its latest checkpoint.
    ///
    /// The record is named by `workflow` and `sequence`, or by the index of its `leaf`.
    #[oai(
        path = "/v1/audit/proofs/inclusion",
        method = "get",
        operation_id = "getInclusionProof"
    )]
    async fn get_inclusion_proof(
        &self,
        caller: Caller<AuditRead>,
        #[oai(validator(max_length = 64))] workflow: Query<Option<String>>,
        /// Number of the record among those of its workflow, from 1
        #[oai(validator(minimum(value = "1")))]
        sequence: Query<Option<u64>>,
        /// Index of a record in the log, from 0
        #[oai(validator(minimum(value = "0")))]
        leaf: Query<Option<i64>>,
        /// Which log a `leaf` is of; the latest when absent
        #[oai(validator(minimum(value = "1")))]
        incarnation: Query<Option<i64>>,
    ) -> Result<InclusionResponse, Refusal> {
        let core = &self.0.core;
        let tenant = caller.tenant();
        let found = match (workflow.0, sequence.0, leaf.0) {
            (Some(workflow), Some(sequence), None) => {
                core.inclusion_of(tenant, &workflow, sequence).await
            }
            (None, None, Some(leaf)) => core.inclusion(tenant, incarnation.0, leaf).await,
            _ => return Err(PROOF_INVALID.detail("say `workflow` and `sequence`, or `leaf`")),
        };
        let found = found.map_err(refused)?;
        Ok(InclusionResponse::Found(Json(found.into())))
    }

    /// Proves that the log of `from` records is the beginning of the one of `to` records.
    #[oai(
        path = "/v1/audit/proofs/consistency",
        method = "get",
        operation_id = "getConsistencyProof"
    )]
    async fn get_consistency_proof(
        &self,
        caller: Caller<AuditRead>,
        /// Records of the earlier log
        #[oai(validator(minimum(value = "0")))]
        from: Query<i64>,
        /// Records of the later log
        #[oai(validator(minimum(value = "0")))]
        to: Query<i64>,
        /// Which log; the latest when absent
        #[oai(validator(minimum(value = "1")))]
        incarnation: Query<Option<i64>>,
    ) -> Result<ConsistencyResponse, Refusal> {
        let core = &self.0.core;
        let found = core.consistency(caller.tenant(), incarnation.0, from.0, to.0);
        let found = found.await.map_err(refused)?;
        Ok(ConsistencyResponse::Found(Json(found.into())))
    }
}

/// A query of a tenant's log, with what is there of the numbers.
fn query(tenant: &str, numbers: &[(&'static str, Option<i64>)]) -> Vec<(&'static str, String)> {
    let mut query = vec![("tenant", tenant.to_owned())];
    let given = |it: &(&'static str, Option<i64>)| Some((it.0, it.1?.to_string()));
    query.extend(numbers.iter().filter_map(given));
    query
}

impl CoreClient {
    async fn latest_checkpoint(&self, tenant: &str) -> Result<CheckpointView, CoreError> {
        let query = query(tenant, &[]);
        self.get(&["audit", "checkpoint"], &query).await
    }

    async fn checkpoints(
        &self,
        tenant: &str,
        incarnation: Option<i64>,
        after: i64,
    ) -> Result<CheckpointsView, CoreError> {
        let query = query(
            tenant,
            &[("incarnation", incarnation), ("after", Some(after))],
        );
        self.get(&["audit", "checkpoints"], &query).await
    }

    async fn audit_keys(&self) -> Result<AuditKeysView, CoreError> {
        self.get(&["audit", "keys"], &[]).await
    }

    async fn inclusion_of(
        &self,
        tenant: &str,
        workflow: &str,
        sequence: u64,
    ) -> Result<InclusionView, CoreError> {
        let mut query = query(tenant, &[]);
        query.push(("workflow", workflow.to_owned()));
        query.push(("sequence", sequence.to_string()));
        self.get(&["audit", "proofs", "inclusion"], &query).await
    }

    async fn inclusion(
        &self,
        tenant: &str,
        incarnation: Option<i64>,
        leaf: i64,
    ) -> Result<InclusionView, CoreError> {
        let query = query(
            tenant,
            &[("incarnation", incarnation), ("leaf", Some(leaf))],
        );
        self.get(&["audit", "proofs", "inclusion"], &query).await
    }

    async fn consistency(
        &self,
        tenant: &str,
        incarnation: Option<i64>,
        from: i64,
        to: i64,
    ) -> Result<ConsistencyView, CoreError> {
        let numbers = [
            ("incarnation", incarnation),
            ("from", Some(from)),
            ("to", Some(to)),
        ];
        let path = ["audit", "proofs", "consistency"];
        self.get(&path, &query(tenant, &numbers)).await
    }
}
