//! `GET /internal/v1/analytics/funnels?tenant=&definition=&version=&from=&to=&groupBy=`

use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Json, Query};
use poem::{IntoResponse, Response, handler};

use btrust_platform::problem::problem;
use btrust_platform::telemetry::causes;
use btrust_schemas::analytics::FunnelQuery;

use super::Streams;
use super::access::Gateway;
use crate::analytics::{self, FunnelsError};

/// What a tenant's analytics stream adds up to.
#[handler]
pub async fn funnels(
    _: Gateway,
    Data(streams): Data<&Arc<Streams>>,
    Query(query): Query<FunnelQuery>,
) -> poem::Result<Response> {
    let funnels = analytics::funnels(&streams.database, &query).await;
    let (status, code) = match &funnels {
        Ok(_) => (StatusCode::OK, ""),
        Err(FunnelsError::Invalid(_)) => (StatusCode::BAD_REQUEST, "funnel_query_invalid"),
        Err(FunnelsError::TooBroad) => (StatusCode::BAD_REQUEST, "filter_too_broad"),
        Err(FunnelsError::Unavailable(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable")
        }
    };
    funnels.map(|it| Json(it).into_response()).map_err(|error| {
        if status.is_server_error() {
            tracing::error!(%error, causes = causes(&error), "no funnels");
        }
        problem(status, code, error.to_string())
    })
}
