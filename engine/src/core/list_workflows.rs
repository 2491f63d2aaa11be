//! `GET /internal/v1/workflows?tenant=&status=&definition=&decision=&openPrompt=&startedAfter=&startedBefore=&limit=&cursor=`

use std::sync::Arc;

use poem::web::{Data, Query};
use poem::{Response, handler};

use btrust_schemas::core::ListQuery;

use super::access::Gateway;
use super::{Core, answer};

/// A page of a tenant's workflows, the latest start first.
#[handler]
pub async fn list_workflows(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Query(query): Query<ListQuery>,
) -> poem::Result<Response> {
    answer(core.engine.list(query).await)
}
