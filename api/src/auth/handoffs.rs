//! `POST /v1/handoffs`: the applicant goes on with another device.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use btrust_platform::clock::rfc3339;

use super::{
    Auth, HANDOFF_TTL_MS,
    signing::{digest, random_hex},
    store::handoffs::Destination,
};
use crate::{
    access::{Applicant, Caller},
    refusal::{self, Refused},
    refusals,
};

pub struct CreateHandoff(pub Arc<Auth>);

/// Open codes of one workflow: a person shows one, and another when it has run out.
const OPEN_HANDOFFS_MAX: i64 = 5;

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Handoff {
    /// 32 hex digits, good once and for five minutes
    code: String,
    /// What the QR code shows
    url: String,
    /// RFC 3339
    expires_at: String,
}

#[derive(ApiResponse)]
enum CreateHandoffResponse {
    /// A code for the other device.
    #[oai(status = 201)]
    Created(Json<Handoff>, #[oai(header = "Cache-Control")] String),
}

refusals! {
    CreateHandoffRefusals {
        TOO_MANY_HANDOFFS = 429 "too_many_handoffs" "the workflow has enough open codes; use one or wait";
    }
}

#[OpenApi]
impl CreateHandoff {
    /// Makes a single-use code that brings the applicant to another device.
    #[oai(path = "/v1/handoffs", method = "post", operation_id = "createHandoff")]
    async fn create_handoff(
        &self,
        caller: Caller<Applicant>,
    ) -> Result<CreateHandoffResponse, Refused<CreateHandoffRefusals>> {
        let auth = &self.0;
        let Some(workflow) = caller.own_workflow() else {
            return Err(refusal::SCOPE_MISSING.detail("only an applicant's token can do this"));
        };
        let now_ms = auth.clock.now_ms();
        let to = Destination {
            tenant: caller.tenant().to_owned(),
            workflow,
        };
        if OPEN_HANDOFFS_MAX <= auth.store.n_handoffs(&to, now_ms).await? {
            return Err(TOO_MANY_HANDOFFS.detail("use an open code or wait for it to run out"));
        }
        let code = random_hex();
        // Another device is no new sitting.
        let session_end = caller.claims.session_end.unwrap_or(caller.claims.exp);
        let expires_at = (now_ms + HANDOFF_TTL_MS).min(session_end * 1_000);
        auth.store
            .put_handoff(&digest(&code), &to, session_end, expires_at)
            .await?;
        // Behind `#`, so that no server on the way logs it.
        let url = format!("{}/handoff#{code}", auth.config.onboarding_url);
        let body = Handoff {
            code,
            url,
            expires_at: rfc3339(expires_at),
        };
        Ok(CreateHandoffResponse::Created(
            Json(body),
            "no-store".to_owned(),
        ))
    }
}
