//! `POST /internal/v1/workflows/{id}/search-attributes`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::search::AttributesRequest;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

/// Gives search attributes other values.
#[handler]
pub async fn search_attributes(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Json(request): Json<AttributesRequest>,
) -> poem::Result<Response> {
    answer(
        core.engine
            .change_attributes(parse_workflow(&id)?, request)
            .await,
    )
}
