//! `GET /internal/v1/workflows/counts?tenant=&groupBy=&basis=&from=&to=` and the filters of a list

use std::sync::Arc;

use poem::web::{Data, Query};
use poem::{Response, handler};

use btrust_schemas::search::CountQuery;

use super::access::Gateway;
use super::{Core, answer};

/// How many workflows a tenant has.
#[handler]
pub async fn counts(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(query): Query<CountQuery>,
) -> poem::Result<Response> {
    answer(core.engine.counts(query).await)
}
