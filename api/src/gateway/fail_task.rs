//! `POST /v1/task-tokens/{token}/failure`

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use btrust_schemas::core::TaskFailureRequest;

use super::{
    Gateway,
    succeed_task::{TokenRefusals, TokenResponse, parse},
};
use crate::{
    access::{Caller, TasksWrite},
    refusal::Refused,
};

pub struct FailTask(pub Arc<Gateway>);

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct TaskFailure {
    /// What `Retry` and `Catch` compare
    #[oai(validator(min_length = 1, max_length = 256))]
    error: String,
    /// For the history; nothing personal
    #[oai(validator(max_length = 32_768))]
    cause: Option<String>,
}

#[OpenApi]
impl FailTask {
    /// Ends the attempt that waits for the token with an error.
    #[oai(
        path = "/v1/task-tokens/:token/failure",
        method = "post",
        operation_id = "failTask"
    )]
    async fn fail_task(
        &self,
        caller: Caller<TasksWrite>,
        /// `$states.context.Task.Token`, as the step was given it in its `Arguments`
        token: Path<String>,
        failure: Json<TaskFailure>,
    ) -> Result<TokenResponse, Refused<TokenRefusals>> {
        let request = TaskFailureRequest {
            tenant: caller.tenant().to_owned(),
            error: failure.0.error,
            cause: failure.0.cause.unwrap_or_default(),
            actor: caller.claims.sub,
        };
        self.0.core.fail_task(parse(&token)?, &request).await?;
        Ok(TokenResponse::Taken)
    }
}
