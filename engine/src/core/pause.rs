//! `POST /internal/v1/workflows/{id}/pause`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::commands::ActRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Lets nothing new begin in a workflow until it is resumed.
#[handler]
pub async fn pause(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<ActRequest>,
) -> poem::Result<Response> {
    answer(core.engine.pause(parse_workflow(&id)?, request).await)
}
