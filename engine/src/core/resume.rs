//! `POST /internal/v1/workflows/{id}/resume`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::commands::ActRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Lets a paused workflow go on.
#[handler]
pub async fn resume(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<ActRequest>,
) -> poem::Result<Response> {
    answer(core.engine.resume(parse_workflow(&id)?, request).await)
}
