//! `GET /internal/v1/incidents`

use std::sync::Arc;

use poem::web::{Data, Query};
use poem::{Response, handler};

use btrust_schemas::incidents::IncidentQuery;

use super::access::Gateway;
use super::{Core, answer};

/// A page of a tenant's incidents.
#[handler]
pub async fn incidents(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(query): Query<IncidentQuery>,
) -> poem::Result<Response> {
    answer(core.engine.incidents(query).await)
}
