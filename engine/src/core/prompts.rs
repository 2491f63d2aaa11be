//! `GET /internal/v1/workflows/{id}/prompts?tenant=&audience=&after=&waitMs=`

use std::sync::Arc;

use poem::web::{Data, Path, Query};
use poem::{Response, handler};
use serde::Deserialize;

use btrust_schemas::turn::Audience;

use super::access::Gateway;
use super::{Core, answer, parse_workflow};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    tenant: String,
    /// Every audience when absent.
    audience: Option<Audience>,
    after: Option<u64>,
    #[serde(default)]
    wait_ms: u64,
}

/// The open prompts, waiting for something newer than `after` where asked to.
#[handler]
pub async fn prompts(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    let Parameters {
        tenant,
        audience,
        after,
        wait_ms,
    } = parameters;
    let id = parse_workflow(&id)?;
    answer(
        core.park(core.engine.prompts(&tenant, id, audience, after, wait_ms))
            .await,
    )
}
