//! `POST /internal/v1/workflow-acts`

use std::sync::Arc;

use poem::web::{Data, Json};
use poem::{Response, handler};

use btrust_schemas::commands::ManyRequest;

use super::access::Gateway;
use super::{Core, answer};

/// Pauses or resumes a page of the running workflows that a filter finds.
#[handler]
pub async fn acts(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Json(request): Json<ManyRequest>,
) -> poem::Result<Response> {
    answer(core.engine.act_on_many(request).await)
}
