//! `GET /v1/webhook-endpoints/{endpointId}`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path};

use super::views::EndpointResponse;
use crate::{
    access::{Caller, WebhooksRead},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct GetWebhookEndpoint(pub Arc<Gateway>);

refusals! {
    GetWebhookEndpointRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl GetWebhookEndpoint {
    /// Reads one endpoint.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId",
        method = "get",
        operation_id = "getWebhookEndpoint"
    )]
    async fn get_webhook_endpoint(
        &self,
        caller: Caller<WebhooksRead>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
    ) -> Result<EndpointResponse, Refused<GetWebhookEndpointRefusals>> {
        let found = self.0.streams.webhook(caller.tenant(), &endpoint).await?;
        Ok(found.into())
    }
}
