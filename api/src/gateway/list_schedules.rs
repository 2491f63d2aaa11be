//! `GET /v1/schedules`

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi, param::Query, payload::Json};

use super::{Gateway, core_client::ByCore, schedules::ScheduleDocument};
use crate::{
    access::{Caller, WorkflowsRead},
    refusal::Refused,
};

pub struct ListSchedules(pub Arc<Gateway>);

#[derive(Object)]
struct Schedules {
    schedules: Vec<ScheduleDocument>,
    /// Send back as `after` for the next page; absent on the last one
    next: Option<String>,
}

#[derive(ApiResponse)]
enum ListSchedulesResponse {
    /// A page of schedules in the order of their names.
    #[oai(status = 200)]
    Found(Json<Schedules>),
}

#[OpenApi]
impl ListSchedules {
    /// Lists the schedules of the tenant.
    #[oai(path = "/v1/schedules", method = "get", operation_id = "listSchedules")]
    async fn list_schedules(
        &self,
        caller: Caller<WorkflowsRead>,
        /// The last name of the page before
        #[oai(validator(max_length = 64))]
        after: Query<Option<String>>,
        #[oai(validator(minimum(value = "1"), maximum(value = "200")))] limit: Query<Option<u32>>,
    ) -> Result<ListSchedulesResponse, Refused<ByCore>> {
        let page = self.0.core.schedules(caller.tenant(), after.0, limit.0);
        let page = page.await?;
        Ok(ListSchedulesResponse::Found(Json(Schedules {
            schedules: page.schedules.into_iter().map(Into::into).collect(),
            next: page.next,
        })))
    }
}
