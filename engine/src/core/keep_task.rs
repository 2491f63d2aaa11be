//! `POST /internal/v1/task-tokens/{token}/heartbeat`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::core::TaskHeartbeatRequest;

use super::access::Gateway;
use super::{Core, answer, parse_token};

/// Hears that whoever has the token of a task is still at it.
#[handler]
pub async fn keep_task(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(token): Path<String>,
    Json(request): Json<TaskHeartbeatRequest>,
) -> poem::Result<Response> {
    answer(core.engine.keep_task(parse_token(&token)?, request).await)
}
