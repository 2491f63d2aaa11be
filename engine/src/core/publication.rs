//! `POST /internal/v1/definitions/{name}/versions/{version}/publication`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::definition::PublicationRequest;

use super::access::Gateway;
use super::{Core, answer};

/// Publishes a draft; the gateway has passed it through the gates again.
#[handler]
pub async fn publication(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((name, version)): Path<(String, u32)>,
    Json(request): Json<PublicationRequest>,
) -> poem::Result<Response> {
    let definitions = core.engine.definitions();
    answer(definitions.publish(&name, version, &request).await)
}
