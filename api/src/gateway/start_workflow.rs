//! `POST /v1/workflows`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::Header,
    payload::Json,
    types::{Any, ToJSON as _},
};
use serde_json::Value;

use btrust_schemas::core::{StartRequest, StartResponse};

use super::{Gateway, canonical, views::WorkflowDocument};
use crate::{
    access::{Caller, WorkflowsWrite},
    refusal::Refused,
    refusals,
};

pub struct StartWorkflow(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename_all = "camelCase", deny_unknown_fields)]
struct NewWorkflow {
    /// Name of a published definition
    #[oai(validator(min_length = 1, max_length = 128))]
    definition: String,
    /// The live one when absent
    version: Option<u32>,
    /// Checked against the definition's `inputSchema`
    input: Any<Value>,
    /// The bank's own name for the person; kept only as a keyed digest
    #[oai(validator(min_length = 1, max_length = 256))]
    subject_ref: Option<String>,
    /// BCP 47 tag of the language that the applicant reads
    #[oai(validator(min_length = 2, max_length = 35))]
    locale: Option<String>,
    /// How urgent it is, 0 to 9; the higher the sooner, 5 when absent
    #[oai(validator(maximum(value = "9")))]
    priority: Option<u8>,
}

#[derive(ApiResponse)]
enum StartWorkflowResponse {
    /// The new workflow.
    #[oai(status = 201)]
    Created(Json<WorkflowDocument>, #[oai(header = "Location")] String),
    /// The workflow that this key and this request have started before.
    #[oai(status = 200)]
    Repeated(Json<WorkflowDocument>, #[oai(header = "Location")] String),
}

refusals! {
    StartWorkflowRefusals {
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        DEFINITION_NOT_LIVE = 404 "definition_not_live"
            "no version is named, and the definition has none that is live";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version is a draft";
        VERSION_RETIRED = 409 "version_retired" "nothing starts on the version any more";
        IDEMPOTENCY_KEY_REUSED = 409 "idempotency_key_reused"
            "the key has started a workflow with another request";
        INPUT_INVALID = 422 "input_invalid"
            "the input does not fit the definition's `inputSchema`; `errors` says where";
        PAYLOAD_TOO_LARGE = 413 "payload_too_large" "the input is larger than a state's data may be";
        PAYLOAD_TOO_DEEP = 413 "payload_too_deep" "the input is nested deeper than a state's data may be";
        TOO_MANY_REQUESTS = 429 "too_many_requests"
            "the tenant starts faster than its rate or its share; `Retry-After` says when to come back";
        OVERLOADED = 503 "overloaded" "too much waits; `Retry-After` says when to come back";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl StartWorkflow {
    /// Starts a workflow, once for each key.
    ///
    /// Repeat the call with the same `Idempotency-Key` whenever the answer was
    /// lost: it starts at most one workflow.
    #[oai(
        path = "/v1/workflows",
        method = "post",
        operation_id = "startWorkflow"
    )]
    async fn start_workflow(
        &self,
        caller: Caller<WorkflowsWrite>,
        /// Chosen by the caller, one for each workflow that it wants
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: Header<String>,
        workflow: Json<NewWorkflow>,
    ) -> Result<StartWorkflowResponse, Refused<StartWorkflowRefusals>> {
        let request_digest = canonical::digest(&[&workflow.to_json().unwrap_or_default()]);
        let NewWorkflow {
            definition,
            version,
            input,
            subject_ref,
            locale,
            priority,
        } = workflow.0;
        let request = StartRequest {
            tenant: caller.tenant().to_owned(),
            definition,
            version,
            input: input.0,
            subject_ref,
            locale,
            priority,
            idempotency_key: idempotency_key.0,
            request_digest,
            actor: caller.claims.sub,
        };
        let StartResponse { created, workflow } = self.0.core.start(&request).await?;
        let location = format!("/v1/workflows/{}", workflow.id);
        let body = Json(workflow.into());
        Ok(if created {
            StartWorkflowResponse::Created(body, location)
        } else {
            StartWorkflowResponse::Repeated(body, location)
        })
    }
}
