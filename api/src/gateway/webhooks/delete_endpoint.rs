//! `DELETE /v1/webhook-endpoints/{endpointId}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path};

use btrust_schemas::webhooks::EndpointAct;

use crate::{
    access::{Caller, WebhooksWrite},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct DeleteWebhookEndpoint(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum DeleteWebhookEndpointResponse {
    /// It is not called any more.
    #[oai(status = 204)]
    Deleted,
}

refusals! {
    DeleteWebhookEndpointRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl DeleteWebhookEndpoint {
    /// Deletes an endpoint, its secrets and its deliveries.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId",
        method = "delete",
        operation_id = "deleteWebhookEndpoint"
    )]
    async fn delete_webhook_endpoint(
        &self,
        caller: Caller<WebhooksWrite>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
    ) -> Result<DeleteWebhookEndpointResponse, Refused<DeleteWebhookEndpointRefusals>> {
        let tenant = caller.tenant().to_owned();
        let act = EndpointAct {
            actor: caller.claims.sub,
        };
        self.0
            .streams
            .delete_webhook(&tenant, &endpoint, &act)
            .await?;
        Ok(DeleteWebhookEndpointResponse::Deleted)
    }
}
