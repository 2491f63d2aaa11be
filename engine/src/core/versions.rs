//! `GET /internal/v1/definitions/{name}/versions?tenant=`

use std::sync::Arc;

use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use super::access::Gateway;
use super::{Core, answer};

#[derive(Deserialize)]
struct Parameters {
    tenant: String,
}

/// The versions of a definition and the moves of its alias.
#[handler]
pub async fn versions(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    let definitions = core.engine.definitions();
    answer(definitions.versions(&parameters.tenant, &name).await)
}
