//! `PUT /v1/schedules/{name}`

use std::sync::Arc;

use poem_openapi::{
    OpenApi,
    param::{Header, Path},
    payload::Json,
};

use btrust_schemas::schedules::ScheduleRequest;

use super::{
    Gateway,
    get_schedule::ScheduleResponse,
    schedules::{SpecDocument, if_match},
};
use crate::{
    access::{Caller, WorkflowsOperate},
    refusal::Refused,
    refusals,
};

pub struct ReplaceSchedule(pub Arc<Gateway>);

refusals! {
    ReplaceScheduleRefusals {
        SCHEDULE_UNKNOWN = 404 "schedule_unknown" "the tenant has no schedule of this name";
        SCHEDULE_CHANGED = 412 "schedule_changed" "the schedule is not as `If-Match` says";
        DEFINITION_UNKNOWN = 404 "definition_unknown"
            "the tenant has no definition of this name and version";
        DEFINITION_NOT_LIVE = 404 "definition_not_live"
            "no version is named, and the definition has none that is live";
        VERSION_NOT_PUBLISHED = 409 "version_not_published" "the version is a draft";
        VERSION_RETIRED = 409 "version_retired" "nothing starts on the version any more";
        INPUT_INVALID = 422 "input_invalid"
            "the input does not fit the definition's `inputSchema`; `errors` says where";
        CRON_INVALID = 422 "cron_invalid" "`cron` has not the five fields of a cron expression";
        CRON_NEVER = 422 "cron_never" "the times of `cron` never come";
        TIME_ZONE_INVALID = 422 "time_zone_invalid" "there is no time zone of this name";
        JITTER_INVALID = 422 "jitter_invalid" "`jitterSeconds` is too large";
        CORE_UNAVAILABLE = 503 "core_unavailable" "core does not answer; try again";
    }
}

#[OpenApi]
impl ReplaceSchedule {
    /// Replaces what a schedule starts, and when. Times until now are done with.
    #[oai(
        path = "/v1/schedules/:name",
        method = "put",
        operation_id = "replaceSchedule"
    )]
    async fn replace_schedule(
        &self,
        caller: Caller<WorkflowsOperate>,
        name: Path<String>,
        /// The `ETag` that the caller has seen; any when absent or `*`
        #[oai(name = "If-Match")]
        seen: Header<Option<String>>,
        schedule: Json<SpecDocument>,
    ) -> Result<ScheduleResponse, Refused<ReplaceScheduleRefusals>> {
        let request = ScheduleRequest {
            tenant: caller.tenant().to_owned(),
            spec: schedule.0.into(),
            tag: if_match(seen.0.as_deref())?,
            actor: caller.claims.sub,
        };
        let replaced = self.0.core.replace_schedule(&name, &request).await?;
        Ok(replaced.into())
    }
}
