//! `GET /internal/v1/definitions/{name}/live?tenant=` and `PUT`

use std::sync::Arc;

use poem::web::{Data, Json, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use btrust_schemas::definition::LiveRequest;

use super::access::Gateway;
use super::{Core, answer};

#[derive(Deserialize)]
struct Parameters {
    tenant: String,
}

/// The version that new workflows get.
#[handler]
pub async fn live(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    let definitions = core.engine.definitions();
    answer(definitions.live(&parameters.tenant, &name).await)
}

/// Makes a published version the one that new workflows get.
#[handler]
pub async fn move_live(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(name): Path<String>,
    Json(request): Json<LiveRequest>,
) -> poem::Result<Response> {
    answer(core.engine.definitions().move_live(&name, &request).await)
}
