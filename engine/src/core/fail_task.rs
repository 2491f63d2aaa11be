//! `POST /internal/v1/task-tokens/{token}/failure`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::core::TaskFailureRequest;

use super::access::Gateway;
use super::{Core, answer, parse_token};

/// Takes the token of a task back with an error.
#[handler]
pub async fn fail_task(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(token): Path<String>,
    Json(request): Json<TaskFailureRequest>,
) -> poem::Result<Response> {
    answer(core.engine.fail_task(parse_token(&token)?, request).await)
}
