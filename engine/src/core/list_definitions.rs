//! `GET /internal/v1/definitions?tenant=`

use std::sync::Arc;

use poem::web::{Data, Query};
use poem::{Response, handler};
use serde::Deserialize;

use super::access::Gateway;
use super::{Core, answer};

#[derive(Deserialize)]
struct Parameters {
    tenant: String,
}

/// Every definition of a tenant: its live version, or its newest where none is live.
#[handler]
pub async fn list_definitions(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(parameters): Query<Parameters>,
) -> poem::Result<Response> {
    answer(core.engine.definitions().list(&parameters.tenant).await)
}
