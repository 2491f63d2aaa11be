//! `POST /v1/webhook-endpoints`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::views::{EndpointDocument, EndpointSpecDocument, etag};
use crate::{
    access::{Caller, WebhooksWrite},
    acts,
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct CreateWebhookEndpoint(pub Arc<Gateway>);

/// A new endpoint and its secret
#[derive(Object)]
#[oai(rename = "NewWebhookEndpoint")]
struct NewEndpoint {
    endpoint: EndpointDocument,
    /// `whsec_...`, shown once
    secret: String,
}

#[derive(ApiResponse)]
enum CreateWebhookEndpointResponse {
    /// The new endpoint.
    #[oai(status = 201)]
    Created(
        Json<NewEndpoint>,
        #[oai(header = "Location")] String,
        #[oai(header = "ETag")] String,
        #[oai(header = "Cache-Control")] String,
    ),
}

refusals! {
    CreateWebhookEndpointRefusals {
        WEBHOOK_ENDPOINTS_TOO_MANY = 409 "webhook_endpoints_too_many"
            "the tenant has as many as it may have";
        WEBHOOK_URL_REFUSED = 422 "webhook_url_refused"
            "`url` is not https, or its host is not on the public internet";
        WEBHOOK_TOPICS_INVALID = 422 "webhook_topics_invalid" "`topics` names none, or one that is unknown";
        WEBHOOK_DESCRIPTION_INVALID = 422 "webhook_description_invalid" "`description` is too long";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl CreateWebhookEndpoint {
    /// Adds an endpoint, which is told what happens from now on.
    ///
    /// Calls are signed as Standard Webhooks has it: `webhook-id` is the same for every attempt of an event,
    /// `webhook-timestamp` is that of the attempt, `webhook-signature` is made with the secret of this answer.
    /// What is not answered with 2xx is sent again for three days.
    #[oai(
        path = "/v1/webhook-endpoints",
        method = "post",
        operation_id = "createWebhookEndpoint"
    )]
    async fn create_webhook_endpoint(
        &self,
        caller: Caller<WebhooksWrite>,
        endpoint: Json<EndpointSpecDocument>,
    ) -> Result<CreateWebhookEndpointResponse, Refused<CreateWebhookEndpointRefusals>> {
        let tenant = caller.tenant().to_owned();
        let request = endpoint.0.into_request(caller.claims.sub, None);
        let created = self.0.streams.create_webhook(&tenant, &request).await?;
        acts::about(caller.act.as_ref(), |it| {
            it.endpoint = Some(created.endpoint.id.clone());
            it.enabled = Some(request.spec.enabled);
        });
        let location = format!("/v1/webhook-endpoints/{}", created.endpoint.id);
        let etag = etag(&created.endpoint);
        let body = NewEndpoint {
            endpoint: created.endpoint.into(),
            secret: created.secret,
        };
        let no_store = "no-store".to_owned();
        Ok(CreateWebhookEndpointResponse::Created(
            Json(body),
            location,
            etag,
            no_store,
        ))
    }
}
