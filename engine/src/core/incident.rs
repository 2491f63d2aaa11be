//! `GET /internal/v1/incidents/{id}` and `POST /internal/v1/incidents/{id}/resolution`

use std::sync::Arc;

use poem::web::{Data, Json, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use btrust_schemas::ids::IncidentId;
use btrust_schemas::incidents::ResolutionRequest;

use super::access::Gateway;
use super::{Core, answer, refuse};
use crate::error::EngineError;

#[derive(Deserialize)]
pub struct Whose {
    tenant: String,
}

/// One incident.
#[handler]
pub async fn incident(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Query(whose): Query<Whose>,
) -> poem::Result<Response> {
    let id = parse(&id)?;
    answer(core.engine.incident(&whose.tenant, id).await)
}

/// Does what an operator says about an incident.
#[handler]
pub async fn resolution(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<ResolutionRequest>,
) -> poem::Result<Response> {
    let id = parse(&id)?;
    answer(core.engine.resolve_incident(id, request).await)
}

/// 404 for an id that is not spelt like one: there can be no such incident.
fn parse(id: &str) -> poem::Result<IncidentId> {
    id.parse().map_err(|_| refuse(EngineError::IncidentUnknown))
}
