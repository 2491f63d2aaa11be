//! `POST /internal/v1/workflows/{id}/redrive`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::commands::RedriveRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Lets a workflow that did not end well go on from where it failed.
#[handler]
pub async fn redrive(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<RedriveRequest>,
) -> poem::Result<Response> {
    answer(core.engine.redrive(parse_workflow(&id)?, request).await)
}
