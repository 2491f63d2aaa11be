//! `POST /internal/v1/tasks/exchange`

use std::sync::Arc;

use poem::http::header;
use poem::web::{Data, Json};
use poem::{Body, Response, handler};

use btrust_schemas::exchange::ExchangeRequest;

use super::access::Worker;
use super::{Core, refuse};

/// Results in, acknowledgements and new turns out; parks for as long as the worker allows.
#[handler]
pub async fn exchange(
    worker: Worker,
    Data(core): Data<&Arc<Core>>,
    Json(request): Json<ExchangeRequest>,
) -> poem::Result<Response> {
    worker.require_queues(&request.queues)?;
    // What is brought is taken in and answered even when a shutdown has begun; that wait is short.
    let is_bounded = !request.results.is_empty();
    let exchanged = core
        .engine
        .exchange(&worker.client, &worker.queues, request);
    let answer = if is_bounded {
        exchanged.await
    } else {
        core.park(exchanged).await
    };
    let answer = answer.map_err(refuse)?;
    Ok(Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from_bytes(answer)))
}
