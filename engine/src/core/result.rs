//! `GET /internal/v1/workflows/{id}/result?tenant=&waitMs=`

use std::sync::Arc;

use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    tenant: String,
    #[serde(default)]
    wait_ms: u64,
}

/// How a workflow ended, waiting for its end where asked to.
#[handler]
pub async fn result(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    let Parameters { tenant, wait_ms } = parameters;
    let id = parse_workflow(&id)?;
    answer(core.park(core.engine.result(&tenant, id, wait_ms)).await)
}
