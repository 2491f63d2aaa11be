//! `GET /v1/incidents`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};

use btrust_schemas::incidents::IncidentQuery;

use super::{Gateway, incident_views::IncidentDocument};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct ListIncidents(pub Arc<Gateway>);

#[derive(Object)]
struct Incidents {
    /// The latest first
    incidents: Vec<IncidentDocument>,
    /// Send back as `cursor` for the next page; absent on the last one
    next: Option<String>,
}

#[derive(ApiResponse)]
enum ListIncidentsResponse {
    /// A page of incidents.
    #[oai(status = 200)]
    Found(Json<Incidents>),
}

refusals! {
    ListIncidentsRefusals {
        CURSOR_INVALID = 400 "cursor_invalid" "the cursor is not one that a page has named";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ListIncidents {
    /// Lists what stands still until somebody has looked.
    #[oai(path = "/v1/incidents", method = "get", operation_id = "listIncidents")]
    #[expect(
        clippy::too_many_arguments,
        reason = "one for each parameter of the query"
    )]
    async fn list_incidents(
        &self,
        caller: Caller<WorkflowsOperate>,
        /// Those that are resolved instead of those that are open
        #[oai(default)]
        resolved: Query<bool>,
        /// Such as `turn_poisoned`
        #[oai(validator(max_length = 64))]
        code: Query<Option<String>>,
        /// Without version: `ocr`
        #[oai(validator(max_length = 128))]
        step: Query<Option<String>>,
        #[oai(validator(max_length = 128))] definition: Query<Option<String>>,
        /// Incidents on the page, 50 when absent
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<Option<u32>>,
        /// `next` of the page before
        #[oai(validator(max_length = 128))]
        cursor: Query<Option<String>>,
    ) -> Result<ListIncidentsResponse, Refused<ListIncidentsRefusals>> {
        let query = IncidentQuery {
            tenant: caller.tenant().to_owned(),
            resolved: resolved.0,
            code: code.0,
            step: step.0,
            definition: definition.0,
            limit: limit.0,
            cursor: cursor.0,
        };
        let page = self.0.core.incidents(&query).await?;
        Ok(ListIncidentsResponse::Found(Json(Incidents {
            incidents: page.incidents.into_iter().map(Into::into).collect(),
            next: page.next,
        })))
    }
}
