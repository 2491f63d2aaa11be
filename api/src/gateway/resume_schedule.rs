//! `POST /v1/schedules/{name}/resume`

use std::sync::Arc;

use poem_openapi::{
    OpenApi,
    param::{Header, Path},
};

use btrust_schemas::schedules::ScheduleAct;

use super::{Gateway, get_schedule::ScheduleResponse, schedules::if_match};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct ResumeSchedule(pub Arc<Gateway>);

refusals! {
    ResumeScheduleRefusals {
        SCHEDULE_UNKNOWN = 404 "schedule_unknown" "the tenant has no schedule of this name";
        SCHEDULE_CHANGED = 412 "schedule_changed" "the schedule is not as `If-Match` says";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ResumeSchedule {
    /// Lets a schedule go on.
    #[oai(
        path = "/v1/schedules/:name/resume",
        method = "post",
        operation_id = "resumeSchedule"
    )]
    async fn resume_schedule(
        &self,
        caller: Caller<WorkflowsOperate>,
        name: Path<String>,
        /// The `ETag` that the caller has seen; any when absent or `*`
        #[oai(name = "If-Match")]
        seen: Header<Option<String>>,
    ) -> Result<ScheduleResponse, Refused<ResumeScheduleRefusals>> {
        let act = ScheduleAct {
            tenant: caller.tenant().to_owned(),
            tag: if_match(seen.0.as_deref())?,
            actor: caller.claims.sub,
        };
        Ok(self.0.core.resume_schedule(&name, &act).await?.into())
    }
}
