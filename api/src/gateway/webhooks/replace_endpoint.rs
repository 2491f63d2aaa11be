//! `PUT /v1/webhook-endpoints/{endpointId}`

use std::sync::Arc;

use poem_openapi::{
    OpenApi,
    param::{Header, Path},
    payload::Json,
};

use super::views::{EndpointResponse, EndpointSpecDocument};
use crate::{
    access::{Caller, WebhooksWrite},
    acts,
    gateway::{Gateway, schedules::if_match},
    refusal::{self, Refused},
    refusals,
};

pub struct ReplaceWebhookEndpoint(pub Arc<Gateway>);

refusals! {
    ReplaceWebhookEndpointRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOK_ENDPOINT_CHANGED = 412 "webhook_endpoint_changed"
            "the endpoint is not as `If-Match` says";
        WEBHOOK_URL_REFUSED = 422 "webhook_url_refused"
            "`url` is not https, or its host is not on the public internet";
        WEBHOOK_TOPICS_INVALID = 422 "webhook_topics_invalid" "`topics` names none, or one that is unknown";
        WEBHOOK_DESCRIPTION_INVALID = 422 "webhook_description_invalid" "`description` is too long";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl ReplaceWebhookEndpoint {
    /// Replaces what the bank says of an endpoint.
    ///
    /// What was due at one that is disabled is given up. One that the platform had stopped is called again; what
    /// happened meanwhile is sent when it is replayed.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId",
        method = "put",
        operation_id = "replaceWebhookEndpoint"
    )]
    async fn replace_webhook_endpoint(
        &self,
        caller: Caller<WebhooksWrite>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
        /// The `ETag` that the caller has seen; any when absent or `*`
        #[oai(name = "If-Match")]
        seen: Header<Option<String>>,
        spec: Json<EndpointSpecDocument>,
    ) -> Result<EndpointResponse, Refused<ReplaceWebhookEndpointRefusals>> {
        let tenant = caller.tenant().to_owned();
        let seen = if_match(seen.0.as_deref())?;
        let malformed =
            || refusal::MALFORMED_REQUEST.detail("`If-Match` is one `ETag` of this resource");
        let revision = seen
            .map(|it| it.parse().map_err(|_| malformed()))
            .transpose()?;
        let request = spec.0.into_request(caller.claims.sub, revision);
        acts::about(caller.act.as_ref(), |it| {
            it.enabled = Some(request.spec.enabled);
        });
        let streams = &self.0.streams;
        Ok(streams
            .replace_webhook(&tenant, &endpoint, &request)
            .await?
            .into())
    }
}
