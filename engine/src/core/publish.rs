//! `POST /internal/v1/definitions`

use std::sync::Arc;

use poem::web::{Data, Json};
use poem::{Response, handler};

use btrust_schemas::core::PublishRequest;

use super::access::Gateway;
use super::{Core, answer};

/// Stores the next version of a definition, or finds the version with the same content.
#[handler]
pub async fn publish(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Json(request): Json<PublishRequest>,
) -> poem::Result<Response> {
    answer(core.engine.definitions().publish(request).await)
}
