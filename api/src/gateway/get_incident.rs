//! `GET /v1/incidents/{id}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use btrust_schemas::ids::IncidentId;

use super::{Gateway, incident_views::IncidentDocument};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct GetIncident(pub Arc<Gateway>);

#[derive(ApiResponse)]
pub enum IncidentResponse {
    /// The incident.
    #[oai(status = 200)]
    Found(Json<IncidentDocument>),
}

refusals! {
    /// What every operation on one incident can answer.
    OneIncident {
        INCIDENT_UNKNOWN = 404 "incident_unknown" "the tenant has no such incident";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl GetIncident {
    /// Shows an incident, also after it was resolved.
    #[oai(
        path = "/v1/incidents/:id",
        method = "get",
        operation_id = "getIncident"
    )]
    async fn get_incident(
        &self,
        caller: Caller<WorkflowsOperate>,
        id: Path<String>,
    ) -> Result<IncidentResponse, Refused<OneIncident>> {
        let id = parse(&id)?;
        let incident = self.0.core.incident(caller.tenant(), id).await?;
        Ok(IncidentResponse::Found(Json(incident.into())))
    }
}

/// The id in a path; what is no id names nothing.
pub fn parse<R>(id: &str) -> Result<IncidentId, Refused<R>> {
    let unknown = || INCIDENT_UNKNOWN.detail("there is no such incident");
    id.parse().map_err(|_| unknown())
}
