//! `POST /internal/v1/workflows`

use std::sync::Arc;

use poem::web::{Data, Json};
use poem::{Response, handler};

use btrust_schemas::core::StartRequest;

use super::access::Gateway;
use super::{Core, answer};

/// Starts a workflow, at most once for a tenant and key.
#[handler]
pub async fn start(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Json(request): Json<StartRequest>,
) -> poem::Result<Response> {
    if request.wait_ms == 0 {
        // What was accepted is committed, also when the service is told to stop meanwhile.
        return answer(core.engine.start_workflow(request).await);
    }
    answer(core.park(core.engine.start_workflow(request)).await)
}
