//! `POST /v1/prompts/{promptId}/submissions`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path},
    payload::Json,
    types::Any,
};
use serde_json::{Value, json};

use btrust_schemas::{core::SubmissionRequest, ids::PromptId, object::ObjectRef, turn::Submitter};

use super::{Gateway, canonical, core_client::CoreError, list_prompts::audience, uploads};
use crate::{
    access::{Caller, PromptsAnswer},
    refusal::Refused,
    refusals,
};

pub struct Submit(pub Arc<Gateway>);

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Submission {
    /// Typed by the step's submission schema (`schemas/json/`)
    body: Any<Value>,
}

#[derive(Object)]
struct Accepted {
    prompt: String,
    accepted: bool,
}

#[derive(ApiResponse)]
enum SubmitResponse {
    /// Taken, now or before.
    #[oai(status = 202)]
    Accepted(Json<Accepted>),
}

refusals! {
    SubmitRefusals {
        PROMPT_UNKNOWN = 404 "prompt_unknown" "there is no such prompt, or the token does not open it";
        AUDIENCE_MISMATCH = 403 "audience_mismatch" "the prompt asks somebody else";
        PROMPT_CLOSED = 409 "prompt_closed" "somebody has answered it, or it is over";
        SUBMISSION_INVALID = 422 "submission_invalid"
            "the body does not fit the step's submission schema, or names what was not uploaded; `errors` says where";
        PAYLOAD_TOO_LARGE = 413 "payload_too_large" "the body is larger than a state's data may be";
        PAYLOAD_TOO_DEEP = 413 "payload_too_deep" "the body is nested deeper than a state's data may be";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl Submit {
    /// Answers a prompt. The first answer wins; the same answer again is taken again.
    #[oai(
        path = "/v1/prompts/:promptId/submissions",
        method = "post",
        operation_id = "submit"
    )]
    async fn submit(
        &self,
        caller: Caller<PromptsAnswer>,
        #[oai(name = "promptId")] prompt_id: Path<String>,
        /// Tells equal answers of one caller apart; the digest of the body when absent
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: Header<Option<String>>,
        submission: Json<Submission>,
    ) -> Result<SubmitResponse, Refused<SubmitRefusals>> {
        let gateway = &self.0;
        let unknown = || PROMPT_UNKNOWN.detail("there is no such prompt");
        let prompt: PromptId = prompt_id.parse().map_err(|_| unknown())?;
        if !caller.opens(prompt.workflow) {
            return Err(unknown());
        }
        let body = submission.0.body.0;
        let kind = audience(&caller.claims);
        let tenant = caller.tenant();

        // A prompt that is not open any more has nothing to be checked against:
        // core knows whether this is the answer that it took, or too late.
        let open = gateway
            .core
            .prompts(tenant, prompt.workflow, kind, None, 0)
            .await;
        let open = open.map_err(as_unknown_prompt)?.prompts;
        if let Some(open) = open.iter().find(|it| it.id == prompt) {
            gateway
                .submissions
                .check(&open.resource, &body)
                .map_err(refuse)?;
        }
        let references = uploads::references(&body).map_err(|it| refuse(vec![wrong(&it)]))?;
        self.name(tenant, prompt, &references).await?;

        // The same answer of somebody else is not this one again: it comes too late.
        let (key, sender) = (json!(idempotency_key.0), json!([kind, caller.claims.sub]));
        let request = SubmissionRequest {
            tenant: tenant.to_owned(),
            submitter: Submitter {
                kind,
                id: caller.claims.sub.clone(),
                device: caller.claims.device.clone(),
                address: caller.address.clone(),
                device_class: caller.device,
            },
            digest: canonical::digest(&[&body, &key, &sender]),
            body,
        };
        let taken = gateway.core.submit(prompt, &request).await;
        if let Err(CoreError::Refused(_)) = taken {
            // Should it fail, the uploads stay with the workflow: too long, not too short.
            if let Err(error) = gateway.uploads.unname(&references).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the uploads of a refused submission stay named");
            }
        }
        let taken = taken.map_err(as_unknown_prompt)?;
        let prompt = taken.prompt.to_string();
        Ok(SubmitResponse::Accepted(Json(Accepted {
            prompt,
            accepted: true,
        })))
    }
}

impl Submit {
    async fn name(
        &self,
        tenant: &str,
        prompt: PromptId,
        references: &[(String, ObjectRef)],
    ) -> Result<(), Refused<SubmitRefusals>> {
        let gateway = &self.0;
        let now_ms = gateway.clock.now_ms();
        let named = gateway
            .uploads
            .name(tenant, prompt.workflow, references, now_ms)
            .await?;
        named.map_err(|it| refuse(vec![wrong(&it)]))
    }
}

fn refuse(errors: Vec<Value>) -> Refused<SubmitRefusals> {
    SUBMISSION_INVALID
        .detail("the submission is not what the step takes")
        .with_errors(errors)
}

fn wrong(reference: &uploads::WrongReference) -> Value {
    json!({ "pointer": format!("/body{}", reference.pointer), "message": reference.message })
}

/// Nobody asked for a workflow: its absence is the prompt's.
fn as_unknown_prompt(error: CoreError) -> Refused<SubmitRefusals> {
    let mut refused = Refused::from(error);
    if refused.problem.code == "workflow_unknown" {
        refused = PROMPT_UNKNOWN.detail("there is no such prompt");
    }
    refused
}
