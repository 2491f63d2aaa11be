//! `GET /internal/v1/tenants/{tenant}/acknowledgements`

use std::sync::Arc;

use poem::web::{Data, Path};
use poem::{Response, handler};

use super::access::Gateway;
use super::{Core, answer};

/// Everything that a tenant has acknowledged.
#[handler]
pub async fn acknowledgements(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(tenant): Path<String>,
) -> poem::Result<Response> {
    answer(core.engine.acknowledgements().current(&tenant).await)
}
