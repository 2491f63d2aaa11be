//! `POST /v1/webhook-endpoints/{endpointId}/secrets`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};

use btrust_schemas::webhooks::RotationRequest;

use crate::{
    access::{Caller, WebhooksWrite},
    gateway::Gateway,
    refusal::Refused,
    refusals,
};

pub struct RotateWebhookSecret(pub Arc<Gateway>);

/// How a secret is replaced
#[derive(Object)]
#[oai(
    rename = "WebhookSecretRotation",
    rename_all = "camelCase",
    deny_unknown_fields
)]
struct Rotation {
    /// How long the secrets before sign as well; 0 when one of them is known to others
    #[oai(default = "day", validator(maximum(value = "604800")))]
    overlap_seconds: u32,
}

fn day() -> u32 {
    86_400
}

/// A new secret
#[derive(Object)]
#[oai(rename = "NewWebhookSecret", rename_all = "camelCase")]
struct NewSecret {
    /// `whsec_...`, shown once
    secret: String,
    /// RFC 3339; until when the secrets before sign as well
    others_until: String,
}

#[derive(ApiResponse)]
enum RotateWebhookSecretResponse {
    /// The new secret, which signs from now on.
    #[oai(status = 201)]
    Created(Json<NewSecret>, #[oai(header = "Cache-Control")] String),
}

refusals! {
    RotateWebhookSecretRefusals {
        WEBHOOK_ENDPOINT_UNKNOWN = 404 "webhook_endpoint_unknown" "the tenant has no such endpoint";
        WEBHOOK_SECRETS_TOO_MANY = 409 "webhook_secrets_too_many" "three secrets sign already";
        WEBHOOK_OVERLAP_INVALID = 422 "webhook_overlap_invalid" "`overlapSeconds` is too large";
        WEBHOOKS_UNAVAILABLE = 503 "webhooks_unavailable" "webhooks cannot be read or changed now; try again";
        STREAMS_UNAVAILABLE = 503 "streams_unavailable" "the streams service does not answer; try again";
    }
}

#[OpenApi]
impl RotateWebhookSecret {
    /// Gives an endpoint a new secret.
    ///
    /// For `overlapSeconds` the secrets before sign beside it: `webhook-signature` has one signature for each, and a
    /// receiver accepts a call when one of them is right.
    #[oai(
        path = "/v1/webhook-endpoints/:endpointId/secrets",
        method = "post",
        operation_id = "rotateWebhookSecret"
    )]
    async fn rotate_webhook_secret(
        &self,
        caller: Caller<WebhooksWrite>,
        #[oai(name = "endpointId", validator(max_length = 64))] endpoint: Path<String>,
        rotation: Json<Rotation>,
    ) -> Result<RotateWebhookSecretResponse, Refused<RotateWebhookSecretRefusals>> {
        let tenant = caller.tenant().to_owned();
        let request = RotationRequest {
            overlap_seconds: rotation.overlap_seconds,
            actor: caller.claims.sub,
        };
        let streams = &self.0.streams;
        let made = streams
            .rotate_webhook_secret(&tenant, &endpoint, &request)
            .await?;
        let body = NewSecret {
            secret: made.secret,
            others_until: made.others_until,
        };
        Ok(RotateWebhookSecretResponse::Created(
            Json(body),
            "no-store".to_owned(),
        ))
    }
}
