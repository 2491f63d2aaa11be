//! `GET/PUT /internal/v1/task-limits`

use std::sync::Arc;

use poem::web::{Data, Json};
use poem::{Response, handler};

use btrust_schemas::task_limits::TaskLimitsRequest;

use super::access::Gateway;
use super::{Core, answer};

/// The limits of tasks that hold now.
#[handler]
pub fn task_limits(_: Gateway, Data(core): Data<&Arc<Core>>) -> poem::Result<Response> {
    answer(Ok(core.engine.task_limits()))
}

/// Replaces the limits of tasks.
#[handler]
pub async fn put_task_limits(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Json(request): Json<TaskLimitsRequest>,
) -> poem::Result<Response> {
    answer(core.engine.put_task_limits(request).await)
}
