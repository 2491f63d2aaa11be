//! `POST /internal/v1/workflows/{id}/legal-hold`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::search::HoldRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Places or releases a legal hold.
#[handler]
pub async fn legal_hold(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<HoldRequest>,
) -> poem::Result<Response> {
    answer(core.engine.hold(parse_workflow(&id)?, request).await)
}
