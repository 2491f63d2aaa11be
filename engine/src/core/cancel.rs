//! `POST /internal/v1/workflows/{id}/cancel`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::core::CancelRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Ends a workflow on request.
#[handler]
pub async fn cancel(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<CancelRequest>,
) -> poem::Result<Response> {
    answer(core.engine.cancel(parse_workflow(&id)?, request).await)
}
