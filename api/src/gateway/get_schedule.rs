//! `GET /v1/schedules/{name}`

use std::sync::Arc;

use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Json};

use btrust_schemas::schedules::ScheduleView;

use super::{
    Gateway,
    schedules::{ScheduleDocument, etag},
};
use crate::{
    access::{Caller, WorkflowsRead},
    refusal::Refused,
    refusals,
};

pub struct GetSchedule(pub Arc<Gateway>);

#[derive(ApiResponse)]
pub enum ScheduleResponse {
    /// The schedule as it stands.
    #[oai(status = 200)]
    Found(Json<ScheduleDocument>, #[oai(header = "ETag")] String),
}

impl From<ScheduleView> for ScheduleResponse {
    fn from(view: ScheduleView) -> Self {
        let etag = etag(&view);
        Self::Found(Json(view.into()), etag)
    }
}

refusals! {
    GetScheduleRefusals {
        SCHEDULE_UNKNOWN = 404 "schedule_unknown" "the tenant has no schedule of this name";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl GetSchedule {
    /// Shows a schedule with its next times, and what came of the latest one.
    #[oai(
        path = "/v1/schedules/:name",
        method = "get",
        operation_id = "getSchedule"
    )]
    async fn get_schedule(
        &self,
        caller: Caller<WorkflowsRead>,
        name: Path<String>,
    ) -> Result<ScheduleResponse, Refused<GetScheduleRefusals>> {
        Ok(self.0.core.schedule(caller.tenant(), &name).await?.into())
    }
}
