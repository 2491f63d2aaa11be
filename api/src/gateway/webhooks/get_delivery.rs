//! `GET /v1/webhook-endpoints/{endpointId}/deliveries/{deliveryId}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use super::views::{AttemptDocument, DeliveryDocument};
use crate::{
    access::{Caller, WebhooksRead},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct GetWebhookDelivery(pub Arc<Gateway>);

/// A delivery with its attempts, the first one first
#[derive(Object)]
#[oai(rename = "WebhookDeliveryDetail")]
struct Detail {
    delivery: DeliveryDocument,
    attempts: Vec<AttemptDocument>,
}

#[derive(ApiResponse)]
enum GetWebhookDeliveryResponse {
    /// The delivery.
    #[oai(status = 200)]
    Found(Json<Detail>),
}

refusals! {
    GetWebhookDeliveryRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOK_DELIVERY_UNKNOWN = 404 "webhook_delivery_unknown" "the endpoint has no such delivery";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl GetWebhookDelivery {
    /// Reads one delivery with its attempts.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId/deliveries/:deliveryId",
        method = "get",
        operation_id = "getWebhookDelivery"
    )]
    async fn get_webhook_delivery(
        &self,
        caller: Caller<WebhooksRead>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
        #[oai(name = "deliveryId", validator(max_length = 64))] delivery: Path<String>,
    ) -> Result<GetWebhookDeliveryResponse, Refused<GetWebhookDeliveryRefusals>> {
        let streams = &self.0.streams;
        let found = streams
            .webhook_delivery(caller.tenant(), &endpoint, &delivery)
            .await?;
        Ok(GetWebhookDeliveryResponse::Found(Json(Detail {
            delivery: found.delivery.into(),
            attempts: found.attempts.into_iter().map(Into::into).collect(),
        })))
    }
}
