//! `GET /internal/v1/workflows/{id}?tenant=`

use std::sync::Arc;

use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

#[derive(Deserialize)]
struct Parameters {
    tenant: String,
}

/// How a workflow stands.
#[handler]
pub async fn workflow(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    answer(
        core.engine
            .view(&parameters.tenant, parse_workflow(&id)?)
            .await,
    )
}
