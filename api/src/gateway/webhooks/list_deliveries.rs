//! `GET /v1/webhook-endpoints/{endpointId}/deliveries`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use btrust_schemas::webhooks::DeliveryQuery;

use super::views::DeliveryDocument;
use crate::{
    access::{Caller, WebhooksRead},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct ListWebhookDeliveries(pub Arc<Gateway>);

/// A page of deliveries
#[derive(Object)]
#[oai(rename = "WebhookDeliveries", skip_serializing_if_is_none)]
struct Deliveries {
    deliveries: Vec<DeliveryDocument>,
    /// `before` of the next page
    next: Option<i64>,
}

#[derive(ApiResponse)]
enum ListWebhookDeliveriesResponse {
    /// A page of them.
    #[oai(status = 200)]
    Found(Json<Deliveries>),
}

refusals! {
    ListWebhookDeliveriesRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOK_STATE_INVALID = 422 "webhook_state_invalid" "`state` is no state of a delivery";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl ListWebhookDeliveries {
    /// Lists the deliveries of an endpoint, the latest first.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId/deliveries",
        method = "get",
        operation_id = "listWebhookDeliveries"
    )]
    async fn list_webhook_deliveries(
        &self,
        caller: Caller<WebhooksRead>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
        /// `due`, `delivered` or `failed`
        #[oai(validator(max_length = 16))]
        state: Query<Option<String>>,
        /// `next` of the page before
        before: Query<Option<i64>>,
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))] limit: Query<Option<u32>>,
    ) -> Result<ListWebhookDeliveriesResponse, Refused<ListWebhookDeliveriesRefusals>> {
        let query = DeliveryQuery {
            state: state.0,
            before: before.0,
            limit: limit.0,
        };
        let streams = &self.0.streams;
        let page = streams
            .webhook_deliveries(caller.tenant(), &endpoint, &query)
            .await?;
        Ok(ListWebhookDeliveriesResponse::Found(Json(Deliveries {
            deliveries: page.deliveries.into_iter().map(Into::into).collect(),
            next: page.next,
        })))
    }
}
