//! Tokens of tasks that wait for them: sent back with a result or an error, or kept alive.

use btrust_machine::{Command, Payload, Refusal};
use btrust_schemas::core::{TaskFailureRequest, TaskHeartbeatRequest, TaskSuccessRequest};
use btrust_schemas::ids::TaskToken;

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Ends the task that waits for the token with a result.
    ///
    /// # Errors
    ///
    /// [`Refusal::TokenUnknown`] when no task of the tenant waits for it, or no longer.
    pub async fn succeed_task(
        &self,
        token: TaskToken,
        request: TaskSuccessRequest,
    ) -> Result<(), EngineError> {
        tracing::info!(task.id = %token.task, actor = request.actor, "the token of a task comes back");
        let command = Command::TokenSuccess {
            token: token.to_string(),
            result: Payload::from(request.result),
        };
        self.send_back(token, request.tenant, command).await
    }

    /// Ends the attempt that waits for the token with an error, for `Retry` and `Catch`.
    ///
    /// # Errors
    ///
    /// [`Refusal::TokenUnknown`] when no task of the tenant waits for it, or no longer.
    pub async fn fail_task(
        &self,
        token: TaskToken,
        request: TaskFailureRequest,
    ) -> Result<(), EngineError> {
        tracing::info!(task.id = %token.task, actor = request.actor, "the token of a task comes back with an error");
        let command = Command::TokenFailure {
            token: token.to_string(),
            error: request.error,
            cause: request.cause,
        };
        self.send_back(token, request.tenant, command).await
    }

    /// Gives whoever has the token `HeartbeatSeconds` from now.
    ///
    /// # Errors
    ///
    /// [`Refusal::TokenUnknown`] when no task of the tenant waits for it, or no longer.
    pub async fn keep_task(
        &self,
        token: TaskToken,
        request: TaskHeartbeatRequest,
    ) -> Result<(), EngineError> {
        let command = Command::TokenHeartbeat {
            token: token.to_string(),
        };
        self.send_back(token, request.tenant, command).await
    }

    async fn send_back(
        &self,
        token: TaskToken,
        tenant: String,
        command: Command,
    ) -> Result<(), EngineError> {
        match self.command(tenant, token.task.workflow, command).await {
            Ok(_) => Ok(()),
            // Nobody asked for a workflow: that it is not there, another's or over is the token's fate.
            Err(EngineError::Unknown | EngineError::Refused(Refusal::WorkflowClosed)) => {
                Err(EngineError::Refused(Refusal::TokenUnknown))
            }
            Err(error) => Err(error),
        }
    }
}
