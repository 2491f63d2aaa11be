//! `POST /internal/v1/prompts/{id}/submissions`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_machine::Refusal;
use btrust_schemas::core::SubmissionRequest;
use btrust_schemas::ids::PromptId;

use super::access::Gateway;
use super::{Core, answer, refuse};
use crate::error::EngineError;

/// Answers a prompt; the first answer wins.
#[handler]
pub async fn submit(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<SubmissionRequest>,
) -> poem::Result<Response> {
    let Ok(prompt) = id.parse::<PromptId>() else {
        return Err(refuse(EngineError::Refused(Refusal::PromptUnknown {
            prompt: 0,
        })));
    };
    answer(core.engine.submit(prompt, request).await)
}
