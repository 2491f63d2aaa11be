//! `POST /v1/webhook-endpoints/{endpointId}/test`

use std::sync::Arc;

use poem_openapi::{OpenApi, param::Path, payload::Json};

use btrust_schemas::webhooks::EndpointAct;

use super::views::DeliveryResponse;
use crate::{
    access::{Caller, WebhooksWrite},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct TestWebhookEndpoint(pub Arc<Gateway>);

refusals! {
    TestWebhookEndpointRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOK_ENDPOINT_NOT_ENABLED = 409 "webhook_endpoint_not_enabled" "the endpoint is not enabled";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl TestWebhookEndpoint {
    /// Sends an endpoint a call of the type `webhook.test`.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId/test",
        method = "post",
        operation_id = "testWebhookEndpoint"
    )]
    async fn test_webhook_endpoint(
        &self,
        caller: Caller<WebhooksWrite>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
    ) -> Result<DeliveryResponse, Refused<TestWebhookEndpointRefusals>> {
        let tenant = caller.tenant().to_owned();
        let act = EndpointAct {
            actor: caller.claims.sub,
        };
        let sent = self
            .0
            .streams
            .test_webhook(&tenant, &endpoint, &act)
            .await?;
        Ok(DeliveryResponse::Due(Json(sent.into())))
    }
}
