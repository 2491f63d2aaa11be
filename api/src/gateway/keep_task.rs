//! `POST /v1/task-tokens/{token}/heartbeat`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path};

use btrust_schemas::core::TaskHeartbeatRequest;

use super::{
    Gateway,
    succeed_task::{TokenRefusals, TokenResponse, parse},
};
use crate::{
    access::{Caller, TasksWrite},
    refusal::Refused,
};

pub struct KeepTask(pub Arc<Gateway>);

#[OpenApi]
impl KeepTask {
    /// Says that the work on the step that waits for the token goes on.
    ///
    /// Where the state has `HeartbeatSeconds`, that long a silence ends the attempt
    /// with `States.HeartbeatTimeout`.
    #[oai(
        path = "/v1/task-tokens/:token/heartbeat",
        method = "post",
        operation_id = "keepTask"
    )]
    async fn keep_task(
        &self,
        caller: Caller<TasksWrite>,
        /// `$states.context.Task.Token`, as the step was given it in its `Arguments`
        token: Path<String>,
    ) -> Result<TokenResponse, Refused<TokenRefusals>> {
        let request = TaskHeartbeatRequest {
            tenant: caller.tenant().to_owned(),
        };
        self.0.core.keep_task(parse(&token)?, &request).await?;
        Ok(TokenResponse::Taken)
    }
}
