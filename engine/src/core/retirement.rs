//! `POST /internal/v1/definitions/{name}/versions/{version}/retirement`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::definition::RetirementRequest;

use super::access::Gateway;
use super::{Core, answer};

/// Lets nothing start on a version any more; what runs goes on.
#[handler]
pub async fn retirement(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path((name, version)): Path<(String, u32)>,
    Json(request): Json<RetirementRequest>,
) -> poem::Result<Response> {
    let definitions = core.engine.definitions();
    answer(definitions.retire(&name, version, &request).await)
}
