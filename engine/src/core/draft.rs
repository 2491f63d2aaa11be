//! `POST /internal/v1/definitions`

use std::sync::Arc;

use poem::web::{Data, Json};
use poem::{Response, handler};

use btrust_schemas::definition::DraftRequest;

use super::access::Gateway;
use super::{Core, answer};

/// Stores the next version of a definition, or finds the version with the same content.
#[handler]
pub async fn draft(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Json(request): Json<DraftRequest>,
) -> poem::Result<Response> {
    answer(core.engine.definitions().draft(request).await)
}
