//! `GET /internal/v1/audit/...`: checkpoints, proofs and lines of archives.

use std::sync::Arc;

use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;

use super::access::Gateway;
use super::{Core, answer, parse_workflow, refuse};
use crate::error::EngineError;
use crate::sequencer::AuditReader;

#[derive(Deserialize)]
struct Parameters {
    tenant: String,
    incarnation: Option<i64>,
    #[serde(default)]
    after: i64,
}

#[derive(Deserialize)]
struct InclusionParameters {
    tenant: String,
    incarnation: Option<i64>,
    leaf: Option<i64>,
    workflow: Option<String>,
    sequence: Option<u64>,
}

#[derive(Deserialize)]
struct ConsistencyParameters {
    tenant: String,
    incarnation: Option<i64>,
    from: i64,
    to: i64,
}

#[derive(Deserialize)]
struct ArchiveParameters {
    tenant: String,
    incarnation: i64,
    checkpoint: i64,
}

fn reader(core: &Core) -> poem::Result<&AuditReader> {
    core.engine
        .audit()
        .ok_or_else(|| refuse(EngineError::Unavailable))
}

/// The latest checkpoint.
#[handler]
pub async fn latest_checkpoint(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(asked): Query<Parameters>,
) -> poem::Result<Response> {
    answer(reader(core)?.latest(&asked.tenant).await)
}

/// A page of the checkpoints of a log.
#[handler]
pub async fn checkpoints(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(asked): Query<Parameters>,
) -> poem::Result<Response> {
    let Parameters {
        tenant,
        incarnation,
        after,
    } = asked;
    answer(reader(core)?.checkpoints(&tenant, incarnation, after).await)
}

/// The keys that sign.
#[handler]
pub async fn keys(_: Gateway, Data(core): Data<&Arc<Core>>) -> poem::Result<Response> {
    answer(reader(core)?.keys().await)
}

/// The proof that a record is in the log, by its workflow and sequence or by the index of its leaf.
#[handler]
pub async fn inclusion(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(asked): Query<InclusionParameters>,
) -> poem::Result<Response> {
    let reader = reader(core)?;
    let tenant = &asked.tenant;
    match (asked.workflow, asked.sequence, asked.leaf) {
        (Some(workflow), Some(sequence), None) => {
            let workflow = parse_workflow(&workflow)?;
            answer(reader.included(tenant, workflow, sequence).await)
        }
        (None, None, Some(leaf)) => answer(reader.leaf(tenant, asked.incarnation, leaf).await),
        _ => Err(refuse(EngineError::Invalid {
            code: "proof_invalid",
            detail: "say `workflow` and `sequence`, or `leaf`".to_owned(),
        })),
    }
}

/// The proof that a log is the beginning of a later one.
#[handler]
pub async fn consistency(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(asked): Query<ConsistencyParameters>,
) -> poem::Result<Response> {
    let ConsistencyParameters {
        tenant,
        incarnation,
        from,
        to,
    } = asked;
    answer(
        reader(core)?
            .consistency(&tenant, incarnation, from, to)
            .await,
    )
}

/// The lines of an archive up to a checkpoint, from the one before.
#[handler]
pub async fn archive_lines(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(asked): Query<ArchiveParameters>,
) -> poem::Result<Response> {
    let ArchiveParameters {
        tenant,
        incarnation,
        checkpoint,
    } = asked;
    answer(
        reader(core)?
            .archive(&tenant, incarnation, checkpoint)
            .await,
    )
}
