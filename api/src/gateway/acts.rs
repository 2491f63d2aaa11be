//! Which operations of the gateway are acts, and how they reach core.

use async_trait::async_trait;

use btrust_schemas::events::{ActKind, ReportedAct};

use super::core_client::{CoreClient, CoreError};
use crate::acts::{DeliverError, Delivery, Proof, Route, Routes};

const fn route(method: &'static str, path: &'static str, kind: ActKind, proof: Proof) -> Route {
    Route {
        method,
        path,
        kind,
        proof,
    }
}

/// Every operation that is an act. What is done within a workflow (starts, signals, submissions, uploads, tokens
/// of tasks) is in the workflow's own records.
pub const ROUTES: Routes = Routes(&[
    route(
        "POST",
        "/v1/definitions",
        ActKind::DefinitionStored,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/definitions/{name}/versions/{version}/publication",
        ActKind::DefinitionPublished,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/definitions/{name}/versions/{version}/retirement",
        ActKind::DefinitionRetired,
        Proof::Before,
    ),
    route(
        "PUT",
        "/v1/definitions/{name}/live",
        ActKind::LiveMoved,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/definitions/{name}/migrations",
        ActKind::WorkflowsMigrated,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/pause",
        ActKind::WorkflowsPaused,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/resume",
        ActKind::WorkflowsResumed,
        Proof::Before,
    ),
    route(
        "DELETE",
        "/v1/workflows/{id}",
        ActKind::WorkflowDeleted,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/{id}/cancel",
        ActKind::WorkflowCancelled,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/{id}/restart",
        ActKind::WorkflowRestarted,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/{id}/pause",
        ActKind::WorkflowPaused,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/{id}/resume",
        ActKind::WorkflowResumed,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/{id}/terminate",
        ActKind::WorkflowTerminated,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/workflows/{id}/redrive",
        ActKind::WorkflowRedriven,
        Proof::Before,
    ),
    route(
        "PATCH",
        "/v1/workflows/{id}/search-attributes",
        ActKind::AttributesChanged,
        Proof::Before,
    ),
    route(
        "PUT",
        "/v1/workflows/{id}/legal-hold",
        ActKind::HoldPlaced,
        Proof::Before,
    ),
    route(
        "DELETE",
        "/v1/workflows/{id}/legal-hold",
        ActKind::HoldReleased,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/tenant/acknowledgements",
        ActKind::AcknowledgementGiven,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/schedules",
        ActKind::ScheduleCreated,
        Proof::Before,
    ),
    route(
        "PUT",
        "/v1/schedules/{name}",
        ActKind::ScheduleReplaced,
        Proof::Before,
    ),
    route(
        "DELETE",
        "/v1/schedules/{name}",
        ActKind::ScheduleDeleted,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/schedules/{name}/pause",
        ActKind::SchedulePaused,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/schedules/{name}/resume",
        ActKind::ScheduleResumed,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/schedules/{name}/trigger",
        ActKind::ScheduleTriggered,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/incidents/{id}/resolution",
        ActKind::IncidentResolved,
        Proof::Before,
    ),
    route(
        "PUT",
        "/v1/task-limits",
        ActKind::TaskLimitsChanged,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/webhook-endpoints",
        ActKind::WebhookCreated,
        Proof::Before,
    ),
    route(
        "PUT",
        "/v1/webhook-endpoints/{endpointId}",
        ActKind::WebhookChanged,
        Proof::Before,
    ),
    route(
        "DELETE",
        "/v1/webhook-endpoints/{endpointId}",
        ActKind::WebhookDeleted,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/webhook-endpoints/{endpointId}/secrets",
        ActKind::WebhookSecretRotated,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/webhook-endpoints/{endpointId}/test",
        ActKind::WebhookTested,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/webhook-endpoints/{endpointId}/replay",
        ActKind::WebhookReplayed,
        Proof::Before,
    ),
    route(
        "POST",
        "/v1/webhook-endpoints/{endpointId}/deliveries/{deliveryId}/replay",
        ActKind::WebhookDeliveryReplayed,
        Proof::Before,
    ),
    route(
        "GET",
        "/v1/workflows/{id}/history",
        ActKind::HistoryRead,
        Proof::Committed,
    ),
    route(
        "GET",
        "/v1/workflows/{id}/result",
        ActKind::ResultRead,
        Proof::Committed,
    ),
    route(
        "GET",
        "/v1/workflows/{id}/prompts",
        ActKind::PromptsRead,
        Proof::Committed,
    ),
]);

#[async_trait]
impl Delivery for CoreClient {
    async fn bring(&self, tenant: &str, acts: &[ReportedAct]) -> Result<(), DeliverError> {
        match self.record_acts(tenant, acts).await {
            Ok(()) => Ok(()),
            // Another refusal is of the caller or of the moment, and not of what is reported.
            Err(CoreError::Refused(problem)) if matches!(problem.status, 400 | 422) => {
                Err(DeliverError::Refused { code: problem.code })
            }
            Err(error) => Err(DeliverError::Unavailable(Box::new(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::gateway::openapi_json;

    /// What is no act though it changes something: it is in a workflow's own records.
    const OTHERS: [&str; 7] = [
        "POST /v1/prompts/{promptId}/submissions",
        "POST /v1/task-tokens/{token}/failure",
        "POST /v1/task-tokens/{token}/heartbeat",
        "POST /v1/task-tokens/{token}/success",
        "POST /v1/workflows",
        "POST /v1/workflows/{id}/objects",
        "POST /v1/workflows/{id}/signals",
    ];

    #[test]
    fn every_operation_is_an_act_or_is_known_to_be_none() {
        let document: Value = serde_json::from_str(&openapi_json()).unwrap();
        let mut operations = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                // Reads are acts where the table says so: what shows evidence is in it.
                let is_act = ROUTES
                    .0
                    .iter()
                    .any(|it| it.method == "GET" && it.path == path);
                if method != "get" || is_act {
                    operations.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
        let acts = ROUTES
            .0
            .iter()
            .map(|it| format!("{} {}", it.method, it.path));
        let others = OTHERS.into_iter().map(str::to_owned);
        let known: BTreeSet<String> = acts.chain(others).collect();
        assert_eq!(operations, known);
    }
}
