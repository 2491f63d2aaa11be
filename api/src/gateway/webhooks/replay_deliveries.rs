//! `POST /v1/webhook-endpoints/{endpointId}/replay`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use btrust_schemas::webhooks::ReplayRequest;

use crate::{
    access::{Caller, WebhooksWrite},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct ReplayWebhookDeliveries(pub Arc<Gateway>);

/// What is sent again
#[derive(Object)]
#[oai(
    rename = "WebhookReplay",
    rename_all = "camelCase",
    deny_unknown_fields
)]
struct Replay {
    /// RFC 3339: what happened then or later
    #[oai(validator(max_length = 40))]
    since: String,
    /// Only what was given up
    #[oai(default)]
    failed_only: bool,
}

/// How much is sent again
#[derive(Object)]
#[oai(rename = "WebhookReplayed")]
struct Replayed {
    deliveries: u64,
}

#[derive(ApiResponse)]
enum ReplayWebhookDeliveriesResponse {
    /// So many deliveries are due again.
    #[oai(status = 202)]
    Due(Json<Replayed>),
}

refusals! {
    ReplayWebhookDeliveriesRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOK_ENDPOINT_NOT_ENABLED = 409 "webhook_endpoint_not_enabled" "the endpoint is not enabled";
        WEBHOOK_SINCE_INVALID = 422 "webhook_since_invalid" "`since` is not a time";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl ReplayWebhookDeliveries {
    /// Sends what happened since a time again, with ids, bodies and sequences as they were. Deliveries are kept for a
    /// month.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId/replay",
        method = "post",
        operation_id = "replayWebhookDeliveries"
    )]
    async fn replay_webhook_deliveries(
        &self,
        caller: Caller<WebhooksWrite>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
        replay: Json<Replay>,
    ) -> Result<ReplayWebhookDeliveriesResponse, Refused<ReplayWebhookDeliveriesRefusals>> {
        let tenant = caller.tenant().to_owned();
        let request = ReplayRequest {
            since: replay.0.since,
            failed_only: replay.0.failed_only,
            actor: caller.claims.sub,
        };
        let replayed = self
            .0
            .streams
            .replay_webhook(&tenant, &endpoint, &request)
            .await?;
        let deliveries = replayed.n_deliveries;
        Ok(ReplayWebhookDeliveriesResponse::Due(Json(Replayed {
            deliveries,
        })))
    }
}
