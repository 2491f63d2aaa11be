//! `GET /internal/v1/definitions/{name}?tenant=&version=`

use std::sync::Arc;

use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use super::access::Gateway;
use super::{Core, answer};

#[derive(Deserialize)]
struct Parameters {
    tenant: String,
    version: Option<u32>,
}

/// One version of a definition; where none is named, the live one, or the newest where none is live.
#[handler]
pub async fn get_definition(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    let Parameters { tenant, version } = parameters;
    answer(
        core.engine
            .definitions()
            .view(&tenant, &name, version)
            .await,
    )
}
