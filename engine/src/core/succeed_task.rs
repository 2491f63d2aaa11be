//! `POST /internal/v1/task-tokens/{token}/success`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::core::TaskSuccessRequest;

use super::access::Gateway;
use super::{Core, answer, parse_token};

/// Takes the token of a task back with its result.
#[handler]
pub async fn succeed_task(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(token): Path<String>,
    Json(request): Json<TaskSuccessRequest>,
) -> poem::Result<Response> {
    answer(
        core.engine
            .succeed_task(parse_token(&token)?, request)
            .await,
    )
}
