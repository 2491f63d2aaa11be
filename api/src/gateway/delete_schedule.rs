//! `DELETE /v1/schedules/{name}`

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path},
};

use btrust_schemas::schedules::ScheduleAct;

use super::{Gateway, schedules::if_match};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct DeleteSchedule(pub Arc<Gateway>);

#[derive(ApiResponse)]
enum DeleteScheduleResponse {
    /// It starts nothing any more; what it has started goes on.
    #[oai(status = 204)]
    Deleted,
}

refusals! {
    DeleteScheduleRefusals {
        SCHEDULE_UNKNOWN = 404 "schedule_unknown" "the tenant has no schedule of this name";
        SCHEDULE_CHANGED = 412 "schedule_changed" "the schedule is not as `If-Match` says";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl DeleteSchedule {
    /// Deletes a schedule.
    #[oai(
        path = "/v1/schedules/:name",
        method = "delete",
        operation_id = "deleteSchedule"
    )]
    async fn delete_schedule(
        &self,
        caller: Caller<WorkflowsOperate>,
        name: Path<String>,
        /// The `ETag` that the caller has seen; any when absent or `*`
        #[oai(name = "If-Match")]
        seen: Header<Option<String>>,
    ) -> Result<DeleteScheduleResponse, Refused<DeleteScheduleRefusals>> {
        let act = ScheduleAct {
            tenant: caller.tenant().to_owned(),
            tag: if_match(seen.0.as_deref())?,
            actor: caller.claims.sub,
        };
        self.0.core.delete_schedule(&name, &act).await?;
        Ok(DeleteScheduleResponse::Deleted)
    }
}
