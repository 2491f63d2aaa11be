//! `GET /v1/webhook-endpoints`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::views::EndpointDocument;
use crate::{
    access::{Caller, WebhooksRead},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct ListWebhookEndpoints(pub Arc<Gateway>);

/// The endpoints of a tenant
#[derive(Object)]
#[oai(rename = "WebhookEndpoints")]
struct Endpoints {
    endpoints: Vec<EndpointDocument>,
}

#[derive(ApiResponse)]
enum ListWebhookEndpointsResponse {
    /// All of them.
    #[oai(status = 200)]
    Found(Json<Endpoints>),
}

refusals! {
    ListWebhookEndpointsRefusals {
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl ListWebhookEndpoints {
    /// Lists the endpoints of the tenant.
    #[oai(
        path = "/v1/webhook-endpoints",
        method = "get",
        operation_id = "listWebhookEndpoints"
    )]
    async fn list_webhook_endpoints(
        &self,
        caller: Caller<WebhooksRead>,
    ) -> Result<ListWebhookEndpointsResponse, Refused<ListWebhookEndpointsRefusals>> {
        let found = self.0.streams.webhooks(caller.tenant()).await?;
        let endpoints = found.endpoints.into_iter().map(Into::into).collect();
        Ok(ListWebhookEndpointsResponse::Found(Json(Endpoints {
            endpoints,
        })))
    }
}
