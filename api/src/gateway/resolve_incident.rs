//! `POST /v1/incidents/{id}/resolution`

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Path, payload::Json};

use btrust_schemas::incidents::ResolutionRequest;

use super::{
    Gateway,
    get_incident::{IncidentResponse, parse},
    incident_views::ResolutionWord,
};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct ResolveIncident(pub Arc<Gateway>);

#[derive(Object)]
#[oai(
    rename = "NewResolution",
    rename_all = "camelCase",
    deny_unknown_fields
)]
struct NewResolution {
    action: ResolutionWord,
    /// For `fail`: the error that `Retry` and `Catch` see; `BTrust.Incident` when absent
    #[oai(validator(min_length = 1, max_length = 256))]
    error: Option<String>,
    /// For `fail`; nothing personal
    #[oai(validator(max_length = 1024))]
    cause: Option<String>,
    /// For whoever looks later; nothing personal
    #[oai(validator(max_length = 1024))]
    note: Option<String>,
}

refusals! {
    ResolveIncidentRefusals {
        INCIDENT_UNKNOWN = 404 "incident_unknown" "the tenant has no such incident";
        INCIDENT_CLOSED = 409 "incident_closed" "it is resolved, or has gone on by itself";
        INCIDENT_WITHOUT_TASK = 409 "incident_without_task"
            "the whole workflow stands still, so that no task can fail";
        WORKFLOW_CLOSED = 409 "workflow_closed" "the workflow has ended already";
        WORKFLOW_INCIDENT = 409 "workflow_incident" "what stopped the workflow still does";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ResolveIncident {
    /// Says how to go on after an incident.
    #[oai(
        path = "/v1/incidents/:id/resolution",
        method = "post",
        operation_id = "resolveIncident"
    )]
    async fn resolve_incident(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: Path<String>,
        resolution: Json<NewResolution>,
    ) -> Result<IncidentResponse, Refused<ResolveIncidentRefusals>> {
        let id = parse(&id)?;
        let NewResolution {
            action,
            error,
            cause,
            note,
        } = resolution.0;
        let request = ResolutionRequest {
            tenant: caller.tenant().to_owned(),
            action: action.into(),
            error,
            cause,
            note,
            actor: caller.claims.sub,
        };
        let incident = self.0.core.resolve_incident(id, &request).await?;
        Ok(IncidentResponse::Found(Json(incident.into())))
    }
}
