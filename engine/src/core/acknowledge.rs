//! `POST /internal/v1/tenants/{tenant}/acknowledgements`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::core::Acknowledgement;

use super::access::Gateway;
use super::{Core, answer};

/// Records that a tenant knows of a limit and accepts it; the first statement of a kind stays.
#[handler]
pub async fn acknowledge(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(tenant): Path<String>,
    Json(it): Json<Acknowledgement>,
) -> poem::Result<Response> {
    answer(
        core.engine
            .acknowledgements()
            .put(&tenant, &it.kind, &it.statement, &it.by)
            .await,
    )
}
