//! `/tenants/{tenant}/webhook-endpoints` and what is below it, for the gateway.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Json, Path, Query};
use poem::{IntoResponse as _, Response, Route, get, handler, post};
use serde::Serialize;

use btrust_platform::problem::problem;
use btrust_schemas::webhooks::{
    DeliveryQuery, EndpointAct, EndpointRequest, ReplayRequest, RotationRequest,
};

use super::Streams;
use super::access::Gateway;
use crate::webhooks::AdminError;

/// Adds the routes of webhooks.
pub fn install(routes: Route) -> Route {
    let endpoint = "/tenants/:tenant/webhook-endpoints/:id";
    let below = |path: &str| format!("{endpoint}{path}");
    routes
        .at("/tenants/:tenant/webhook-endpoints", get(list).post(create))
        .at(endpoint, get(show).put(replace))
        .at(below("/deletion"), post(delete))
        .at(below("/secrets"), post(rotate))
        .at(below("/test"), post(test))
        .at(below("/replay"), post(replay_since))
        .at(below("/deliveries"), get(deliveries))
        .at(below("/deliveries/:delivery"), get(delivery))
        .at(below("/deliveries/:delivery/replay"), post(replay_one))
}

type Shared<'d> = Data<&'d Arc<Streams>>;

#[handler]
async fn list(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path(tenant): Path<String>,
) -> poem::Result<Response> {
    answer(streams.webhooks.list(&tenant).await)
}

#[handler]
async fn create(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path(tenant): Path<String>,
    Json(request): Json<EndpointRequest>,
) -> poem::Result<Response> {
    answer(streams.webhooks.create(&tenant, request).await)
}

#[handler]
async fn show(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id)): Path<(String, String)>,
) -> poem::Result<Response> {
    answer(streams.webhooks.get(&tenant, &id).await)
}

#[handler]
async fn replace(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id)): Path<(String, String)>,
    Json(request): Json<EndpointRequest>,
) -> poem::Result<Response> {
    answer(streams.webhooks.replace(&tenant, &id, request).await)
}

#[handler]
async fn delete(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id)): Path<(String, String)>,
    Json(act): Json<EndpointAct>,
) -> poem::Result<Response> {
    answer(streams.webhooks.delete(&tenant, &id, &act.actor).await)
}

#[handler]
async fn rotate(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id)): Path<(String, String)>,
    Json(request): Json<RotationRequest>,
) -> poem::Result<Response> {
    answer(streams.webhooks.rotate(&tenant, &id, &request).await)
}

#[handler]
async fn test(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id)): Path<(String, String)>,
) -> poem::Result<Response> {
    answer(streams.webhooks.test(&tenant, &id).await)
}

#[handler]
async fn replay_since(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id)): Path<(String, String)>,
    Json(request): Json<ReplayRequest>,
) -> poem::Result<Response> {
    answer(streams.webhooks.replay_since(&tenant, &id, &request).await)
}

#[handler]
async fn deliveries(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id)): Path<(String, String)>,
    Query(query): Query<DeliveryQuery>,
) -> poem::Result<Response> {
    answer(streams.webhooks.deliveries(&tenant, &id, &query).await)
}

#[handler]
async fn delivery(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id, name)): Path<(String, String, String)>,
) -> poem::Result<Response> {
    answer(streams.webhooks.delivery(&tenant, &id, &name).await)
}

#[handler]
async fn replay_one(
    _: Gateway,
    Data(streams): Shared<'_>,
    Path((tenant, id, name)): Path<(String, String, String)>,
) -> poem::Result<Response> {
    answer(streams.webhooks.replay_one(&tenant, &id, &name).await)
}

fn answer<T: Serialize + Send>(result: Result<T, AdminError>) -> poem::Result<Response> {
    result.map(|it| Json(it).into_response()).map_err(refuse)
}

/// The only place where the errors of webhooks become problems.
fn refuse(error: AdminError) -> poem::Error {
    use AdminError as E;

    let (status, code) = match &error {
        E::Unknown(_) => (404, "webhook_endpoint_unknown"),
        E::DeliveryUnknown(_) => (404, "webhook_delivery_unknown"),
        E::Changed => (412, "webhook_endpoint_changed"),
        E::TooMany => (409, "webhook_endpoints_too_many"),
        E::TooManySecrets => (409, "webhook_secrets_too_many"),
        E::NotEnabled => (409, "webhook_endpoint_not_enabled"),
        E::Target(_) | E::Host => (422, "webhook_url_refused"),
        E::Topics => (422, "webhook_topics_invalid"),
        E::Description => (422, "webhook_description_invalid"),
        E::Overlap => (422, "webhook_overlap_invalid"),
        E::Since => (422, "webhook_since_invalid"),
        E::State => (422, "webhook_state_invalid"),
        E::Store(_) | E::Secret(_) => (503, "webhooks_unavailable"),
    };
    let status = StatusCode::from_u16(status).expect("the table has statuses");
    if status.is_server_error() {
        let cause = &error as &dyn std::error::Error;
        tracing::error!(error = cause, "an operation on webhooks has failed");
        return problem(
            status,
            code,
            "webhooks cannot be read or changed now; try again",
        );
    }
    problem(status, code, error.to_string())
}
