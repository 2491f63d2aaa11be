//! `POST /internal/v1/workflows/{id}/restart`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::commands::RestartRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Starts a workflow that has ended again, as a new one.
#[handler]
pub async fn restart(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<RestartRequest>,
) -> poem::Result<Response> {
    answer(core.engine.restart(parse_workflow(&id)?, request).await)
}
