//! `POST /v1/workflows/{id}/restart`

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Path, payload::Json, types::ToJSON as _};
use serde_json::json;

use btrust_schemas::{commands::RestartRequest, core::StartResponse};

use super::{Gateway, canonical, get_workflow::opened, start_workflow::StartWorkflowResponse};
use crate::{
    access::{Caller, WorkflowsWrite},
    acts,
    idempotency::IdempotencyKey,
    refusal::Refused,
    refusals,
};

pub struct RestartWorkflow(pub Arc<Gateway>);

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Restart {
    /// The live one when absent
    version: Option<u32>,
}

refusals! {
    RestartWorkflowRefusals {
        IDEMPOTENCY_KEY_MISSING = 400 "idempotency_key_missing"
            "there is no header `Idempotency-Key`";
        WORKFLOW_UNKNOWN = 404 "workflow_unknown" "the tenant has no such workflow";
        DEFINITION_UNKNOWN = 404 "definition_unknown" "its definition has no such version";
        DEFINITION_NOT_LIVE = 404 "definition_not_live"
            "no version is named, and the definition has none that is live";
        WORKFLOW_RUNNING = 409 "workflow_running" "it has not ended";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version is a draft";
        VERSION_RETIRED = 409 "version_retired" "nothing starts on the version any more";
        IDEMPOTENCY_KEY_REUSED = 409 "idempotency_key_reused"
            "the key has restarted it with another request";
        WORKFLOW_ERASED = 410 "workflow_erased" "its data was erased";
        INPUT_INVALID = 422 "input_invalid"
            "its input does not fit the version's `inputSchema`; `errors` says where";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl RestartWorkflow {
    /// Starts a workflow that has ended again, as a new one with the same input.
    ///
    /// Subject and locale are the same too; `restartOf` and `restartedAs` link them.
    #[oai(
        path = "/v1/workflows/:id/restart",
        method = "post",
        operation_id = "restartWorkflow"
    )]
    async fn restart_workflow(
        &self,
        caller: Caller<WorkflowsWrite>,
        id: Path<String>,
        /// Chosen by the caller, one for each workflow that it wants
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: IdempotencyKey,
        restart: Json<Restart>,
    ) -> Result<StartWorkflowResponse, Refused<RestartWorkflowRefusals>> {
        let id = opened(&caller, &id)?;
        let of = json!(id);
        let request = RestartRequest {
            tenant: caller.tenant().to_owned(),
            request_digest: canonical::digest(&[&of, &restart.to_json().unwrap_or_default()]),
            version: restart.0.version,
            idempotency_key: idempotency_key.0,
            actor: caller.claims.sub,
        };
        let started: StartResponse = self.0.core.restart(id, &request).await?;
        acts::about(caller.act.as_ref(), |it| {
            it.started = Some(started.workflow.id);
        });
        Ok(StartWorkflowResponse::of(started, None))
    }
}
