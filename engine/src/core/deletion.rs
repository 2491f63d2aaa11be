//! `POST /internal/v1/workflows/{id}/deletion`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::search::DeletionRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Deletes a closed workflow.
#[handler]
pub async fn deletion(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<DeletionRequest>,
) -> poem::Result<Response> {
    answer(core.engine.delete(parse_workflow(&id)?, request).await)
}
