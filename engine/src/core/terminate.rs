//! `POST /internal/v1/workflows/{id}/terminate`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::commands::ActRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Ends a workflow at once; nothing is undone.
#[handler]
pub async fn terminate(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<ActRequest>,
) -> poem::Result<Response> {
    answer(core.engine.terminate(parse_workflow(&id)?, request).await)
}
