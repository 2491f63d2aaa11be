//! `POST /internal/v1/workflows/{id}/signals`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::commands::SignalRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Sends a signal to a workflow, once for each key.
#[handler]
pub async fn signals(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<SignalRequest>,
) -> poem::Result<Response> {
    answer(core.engine.signal(parse_workflow(&id)?, request).await)
}
