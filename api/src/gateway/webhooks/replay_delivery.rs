//! `POST /v1/webhook-endpoints/{endpointId}/deliveries/{deliveryId}/replay`

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

pub struct ReplayWebhookDelivery(pub Arc<Gateway>);

refusals! {
    ReplayWebhookDeliveryRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOK_DELIVERY_UNKNOWN = 404 "webhook_delivery_unknown" "the endpoint has no such delivery";
        WEBHOOK_ENDPOINT_NOT_ENABLED = 409 "webhook_endpoint_not_enabled" "the endpoint is not enabled";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl ReplayWebhookDelivery {
    /// Sends one delivery again, under its id and with its body.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId/deliveries/:deliveryId/replay",
        method = "post",
        operation_id = "replayWebhookDelivery"
    )]
    async fn replay_webhook_delivery(
        &self,
        caller: Caller<WebhooksWrite>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
        #[oai(name = "deliveryId", validator(max_length = 64))] delivery: Path<String>,
    ) -> Result<DeliveryResponse, Refused<ReplayWebhookDeliveryRefusals>> {
        let tenant = caller.tenant().to_owned();
        let act = EndpointAct {
            actor: caller.claims.sub,
        };
        let streams = &self.0.streams;
        let sent = streams
            .replay_webhook_delivery(&tenant, &endpoint, &delivery, &act)
            .await?;
        Ok(DeliveryResponse::Due(Json(sent.into())))
    }
}
