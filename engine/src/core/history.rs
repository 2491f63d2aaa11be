//! `GET /internal/v1/workflows/{id}/history?tenant=&after=&limit=`

use std::sync::Arc;

use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

#[derive(Deserialize)]
struct Parameters {
    tenant: String,
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// A page of history in the spelling of Step Functions.
#[handler]
pub async fn history(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    let Parameters {
        tenant,
        after,
        limit,
    } = parameters;
    answer(
        core.engine
            .history(&tenant, parse_workflow(&id)?, after, limit)
            .await,
    )
}
