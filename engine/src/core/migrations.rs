//! `POST /internal/v1/definitions/{name}/migrations`, and `/migrations/some` between nodes.

use std::sync::Arc;

use async_trait::async_trait;
use poem::http::HeaderMap;
use poem::web::{Data, Json, Path};
use poem::{Response, handler};

use btrust_schemas::definition::{MigrateSomeRequest, MigrateSomeView, MigrationRequest};
use btrust_schemas::problem::Problem;

use super::access::Gateway;
use super::acts::OtherNodes;
use super::{Core, answer};
use crate::error::EngineError;
use crate::migration::Movers;

/// Moves a page of the running workflows of a version, on whichever nodes they are, or says what would
/// happen.
#[handler]
pub async fn migrations(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(name): Path<String>,
    headers: &HeaderMap,
    Json(request): Json<MigrationRequest>,
) -> poem::Result<Response> {
    let others = OtherNodes::of(core, headers);
    let moved = core
        .engine
        .migrate_anywhere(&name, request, Some(&others))
        .await;
    answer(moved)
}

/// Moves workflows of this node, for the node that has found them.
#[handler]
pub async fn some_migrations(
    _: Gateway,
    Data(core): Data<&Arc<Core>>,
    Path(name): Path<String>,
    Json(request): Json<MigrateSomeRequest>,
) -> poem::Result<Response> {
    answer(core.engine.migrate_some(&name, &request).await)
}

#[async_trait]
impl Movers for OtherNodes<'_> {
    async fn move_some(
        &self,
        url: &str,
        name: &str,
        request: &MigrateSomeRequest,
    ) -> Result<MigrateSomeView, EngineError> {
        let path = format!("/definitions/{name}/migrations/some");
        let response = self.post(url, &path, request).await?;
        let is_done = response.status().is_success();
        let body = response.bytes().await;
        let body = body.map_err(|_| EngineError::Unavailable)?;
        if is_done {
            return serde_json::from_slice(&body).map_err(|_| EngineError::Unavailable);
        }
        // Somebody migrates there already; anything else passes, too, or is refused here the next time.
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.code == EngineError::Overloaded.code() => {
                Err(EngineError::Overloaded)
            }
            _ => Err(EngineError::Unavailable),
        }
    }
}
