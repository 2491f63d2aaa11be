//! `POST /v1/task-tokens/{token}/success`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json, types::Any};
use serde_json::{Value, json};

use btrust_schemas::{core::TaskSuccessRequest, ids::TaskToken};

use super::Gateway;
use crate::{
    access::{Caller, TasksWrite},
    refusal::Refused,
    refusals,
};

pub struct SucceedTask(pub Arc<Gateway>);

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct TaskSuccess {
    result: TaskResult,
}

/// How the step ends, as its contract says (`schemas/json/`).
#[derive(Object)]
#[oai(deny_unknown_fields)]
struct TaskResult {
    /// One of the contract's words
    outcome: String,
    /// `{}` when absent
    output: Option<Any<Value>>,
}

#[derive(ApiResponse)]
pub enum TokenResponse {
    /// Taken.
    #[oai(status = 204)]
    Taken,
}

refusals! {
    /// What every operation on a task's token can answer.
    TokenRefusals {
        TOKEN_UNKNOWN = 404 "token_unknown"
            "no task of the tenant waits for this token: it never did, or does no longer";
        PAYLOAD_TOO_LARGE = 413 "payload_too_large" "the result is larger than a state's data may be";
        PAYLOAD_TOO_DEEP = 413 "payload_too_deep" "the result is nested deeper than a state's data may be";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl SucceedTask {
    /// Ends the step that waits for the token with a result.
    #[oai(
        path = "/v1/task-tokens/:token/success",
        method = "post",
        operation_id = "succeedTask"
    )]
    async fn succeed_task(
        &self,
        caller: Caller<TasksWrite>,
        /// `$states.context.Task.Token`, as the step was given it in its `Arguments`
        token: Path<String>,
        success: Json<TaskSuccess>,
    ) -> Result<TokenResponse, Refused<TokenRefusals>> {
        let TaskResult { outcome, output } = success.0.result;
        let output = output.map_or_else(|| json!({}), |it| it.0);
        let request = TaskSuccessRequest {
            tenant: caller.tenant().to_owned(),
            result: json!({ "outcome": outcome, "output": output }),
            actor: caller.claims.sub,
        };
        self.0.core.succeed_task(parse(&token)?, &request).await?;
        Ok(TokenResponse::Taken)
    }
}

/// What is no token and what nobody waits for are one answer.
pub fn parse(token: &str) -> Result<TaskToken, Refused<TokenRefusals>> {
    let unknown = || TOKEN_UNKNOWN.detail("no task waits for this token");
    token.parse().map_err(|_| unknown())
}
