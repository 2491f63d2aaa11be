//! `POST /internal/v1/tenants/{tenant}/acts`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::events::ReportedActs;

use super::access::Reporter;
use super::{Core, answer};

/// Records acts of a tenant; they are durable when this answers.
#[handler]
pub async fn acts(
    _: Reporter,
    Data(core): Data<&Arc<Core>>,
    Path(tenant): Path<String>,
    Json(reported): Json<ReportedActs>,
) -> poem::Result<Response> {
    answer(core.engine.record_acts(tenant, reported.acts).await)
}
