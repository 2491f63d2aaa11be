//! `POST /v1/workflows/{id}/signals`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::Path,
    payload::Json,
    types::{Any, ToJSON as _},
};
use serde_json::Value;

use btrust_schemas::commands::{SignalRequest, SignalResponse};

use super::{Gateway, canonical, get_workflow::opened, views::WorkflowDocument};
use crate::{
    access::{Caller, WorkflowsWrite},
    idempotency::IdempotencyKey,
    refusal::Refused,
    refusals,
};

pub struct SignalWorkflow(pub Arc<Gateway>);

#[derive(Object)]
#[oai(rename = "Signal", deny_unknown_fields)]
struct NewSignal {
    /// What the state that waits for it asks for
    #[oai(validator(min_length = 1, max_length = 80))]
    name: String,
    /// The result of the state that takes it; `{}` when absent
    payload: Option<Any<Value>>,
}

#[derive(ApiResponse)]
enum SignalWorkflowResponse {
    /// The signal was taken, or is kept until a state waits for it.
    #[oai(status = 202)]
    Accepted(Json<WorkflowDocument>),
    /// This key has sent this signal before.
    #[oai(status = 200)]
    Repeated(Json<WorkflowDocument>),
}

refusals! {
    SignalWorkflowRefusals {
        IDEMPOTENCY_KEY_MISSING = 400 "idempotency_key_missing"
            "there is no header `Idempotency-Key`";
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        WORKFLOW_CLOSED = 409 "workflow_closed" "it has ended already";
        WORKFLOW_CANCELLING = 409 "workflow_cancelling" "it is being cancelled";
        SIGNALS_FULL = 409 "signals_full"
            "it has as many signals that it has not taken as it may have";
        IDEMPOTENCY_KEY_REUSED = 409 "idempotency_key_reused" "the key has sent another signal";
        PAYLOAD_TOO_LARGE = 413 "payload_too_large" "the payload is larger than a state's data may be";
        PAYLOAD_TOO_DEEP = 413 "payload_too_deep" "the payload is nested deeper than a state's data may be";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl SignalWorkflow {
    /// Sends a signal to a workflow, once for each key.
    ///
    /// A task with the resource `btrust:signal` waits for it by its name. One
    /// that comes early is kept until then.
    #[oai(
        path = "/v1/workflows/:id/signals",
        method = "post",
        operation_id = "signalWorkflow"
    )]
    async fn signal_workflow(
        &self,
        caller: Caller<WorkflowsWrite>,
        id: Path<String>,
        /// Chosen by the caller, one for each signal
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: IdempotencyKey,
        signal: Json<NewSignal>,
    ) -> Result<SignalWorkflowResponse, Refused<SignalWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let request_digest = canonical::digest(&[&signal.to_json().unwrap_or_default()]);
        let NewSignal { name, payload } = signal.0;
        let request = SignalRequest {
            tenant: caller.tenant().to_owned(),
            name,
            payload: payload.map_or_else(|| serde_json::json!({}), |it| it.0),
            idempotency_key: idempotency_key.0,
            request_digest,
            actor: caller.claims.sub,
        };
        let SignalResponse { created, workflow } = self.0.core.signal(id, &request).await?;
        let body = Json(workflow.into());
        Ok(if created {
            SignalWorkflowResponse::Accepted(body)
        } else {
            SignalWorkflowResponse::Repeated(body)
        })
    }
}
