//! `POST /internal/v1/definitions/{name}/migrations`

use std::sync::Arc;

use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::definition::MigrationRequest;

use super::access::Gateway;
use super::{Core, answer};

/// Moves a page of the running workflows of a version, or says what would happen.
#[handler]
pub async fn migrations(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(name): Path<String>,
    Json(request): Json<MigrationRequest>,
) -> poem::Result<Response> {
    answer(core.engine.migrate(&name, request).await)
}
